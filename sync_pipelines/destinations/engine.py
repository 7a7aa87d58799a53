"""Drives one load: batches are spooled and copied while they are read, dlt packs, loads and publishes them.

One ephemeral working folder a run, never resumed: the only state is in the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pyarrow as pa

import sync_pipelines.destinations.dlt_settings  # noqa: F401
from sync_pipelines.books.publish_plan import PublishPlan, publishing
from sync_pipelines.catalog.database import classify_database_error
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.spools import working_folder
from sync_pipelines.errors import FatalError, SyncError
from sync_pipelines.model.names import pipeline_name_for
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)


def load_batches(
    destination: Destination,
    plan: PublishPlan,
    batches: Iterator[tuple[str, pa.Table]],
    stage_seconds: dict[str, float],
    *,
    home: Path,
    fills_empty: bool,
    writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    while_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Bring the batches to PostgreSQL while they are read, and publish them as `plan` says.

    `plan.outcome` is set afterwards.

    Args:
        destination: where the rows go.
        plan: its counts must be complete when `batches` is exhausted.
        batches: pairs of staging table and Arrow table.
        stage_seconds: gets the seconds of extract, normalize and load.
        home: where the run's working folder is made.
        fills_empty: the target holds no row, so that the records may go straight into it.
        writing: entered before anything is written to the destination, left when it is published.
        while_waiting: called while the destination keeps the records waiting; ends the run by raising.

    Raises:
        SyncError: ours, or a database error translated.
    """
    import dlt

    name = pipeline_name_for(plan.entity.connector, plan.entity.slug)
    plan.destination = destination
    with (
        working_folder(home) as folder,
        publishing(name, plan),
        ExitStack() as streams,
    ):
        try:
            streams.enter_context(writing())
            started = time.monotonic()
            spool = _read(destination, plan, batches, folder, streams, while_waiting, fills_empty=fills_empty)
            target, dataset_name = destination.pipeline_target(plan.entity)
            pipeline = dlt.pipeline(
                pipeline_name=name, pipelines_dir=str(folder), destination=target, dataset_name=dataset_name
            )
            pipeline.extract(_source(dlt, name, spool))
            started = _clocked(stage_seconds, "extract", started)
            pipeline.normalize()
            started = _clocked(stage_seconds, "normalize", started)
            pipeline.load()
            _clocked(stage_seconds, "load", started)
        except Exception as error:
            raise _cause(error, plan) from error
    if plan.outcome is None:
        raise FatalError(f"The load of {plan.entity.path} ended without publishing.", where=dict(plan.entity.where))


def _clocked(stage_seconds: dict[str, float], stage: str, started: float) -> float:
    now = time.monotonic()
    stage_seconds[stage] = stage_seconds.get(stage, 0.0) + now - started
    return now


def _read(
    destination: Destination,
    plan: PublishPlan,
    batches: Iterator[tuple[str, pa.Table]],
    folder: Path,
    streams: ExitStack,
    while_waiting: Callable[[], None],
    *,
    fills_empty: bool,
) -> Spool:
    """Spool the batches, and send the good records on at the same time where the destination can take them."""
    with Spool(folder) as spool, plan.originals.writing(folder):
        for table, batch in batches:
            if not spool.rows:
                stream = destination.open_stream(plan.entity, fills_empty=fills_empty, first_rows=len(batch))
                plan.stream = streams.enter_context(stream) if stream else None
            spool.write(table, batch)
            if plan.stream is not None and table == plan.entity.records_table:
                plan.stream.feed(batch, while_waiting)
    if plan.stream is not None:
        plan.stream.finish(while_waiting)
    if plan.entity.records_table in spool.rows:
        plan.spooled = spool.path(plan.entity.records_table)
    return spool


def _source(dlt: Any, name: str, spool: Spool) -> Any:
    """The spooled files as a dlt source; dlt links them into its package as they are."""

    def file_of(table: str) -> Iterator[Any]:
        yield dlt.mark.with_file_import(
            str(spool.path(table)), "parquet", spool.rows[table], spool.schemas[table].empty_table()
        )

    @dlt.source(name=name, max_table_nesting=0)
    def entity_source() -> Any:
        for table in spool.rows:
            # dlt takes every timestamp for one with a zone, and would rewrite the file to say so.
            naive = {
                field.name: {"name": field.name, "data_type": "timestamp", "timezone": False}
                for field in spool.schemas[table]
                if pa.types.is_timestamp(field.type) and field.type.tz is None
            }
            yield dlt.resource(file_of, name=table, write_disposition="append", file_format="parquet", columns=naive)(
                table
            )

    return entity_source()


def _cause(error: BaseException, plan: PublishPlan) -> SyncError:
    """The first error of ours, else the first of the database, in what dlt wrapped."""
    chain: list[BaseException] = []
    for root in [*plan.errors, error]:
        current: BaseException | None = root
        while current is not None and current not in chain:
            chain.append(current)
            current = current.__cause__ or current.__context__
    for link in chain:
        if isinstance(link, SyncError):
            return link
    for link in chain:
        if isinstance(link, (psycopg2.Error, psycopg.Error)):
            return classify_database_error(link)
    return FatalError(
        f"dlt failed: {type(chain[-1]).__name__}: {printable(str(chain[-1]), 300)}", where=dict(plan.entity.where)
    )
