"""Syncs into Iceberg behind a fresh Trino, beside Trino's own CREATE TABLE AS and beside plain INSERT … VALUES."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import ours
from benchmarks.measure import Place, measured
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.destinations.trino.staging import Staging, record_fields
from sync_pipelines.model.entity import Entity
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.registry import open_source

INSERT_ROWS = 20_000
INSERT_BATCH = 1000  # S0's batch_size


def _opened(place: Place) -> tuple[TrinoDestination, Entity]:
    database = Database(place.database_url)
    return TrinoDestination(database, get_connector(database, ours.CONNECTOR)), get_entity(
        database, ours.CONNECTOR, ours.SLUG
    )


def first(place: Place) -> dict[str, Any]:
    """First load."""
    return ours.first(place)


def delta(place: Place) -> dict[str, Any]:
    """1000 changes in a warm process."""
    return ours.delta(place)


def _extraction(place: Place, entity: Entity) -> Extraction:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    database = Database(place.database_url)
    connector = get_connector(database, ours.CONNECTOR)
    source = open_source(ReadContext(database, connector, entity, settings))
    return Extraction(
        entity, source, max_pages=settings.sources.max_pages, batch_rows=settings.runs.batch_rows
    )


def floor(place: Place) -> dict[str, Any]:
    """The same records are read and staged unmeasured; measured is one CREATE TABLE AS over their Parquet files."""
    destination, entity = _opened(place)
    folder = Path(place.options["lake"]) / "floor"
    folder.mkdir()
    files = []
    for number, (table_name, table) in enumerate(
        _extraction(place, entity).batches(after=None, keyset=True, full=False)
    ):
        if table_name == entity.records_table:
            files.append(folder / f"{number}.parquet")
            pq.write_table(table, files[-1], compression="NONE")
    staging = Staging(destination.session, destination.catalog, "floor")
    relation = staging.of_files("records", files, record_fields(entity))
    destination.session.execute("CREATE SCHEMA IF NOT EXISTS iceberg.floor")
    with measured(place) as found:
        written = destination.session.execute(
            f"CREATE TABLE iceberg.floor.items AS SELECT * FROM {relation} s"
        ).written
    staging.clear()
    return {**found, "fetched": written, "live": place.rows}


def insert_values(place: Place) -> dict[str, Any]:
    """Batches of INSERT … VALUES with parameters, through the trino client."""
    destination, entity = _opened(place)
    session = destination.session
    table, columns = "iceberg.plain.items", [f"c{index}" for index in range(len(entity.columns))]
    session.execute("CREATE SCHEMA IF NOT EXISTS iceberg.plain")
    session.execute(f"CREATE TABLE {table} ({', '.join(f'{name} varchar' for name in columns)})")
    rows = list(itertools.islice(_rows(place, entity, columns), INSERT_ROWS))
    cursor, marks = session.connection().cursor(), "(" + ", ".join("?" * len(columns)) + ")"
    with measured(place) as found:
        started = time.monotonic()
        for start in range(0, len(rows), INSERT_BATCH):
            batch = rows[start : start + INSERT_BATCH]
            statement = f"INSERT INTO {table} VALUES {', '.join([marks] * len(batch))}"
            cursor.execute(statement, list(itertools.chain(*batch)))
            cursor.fetchall()
        found["fetched"], found["seconds"] = len(rows), time.monotonic() - started
    return {**found, "live": place.rows}


def _rows(place: Place, entity: Entity, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    for table_name, table in _extraction(place, entity).batches(
        after=None, keyset=True, full=False
    ):
        if table_name == entity.records_table:
            texts = [
                [None if value is None else str(value) for value in table[name].to_pylist()]
                for name in columns
            ]
            yield from zip(*texts, strict=True)
