"""The embedded PostgreSQL lives as long as somebody uses it, and no longer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from sync_pipelines.catalog.embedded import embedded_pid, embedded_url, release_embedded, wipe_embedded


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a running server."""
    folder = tmp_path / "postgres"
    with psycopg.connect(embedded_url(folder)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    yield folder
    wipe_embedded(folder)


def add_user(data_dir: Path, pid: int) -> None:
    users = data_dir / ".handle_pids.json"
    users.write_text(json.dumps([*json.loads(users.read_text()), pid]))


def test_it_stops_although_a_user_died_that_nobody_has_looked_after(data_dir: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(dead.pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    add_user(data_dir, dead.pid)
    release_embedded(data_dir)
    assert embedded_pid(data_dir) is None
    dead.wait()


def test_it_goes_on_while_another_process_uses_it(data_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        add_user(data_dir, living.pid)
        release_embedded(data_dir)
        assert embedded_pid(data_dir) is not None
        living.communicate(b"\n")
