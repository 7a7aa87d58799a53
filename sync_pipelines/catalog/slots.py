"""What all processes share through the database: turns of a rate limit, and places of writers to the destination."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg

from sync_pipelines.catalog.database import Database, classify_database_error
from sync_pipelines.errors import SyncError

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1


class SharedRateLimiter:
    """Spaces the requests to one source evenly over all threads of all processes.

    The next free moment is a row of `bridge.request_slots`; a request takes it and puts the next one. The statement is
    its own transaction on a connection that stays open, so that a turn costs one round trip.
    """

    def __init__(
        self,
        database: Database,
        source: str,
        requests_per_second: float,
    ) -> None:
        self._database = database
        self._source = source
        self._interval_seconds = 1 / requests_per_second
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, patience_seconds: float | None = None) -> bool:
        """Sleep until this caller's turn.

        Args:
            patience_seconds: take no turn that is further away than this; None = any.

        Returns:
            False, at once, when the turn would be too far away.

        Raises:
            DatabaseUnavailableError, DatabaseRefusedError: from PostgreSQL.
        """
        pause = self._take(patience_seconds)
        if pause is None:
            return False
        time.sleep(max(0.0, pause))
        return True

    def _take(self, patience_seconds: float | None) -> float | None:
        """Seconds until the turn taken; None when none was."""
        with self._lock:
            try:
                return self._ask(patience_seconds)
            except psycopg.Error:
                # The connection may have been idle for long: once more on a new one, whose errors count.
                self._close()
            try:
                return self._ask(patience_seconds)
            except psycopg.Error as error:
                self._close()
                raise classify_database_error(error) from error

    def _ask(self, patience_seconds: float | None) -> float | None:
        if self._connection is None:
            self._connection = self._open.enter_context(self._database.connect(autocommit=True))
        row = self._connection.execute(
            """
            INSERT INTO request_slots AS s (source, next_at) VALUES (%(source)s, clock_timestamp() + %(interval)s *
                interval '1 second')
            ON CONFLICT (source) DO UPDATE SET next_at = greatest(s.next_at, clock_timestamp()) + %(interval)s *
                interval '1 second'
              WHERE %(patience)s::float IS NULL OR s.next_at <= clock_timestamp() + %(patience)s * interval '1 second'
            RETURNING extract(epoch FROM next_at - clock_timestamp())::float - %(interval)s AS pause
            """,
            {
                "source": self._source,
                "interval": self._interval_seconds,
                "patience": patience_seconds,
            },
        ).fetchone()
        return None if row is None else float(row["pause"])

    def _close(self) -> None:
        self._connection = None
        opened = self._open
        self._open = ExitStack()
        try:
            opened.close()
        except (psycopg.Error, SyncError) as error:
            logger.debug("a broken connection did not close: %s", error)


@contextmanager
def writer_place(
    connection: psycopg.Connection[Any],
    bridge_schema: str,
    places: int,
    waiting: Callable[[], None],
) -> Iterator[None]:
    """Hold one of the places of writers to the destination, over all processes; it goes away with the connection.

    Args:
        connection: on autocommit, of this run alone.
        bridge_schema: installations with a catalog each have places each.
        places: how many there are.
        waiting: called while all are taken; an error of it ends the waiting.
    """
    place = None
    while place is None:
        place = _try_places(connection, bridge_schema, places)
        if place is None:
            waiting()
            time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        # A connection that is lost has given the place back; what the run came to must not be hidden by that.
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [place])


def _try_places(
    connection: psycopg.Connection[Any],
    bridge_schema: str,
    places: int,
) -> str | None:
    for number in range(places):
        name = f"sync_pipelines:{bridge_schema}:writer:{number}"
        row = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS taken", [name]
        ).fetchone()
        if row is not None and row["taken"]:
            return name
    return None
