"""How output fails decides nothing about finished work."""

from __future__ import annotations

import subprocess

import pytest

from sync_pipelines.cli.shell import output
from sync_pipelines_tests.cli.conftest import COMMAND


@pytest.fixture
def shell(environment, world):
    """Run a line of the shell in which `sp` is the command; its exit code and stderr."""
    world.add_items(3)
    variables = {
        **environment,
        "POSTGRES_URL": world.database.url,
        "TWIN_TOKEN": world.server.token,
    }

    def run(line: str, **more: str) -> tuple[int, str]:
        script = f'sp() {{ "{COMMAND}" "$@"; }}; {line}'
        done = subprocess.run(
            ["bash", "-c", script], env={**variables, **more}, capture_output=True, timeout=120
        )
        return done.returncode, done.stderr.decode("latin-1")

    return run


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_encoding_without_our_letters_costs_only_letters(shell, world, encoding):
    code, err = shell("sp sync erp/items", PYTHONIOENCODING=encoding)
    assert (code, world.runs()[0]["status"]) == (0, "success"), err


@pytest.mark.parametrize(
    "stdout", [">/dev/full 2>/dev/full", ">&- 2>&-", "| true; exit ${PIPESTATUS[0]}"]
)
def test_a_full_disk_or_a_closed_pipe_does_not_fail_a_sync(shell, world, stdout):
    code, err = shell(f"sp sync erp/items {stdout}")
    assert (code, world.runs()[0]["status"]) == (0, "success"), err
    assert "Traceback" not in err


def test_a_sync_whose_ledger_could_not_be_shown_says_so(shell):
    code, err = shell("sp sync erp/items >/dev/full")
    assert code == 0
    assert "No space left on device" in err


def test_what_only_shows_fails_when_it_could_not_show(shell):
    code, err = shell("sp entities erp --json >/dev/full")
    assert code == 1
    assert "No space left on device" in err


def test_a_reader_that_has_seen_enough_is_no_failure(shell):
    code, err = shell("sp entities erp --json | true; exit ${PIPESTATUS[0]}")
    assert (code, err) == (0, "")


def test_a_failed_sync_stays_failed_on_a_full_disk(shell, world):
    code, _ = shell("sp sync erp/none >/dev/full 2>&1")
    assert code == 2


def test_an_error_of_rich_shows_plain_text(cli, world, monkeypatch):
    world.add_items(3)

    def fail(*_, **__):
        raise ZeroDivisionError("rich")

    monkeypatch.setattr(output.Console, "print", fail)
    answer = cli("sync", "erp/items")
    assert answer.code == 0
    assert "erp/items\t3\t3" in answer.stdout
