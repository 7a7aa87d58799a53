"""What docs/alerts.md says of kinds, words and settings is what there is."""

from __future__ import annotations

import re

from sync_pipelines.model.freshness import StatusWord
from sync_pipelines.model.incident import TITLES, IncidentKind
from sync_pipelines.settings import Settings
from sync_pipelines_tests.conftest import PROJECT

TEXT = (PROJECT / "docs" / "alerts.md").read_text()


def first_cells(heading: str) -> list[str]:
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [cell.strip("` ") for cell in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)][1:]


def test_every_kind_has_a_row_and_a_title() -> None:
    assert sorted(first_cells("Incidents")) == sorted(IncidentKind)
    assert set(TITLES) == set(IncidentKind)


def test_every_word_has_a_row() -> None:
    assert sorted(first_cells("Status words")) == sorted(StatusWord)


def test_every_setting_named_exists() -> None:
    named = set(re.findall(r"\b((?:ALERT|FRESHNESS)_[A-Z_]+)\b", TEXT))
    assert named <= {name.upper() for name in Settings.model_fields}
    assert len(named) > 10
