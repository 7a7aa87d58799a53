"""The four connectors that come with the program, from file to table."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipelines.declare import shipped_gates as gates
from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.declare.shipped_gates import apply_gates, plan_gates
from sync_pipelines.declare.source_file import shipped_names
from sync_pipelines.errors import (
    SettingsError,
)
from sync_pipelines.files.private import write_private


def test_four_connectors_are_shipped():
    assert shipped_names() == ["processgit", "randomuser", "user_data_sync", "user_sync"]


@pytest.mark.parametrize("name", ["processgit", "user_data_sync", "randomuser", "user_sync"])
def test_no_shipped_connector_has_an_assumption_that_is_no_input(name):
    needed = {"source": "crm", "user_ids": "1"} if name == "user_sync" else {}
    endpoint = next(iter(load_declaration(name, needed).endpoints.values()))
    other = {
        "records": "$.else.where",
        "path": "/other/{id}" if endpoint.ids else "/other",
        "base_url": "https://other.example.com",
    }
    declaration = load_declaration(name, {**needed, **other})
    changed = next(iter(declaration.endpoints.values()))
    assert (changed.records, changed.path, declaration.base_url) == (
        ["$.else.where"],
        other["path"],
        other["base_url"],
    )
    fields = {
        "processgit": "score_field",
        "user_data_sync": "email_field",
        "user_sync": "phone_field",
        "randomuser": "seed",
    }
    assert "a_name" in load_declaration(name, {**needed, fields[name]: "a_name"}).model_dump_json()


@pytest.mark.parametrize("name", ["processgit", "user_data_sync", "randomuser"])
def test_pages_and_strategy_of_a_shipped_connector_are_inputs(name):
    given = {
        "max_size": "700",
        "first_page": "0",
        "strategy": "full",
        "chunk_size" if name == "randomuser" else "batch_size": "700",
    }
    endpoint = next(iter(load_declaration(name, given).endpoints.values()))
    assert (
        endpoint.pagination.max_size,
        endpoint.pagination.first_page,
        endpoint.pagination.size,
    ) == (700, 0, 700)
    assert endpoint.strategy == "full"
    with pytest.raises(SettingsError, match="larger than max_size"):
        load_declaration(name, {**given, "max_size": "699"})


def test_a_gate_of_which_only_a_part_could_be_written_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is never written again, so that a part of it would let everything else pass for good."""
    files = plan_gates("processgit", "processgit", tmp_path)
    assert len(files) > 1
    written = []

    def full_disk(path: Path, content: str | bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        write_private(path, content)

    monkeypatch.setattr(gates, "write_private", full_disk)
    with pytest.raises(SettingsError, match="No space left"):
        apply_gates(files, tmp_path / "processgit")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    apply_gates(plan_gates("processgit", "processgit", tmp_path), tmp_path / "processgit")
    assert all(path.read_bytes() == content for path, content in files.items())
    assert plan_gates("processgit", "processgit", tmp_path) == {}
