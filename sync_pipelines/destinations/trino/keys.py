"""Business keys between Trino and the catalog: those of rejects, and those of good records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.books.copying import copy_batches, copy_statement
from sync_pipelines.books.keys import Key, parse_key
from sync_pipelines.books.rejects import (
    is_waiting,
    of_this_run,
    quarantine_table,
    settle_superseded,
)
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.staging import Field
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.staged import staged_keys
from sync_pipelines.model.tables import records_of, rejects_of
from sync_pipelines.model.types import Kind

Staged = tuple[pa.Table, list[Field]]
"""Staged columns with their declared types."""


def keys_table(entity: Entity, keys: Sequence[Key]) -> Staged:
    """Keys out of the catalog as staged columns; the other way of `destinations.peek.key_texts`."""
    names = staged_keys(entity)
    fields = []
    columns = []
    for place, column in enumerate(entity.business_keys):
        texts: list[str | None] = [key[place] for key in keys]
        if column.type.kind is Kind.TIMESTAMPTZ:
            # Arrow writes a moment with its zone, but reads it only without.
            texts = [key[place].removesuffix("Z") for key in keys]
        values = from_canonical(texts, column.type)
        columns.append(values)
        field = Field(names[place], column.type)
        fields.append(field)
    return pa.table(columns, names=names), fields


def rejected_keys(cursor: Any, request: PublishRequest) -> Staged:
    """Business keys of the run's rejects: they are at the source, so their rows have not vanished."""
    cursor.execute(
        f"SELECT DISTINCT business_key::text FROM {rejects_of(request.entity)}"
        " WHERE business_key IS NOT NULL"
    )
    rows = cursor.fetchall()
    keys = [parse_key(text) for (text,) in rows]
    return keys_table(request.entity, keys)


def settle_by_keys(cursor: Any, request: PublishRequest, spool: Spool) -> None:
    """Mark what is in quarantine as superseded where this run brought a good record of the same key.

    The keys of the good records are copied next to the quarantine, and only when something is there.
    """
    entity = request.entity
    if entity.records_table not in spool.rows:
        return
    cursor.execute(
        f"SELECT EXISTS (SELECT 1 FROM {quarantine_table(request)} q"
        f" WHERE {is_waiting(entity)} AND NOT {of_this_run(request)})"
    )
    if not cursor.fetchone()[0]:
        return
    keys = staged_keys(entity)
    statement = copy_statement(entity.staging_schema, entity.records_table, keys)
    good = spool.batches(entity.records_table, keys)
    copy_batches(cursor, statement, good)
    settle_superseded(cursor, request, records_of(entity), keys)


def empty_staging(cursor: Any, request: PublishRequest) -> None:
    """Leave nothing of the records behind."""
    entity = request.entity
    cursor.execute(f"TRUNCATE {records_of(entity)}, {rejects_of(entity)}")
