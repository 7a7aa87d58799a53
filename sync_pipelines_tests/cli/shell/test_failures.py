"""Errors that nobody foresaw."""

from __future__ import annotations

import pytest

from sync_pipelines.secrets import register_secret


@pytest.fixture
def broken(monkeypatch):
    def break_down(*_):
        raise ZeroDivisionError("[red]canary-in-error\nForged: line")

    register_secret("canary-in-error")
    monkeypatch.setattr("sync_pipelines.cli.commands.connectors.list_connectors", break_down)


def test_unforeseen_error_is_one_redacted_line(cli, broken):
    answer = cli("connector", "list")
    assert answer.code == 1
    assert (
        answer.stderr
        == "Error: ZeroDivisionError: [red]***\\nForged: line; set LOG_LEVEL=DEBUG for the traceback\n"
    )


def test_unforeseen_error_is_json_when_asked(cli, broken):
    answer = cli("connector", "list", "--json")
    assert (answer.code, answer.json["error"], answer.json["what"]) == (
        1,
        "ZeroDivisionError",
        "ZeroDivisionError: [red]***\\nForged: line",
    )
