"""A secret that is new or changed in `.env` needs no restart; what the shell exports wins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sync_pipelines.dotenv_file import NAMES_VARIABLE, load_dotenv_file
from sync_pipelines.errors import SecretMissingError
from sync_pipelines.secrets import resolve_secret


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory whose variables are gone afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in (NAMES_VARIABLE, "NEW_KEY", "SHELL_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def test_a_secret_that_is_new_in_the_file_is_found_without_a_restart(folder):
    with pytest.raises(
        SecretMissingError, match=r"NEW_KEY is not set in this process, nor is it in .*\.env"
    ) as missing:
        resolve_secret("env:NEW_KEY")
    assert "which is read again" in missing.value.next_command
    (folder / ".env").write_text("NEW_KEY=first-value\n")
    assert resolve_secret("env:NEW_KEY") == "first-value"
    (folder / ".env").write_text("NEW_KEY=second-value\n")
    assert resolve_secret("env:NEW_KEY") == "second-value"


def test_a_secret_that_changed_in_the_file_is_seen_by_child_processes_too(folder):
    (folder / ".env").write_text("NEW_KEY=first-value\n")
    load_dotenv_file()
    assert os.environ["NEW_KEY"] == "first-value"
    (folder / ".env").write_text("NEW_KEY=second-value\n")
    assert resolve_secret("env:NEW_KEY") == "second-value"
    code = "from sync_pipelines.secrets import resolve_secret; print(resolve_secret('env:NEW_KEY'))"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert child.stdout.strip() == "second-value", child.stderr


def test_the_shell_wins_over_the_file(folder, monkeypatch):
    monkeypatch.setenv("SHELL_KEY", "of-the-shell")
    (folder / ".env").write_text("SHELL_KEY=of-the-file\n")
    load_dotenv_file()
    assert resolve_secret("env:SHELL_KEY") == "of-the-shell"
    load_dotenv_file()
    assert resolve_secret("env:SHELL_KEY") == "of-the-shell"
