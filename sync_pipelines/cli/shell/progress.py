"""How far running syncs are: bars where a person watches, plain lines elsewhere.

The figures come from the running rows in `bridge.sync_runs`, so that it does not matter which process does the work.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.output import console, on_terminal, say
from sync_pipelines.model.run import PUBLISHED
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
_RUNS = """
SELECT DISTINCT ON (e.uid) c.name || '/' || e.slug AS path, r.status, r.records_fetched AS fetched,
       extract(epoch FROM coalesce(r.completed_at, now()) - r.started_at)::float AS seconds
FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid
WHERE c.name || '/' || e.slug = ANY(%s) AND r.started_at >= %s
ORDER BY e.uid, r.started_at DESC
"""


class Watch:
    """Follows the runs of some entities that start from now on; a context manager.

    Args:
        database: where the runs are noted.
        totals: expected records by path; None where it is not known.
    """

    def __init__(self, database: Database, totals: Mapping[str, int | None]) -> None:
        self.database = database
        self.totals = dict(totals)
        self._ended: set[str] = set()
        self._tasks: dict[str, TaskID] = {}
        self._bars: Progress | None = None
        self._done = threading.Event()
        with database.connect() as connection:
            row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
        assert row is not None
        self.started_at = row["now"]

    @contextlib.contextmanager
    def following(self) -> Iterator[Watch]:
        """Show the progress until the block is left."""
        if on_terminal():
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[state]}"),
                console=console(stderr=True),
            )
            for path, total in self.totals.items():
                self._tasks[path] = self._bars.add_task(
                    printable(path), total=total, state="waiting", start=False
                )
            self._bars.start()
        thread = threading.Thread(target=self._loop, name="progress", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()
            self._try_to_look()
            if self._bars is not None:
                self._bars.stop()

    def _loop(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self._try_to_look()

    def _try_to_look(self) -> None:
        """Look once and ignore a failure: the work itself reports a database in trouble, and bars must not fail it."""
        try:
            self.look()
        except Exception:  # progress decides nothing
            logger.debug("progress cannot be shown", exc_info=True)

    def look(self) -> None:
        """Read the runs once and show what changed."""
        paths = list(self.totals)
        with self.database.connect() as connection:
            rows = connection.execute(_RUNS, [paths, self.started_at]).fetchall()
        for row in rows:
            self._show(row["path"], row["status"], row["fetched"], row["seconds"])

    def _show(self, path: str, status: str, fetched: int, seconds: float) -> None:
        has_ended = status != "running"
        if self._bars is not None:
            self._move(self._bars, path, status, fetched)
        elif has_ended and path not in self._ended:
            say(f"{path}: {status}, {fetched:,} fetched in {seconds:.1f} s", stderr=True)
        if has_ended:
            self._ended.add(path)

    def _move(self, bars: Progress, path: str, status: str, fetched: int) -> None:
        """Move the bar of one entity."""
        task = self._tasks[path]
        if not bars.tasks[task].started:
            bars.start_task(task)
        total: int | None = fetched
        if status not in PUBLISHED:
            expected = self.totals[path] or 0
            total = max(fetched, expected) or None
        bars.update(task, completed=fetched, total=total, state=status)
        if status != "running":
            bars.stop_task(task)


@contextlib.contextmanager
def step(message: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    started = time.monotonic()
    shown = console(stderr=True)
    if on_terminal():
        with shown.status(message):
            yield
    else:
        yield
    seconds = time.monotonic() - started
    say(f"{message}: {seconds:.1f} s", "dim", stderr=True)
