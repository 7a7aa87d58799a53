"""Every command explains itself."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sync_pipelines.cli.main import app


def every_command(command=None, path=()):
    command = command or get_command(app)
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, (*path, name))


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_help_has_two_examples(path):
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert result.output.count("$ sync-pipelines") >= 2
    assert "None" not in result.output


def test_reading_commands_take_json():
    reading = {
        ("connector", "list"),
        ("connector", "test"),
        ("discover",),
        ("entities",),
        ("entity", "show"),
        ("cursor", "get"),
        ("sync",),
        ("runs", "list"),
        ("runs", "show"),
        ("quarantine", "list"),
        ("quarantine", "show"),
        ("doctor",),
        ("alerts", "list"),
        ("alerts", "show"),
        ("alerts", "webhook", "list"),
    }
    for path in reading:
        assert "--json" in CliRunner().invoke(app, [*path, "--help"]).output, path


def test_version(process):
    answer = process("--version")
    assert (answer.code, answer.stdout) == (0, "sync-pipelines 0.1.0\n")
