"""COPY while the source is still being read, so that PostgreSQL works while we wait for the next page, and the other
way round.

Records go to staging, or straight into an empty target. Then the transaction stays open until the publish step, which
goes on with the connection, so that no row is visible before its ledger is. Whatever PostgreSQL refuses ends the stream
without harm: all batches are in the spool, too.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import psycopg
import pyarrow as pa

from sync_pipelines.books.copying import copy_batches
from sync_pipelines.destinations.postgres.copy import (
    is_refusal,
    records_statement,
    target_rows,
    target_statement,
)
from sync_pipelines.destinations.postgres.fill import is_empty, take_off_constraints
from sync_pipelines.model.entity import Entity

_WAITING_BATCHES = 2
_LOOK_SECONDS = 0.5


class _AbandonedError(Exception):
    """Ends the COPY of a run that failed while it read."""


class RecordStream:
    """The records of one run on their way into PostgreSQL.

    Attributes:
        connection: its transaction is open while the stream fills.
        fills: the records go straight into the target, which was empty.
        rows: that PostgreSQL counted; complete after `finish`.
        refusal: why PostgreSQL took none of them; None when it took all.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        entity: Entity,
        *,
        fills: bool,
        bulk: bool,
    ) -> None:
        self.entity, self.fills = entity, fills
        self.rows = 0
        self._is_closed = False
        self.refusal: BaseException | None = None
        self._trouble: BaseException | None = None
        self._waiting: queue.Queue[pa.Table | BaseException | None] = queue.Queue(_WAITING_BATCHES)
        self.connection = connection
        try:
            self._begin(bulk)
        except BaseException:
            self.connection.close()
            raise
        self._thread = threading.Thread(target=self._copy, name=f"copy {entity.path}", daemon=True)
        self._thread.start()

    def _begin(self, bulk: bool) -> None:
        with self.connection.cursor() as cursor:
            if self.fills and bulk:
                take_off_constraints(cursor, self.entity)
                # Committed at once: nobody who looks at the empty table shall wait until the source is read.
                self.connection.commit()
            self.fills = self.fills and is_empty(cursor, self.entity)

    def __enter__(self) -> RecordStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def feed(self, batch: pa.Table, while_waiting: Callable[[], None]) -> None:
        """Hand a batch over; waits while PostgreSQL is behind, or while somebody holds a lock that COPY needs.

        Args:
            batch: of records.
            while_waiting: called every half second of waiting; ends the wait by raising.

        Raises:
            psycopg.Error: PostgreSQL failed, and not because of a record.
        """
        self._put(batch, while_waiting)
        if self._trouble is not None:
            raise self._trouble

    def finish(self, while_waiting: Callable[[], None]) -> None:
        """Wait until everything is copied; what went to staging is committed.

        Args:
            while_waiting: called every half second of waiting; ends the wait by raising.

        Raises:
            psycopg.Error: PostgreSQL failed, and not because of a record.
        """
        self._put(None, while_waiting)
        self._thread.join(_LOOK_SECONDS)
        while self._thread.is_alive():
            while_waiting()
            self._thread.join(_LOOK_SECONDS)
        if self._trouble is not None:
            raise self._trouble
        if self.refusal is None and not self.fills:
            self.connection.commit()

    def close(self) -> None:
        """End the stream; what was not published is gone. Does nothing the second time."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread.is_alive():
            self._put(_AbandonedError(), self._drop_one)
            self._thread.join(_LOOK_SECONDS)
            was_cancelled = self._thread.is_alive()
            while self._thread.is_alive():
                # COPY may wait for a lock that nobody gives back.
                with contextlib.suppress(psycopg.Error):
                    self.connection.cancel()
                self._thread.join(_LOOK_SECONDS)
            if was_cancelled:
                # A cancellation that comes late must not meet the next user of the connection.
                self.connection.pgconn.finish()
        self.connection.close()

    def _put(self, item: pa.Table | BaseException | None, while_full: Callable[[], None]) -> None:
        while self._thread.is_alive():
            try:
                self._waiting.put(item, timeout=_LOOK_SECONDS)
                return
            except queue.Full:
                while_full()

    def _drop_one(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()

    def _copy(self) -> None:
        entity = self.entity
        statement = target_statement(entity) if self.fills else records_statement(entity)
        try:
            with self.connection.cursor() as cursor:
                self.rows = copy_batches(cursor, statement, self._batches())
        except _AbandonedError:
            return
        except BaseException as error:  # noqa: BLE001 - raised by the thread that feeds
            if is_refusal(error) or isinstance(error, psycopg.IntegrityError):
                self.refusal = error
            else:
                self._trouble = error
        if self.refusal is not None:
            self.connection.rollback()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            for batch in item.to_batches():
                if batch.num_rows:
                    yield target_rows(batch, self.entity) if self.fills else batch
