"""Drives dlt for one entity: extract batches to Parquet, load them into staging, publish.

One ephemeral working folder a run, never resumed: the only state is in the database.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import psycopg2
import pyarrow as pa

from sync_pipelines.catalog.database import classify_database_error
from sync_pipelines.errors import FatalError, SyncError
from sync_pipelines.load.destination import Destination
from sync_pipelines.load.plan import PublishPlan, publishing
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.names import pipeline_name_for

logger = logging.getLogger(__name__)

_FOLDER_PREFIX = "sync_pipelines_run_"
_DLT_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "NORMALIZE__WORKERS": "1",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "LOAD__WORKERS": "2",
    "LOAD__RAISE_ON_MAX_RETRIES": "1",
    "RESTORE_FROM_DESTINATION": "false",
}

# On import and not later: setting the environment while other threads read it (libpq does) can crash the process.
for _name, _value in _DLT_SETTINGS.items():
    os.environ.setdefault(_name, _value)


def load_batches(
    destination: Destination, plan: PublishPlan, batches: Iterator[tuple[str, pa.Table]], stage_seconds: dict[str, float]
) -> None:
    """Run dlt over the batches and publish them as `plan` says; `plan.outcome` is set afterwards.

    Args:
        destination: where the rows go.
        plan: its counts must be complete when `batches` is exhausted.
        batches: pairs of staging table and Arrow table.
        stage_seconds: gets the seconds of extract, normalize and load.

    Raises:
        SyncError: ours, or a database error translated.
    """
    import dlt

    name = pipeline_name_for(plan.entity.connector, plan.entity.slug)
    sweep_folders()
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER_PREFIX}{os.getpid()}_") as folder, publishing(name, plan):
        plan.folder, plan.destination = Path(folder), destination
        target, dataset_name = destination.pipeline_target(plan.entity)
        pipeline = dlt.pipeline(
            pipeline_name=name,
            pipelines_dir=str(Path(folder)),
            destination=target,
            dataset_name=dataset_name,
        )
        source = _source(dlt, name, plan.entity, batches)
        try:
            for stage, step in (
                ("extract", lambda: pipeline.extract(source)),
                ("normalize", pipeline.normalize),
                ("load", pipeline.load),
            ):
                started = time.monotonic()
                step()
                stage_seconds[stage] = stage_seconds.get(stage, 0.0) + time.monotonic() - started
        except Exception as error:
            raise _cause(error, plan) from error
    if plan.outcome is None:
        raise FatalError(
            f"The load of {plan.entity.path} ended without publishing.", where=dict(plan.entity.where)
        )


def sweep_folders(older_than_seconds: float = 86_400) -> int:
    """Remove working folders of processes that were killed; returns how many.

    A day of patience, since another container may share the folder and hide its processes.
    """
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*_*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).partition("_")[0]
        try:
            if pid.isdigit() and not psutil.pid_exists(int(pid)) and time.time() - folder.stat().st_mtime > older_than_seconds:
                shutil.rmtree(folder)
                swept += 1
        except OSError as error:
            logger.info("the working folder %s stays: %s", folder.name, error)
    return swept


def _source(dlt: Any, name: str, entity: Entity, batches: Iterator[tuple[str, pa.Table]]) -> Any:
    @dlt.source(name=name, max_table_nesting=0)
    def entity_source() -> Any:
        @dlt.resource(name=entity.records_table, write_disposition="append", file_format="parquet")
        def pages() -> Iterator[Any]:
            for table_name, table in batches:
                yield dlt.mark.with_table_name(table, table_name)

        return pages

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
    return FatalError(f"dlt failed: {type(chain[-1]).__name__}: {str(chain[-1])[:300]}", where=dict(plan.entity.where))
