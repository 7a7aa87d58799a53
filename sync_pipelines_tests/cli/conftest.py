"""The command line against the test's own database and twin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sync_pipelines.cli.main import app
from sync_pipelines.settings import load_settings

COMMAND = Path(sys.executable).with_name("sync-pipelines")
_OURS = ("POSTGRES_", "DB_", "API_", "DEFAULT_", "SYNC_", "DAGSTER_", "LOG_")


class Answer:
    """Exit code and output of one command."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr
        assert "Traceback" not in stdout + stderr, stdout + stderr

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@pytest.fixture
def environment(tmp_path, monkeypatch) -> Iterator[dict[str, str]]:
    """An empty folder, and nothing of the developer's settings."""
    for name in list(os.environ):
        if name.upper().startswith(_OURS):
            monkeypatch.delenv(name)
    # Parallel test workers set it; what is written to no terminal has its own width.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)
    yield {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    load_settings.cache_clear()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL; pytest's own is closed to the user that the server runs as."""
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_cli_") as folder:
        yield Path(folder)


@pytest.fixture
def cli(environment, world, monkeypatch) -> Callable[..., Answer]:
    """Run a command in this process against the world's database."""
    monkeypatch.setenv("TWIN_TOKEN", world.server.token)
    monkeypatch.setenv("POSTGRES_URL", world.database.url)
    monkeypatch.setenv("API_TRIES", "1")
    monkeypatch.setenv("ENTITY_WAIT_SECONDS", "0.2")

    def run(*arguments: str, input: str | None = None) -> Answer:
        result = CliRunner().invoke(app, list(arguments), input=input)
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(environment) -> Callable[..., Answer]:
    """Run a command as a real process."""

    def run(*arguments: str, **variables: str) -> Answer:
        done = subprocess.run(
            [COMMAND, *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
