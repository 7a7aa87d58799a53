"""Batches between source and publish step: sent on while they are read, and kept until they are published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg

from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.database import classified_errors
from sync_pipelines.destinations.destination import Destination, RecordStream, StagedBatches
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.spools import RunFolder
from sync_pipelines.errors import FatalError, SyncError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.staged import Batch
from sync_pipelines.secrets import printable


@dataclass(frozen=True)
class Loading:
    """What one load needs beside its batches.

    Attributes:
        destination: where the rows go.
        request: what is to be published.
        folder: of the run.
        originals: of the run.
        fills_empty: the target holds no row, so that the records may go straight into it.
        writing: entered before anything is written to the destination, left when it is published.
        while_waiting: called while the destination keeps the records waiting; ends the run by raising.
        stage_seconds: gets the seconds of read and publish.
    """

    destination: Destination
    request: PublishRequest
    folder: RunFolder
    originals: Originals
    fills_empty: bool
    writing: Callable[[], AbstractContextManager[None]]
    while_waiting: Callable[[], None]
    stage_seconds: dict[str, float] = field(default_factory=dict)


def load_batches(
    loading: Loading,
    batches: Iterable[Batch],
    finish_read: Callable[[], ReadResult],
) -> Publication:
    """Read the batches to their end, and publish them.

    Args:
        loading: how.
        batches: of records and rejects; read while the destination works.
        finish_read: what was read; asked once, when the batches are exhausted.

    Raises:
        SyncError: ours, or a failure of a database or a file translated.
    """
    with (
        classified_errors(),
        _faults_of(loading.request.entity),
        loading.writing(),
        ExitStack() as stack,
    ):
        started = time.monotonic()
        staged = _read(loading, batches, stack)
        read = finish_read()
        _finish_stream(loading, staged.stream)
        started = _clock(loading, "read", started)
        publication = loading.destination.publish(loading.request, read, staged)
        _clock(loading, "publish", started)
    return publication


@contextmanager
def _faults_of(entity: Entity) -> Iterator[None]:
    """A full disk, a torn file or a fault of ours ends the run for good: the next try would do the same."""
    try:
        yield
    except (SyncError, psycopg.Error):
        raise
    except Exception as error:
        raise load_failure(error, entity) from error


def load_failure(error: Exception, entity: Entity) -> FatalError:
    """The error of a load that failed by something else than a source or a database."""
    shown = printable(str(error), 300)
    return FatalError(f"The load failed: {type(error).__name__}: {shown}", where=dict(entity.where))


def _clock(loading: Loading, stage: str, started: float) -> float:
    now = time.monotonic()
    loading.stage_seconds[stage] = loading.stage_seconds.get(stage, 0.0) + now - started
    return now


def _read(
    loading: Loading,
    batches: Iterable[Batch],
    stack: ExitStack,
) -> StagedBatches:
    """Keep every batch, and send the good records on at the same time where the destination can take them."""
    records = loading.request.entity.records_table
    spool = stack.enter_context(Spool(loading.folder))
    stream: RecordStream | None = None
    for table, batch in batches:
        if not spool.rows:
            stream = _open_stream(loading, len(batch), stack)
        spool.write(table, batch)
        if stream is not None and table == records:
            stream.feed(batch, loading.while_waiting)
    spool.close()
    loading.originals.close()
    return StagedBatches(spool, loading.originals, stream)


def _open_stream(
    loading: Loading,
    first_rows: int,
    stack: ExitStack,
) -> RecordStream | None:
    entity = loading.request.entity
    stream = loading.destination.open_stream(
        entity,
        fills_empty=loading.fills_empty,
        first_rows=first_rows,
    )
    return stack.enter_context(stream) if stream is not None else None


def _finish_stream(loading: Loading, stream: RecordStream | None) -> None:
    if stream is not None:
        stream.finish(loading.while_waiting)
