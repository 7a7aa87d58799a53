"""docs/security.md names only tests and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

from sync_pipelines.settings import Settings

PROJECT = Path(__file__).parents[1]
TEXT = (PROJECT / "docs" / "security.md").read_text()


def test_every_test_that_the_table_names_exists() -> None:
    rows = [
        line.split("|")
        for line in TEXT.partition("## ASVS")[2].splitlines()
        if re.match(r"\| [A-Z].*\d+\.\d+", line)
    ]
    assert len(rows) > 12, len(rows)
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)`", row[3])
        assert named or "belong to the control API" in row[2], row
        for name in named:
            assert (PROJECT / "sync_pipelines_tests" / name).is_file(), name


def test_every_setting_of_ours_that_it_names_exists() -> None:
    fields = {name.upper() for name in Settings.model_fields}
    assert {
        "SECRET_ORIGINS",
        "ALLOWED_PRIVATE_ORIGINS",
        "POSTGRES_SSLROOTCERT",
        "POSTGRES_SSLMODE",
    } <= fields
    assert set(re.findall(r"\b(?:SECRET|ALLOWED|POSTGRES)_[A-Z_]+\b", TEXT)) <= fields
