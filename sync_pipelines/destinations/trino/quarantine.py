"""Rejects and good keys of a run into Trino, beside the quarantine in the control database."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.books.copying import copy_batches, copy_statement
from sync_pipelines.books.rejects import settle_superseded, staged_rejects
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.staging import Field
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def held_keys(cursor: Any, request: PublishRequest) -> tuple[pa.Table, list[Field]]:
    """Business keys of the run's rejects: they are at the source, so their rows have not vanished."""
    keys = [
        (index, column)
        for index, column in enumerate(request.entity.columns)
        if column.is_business_key
    ]
    fields = [Field(f"c{index}", column.type) for index, column in keys]
    cursor.execute(
        f"SELECT DISTINCT business_key::text FROM {staged_rejects(request)} WHERE business_key IS NOT NULL"
    )
    texts = [json.loads(text) for (text,) in cursor.fetchall()]
    columns = [
        from_canonical([key[place] for key in texts], column.type)
        for place, (_, column) in enumerate(keys)
    ]
    return pa.table(columns, names=[one.name for one in fields]), fields


def settle_by_keys(cursor: Any, request: PublishRequest, spool: Spool) -> None:
    """Mark what is in quarantine as superseded where this run brought a good record of the same key.

    The keys of the good records are copied next to the quarantine, and only when something is there.
    """
    entity = request.entity
    cursor.execute(
        f"SELECT EXISTS (SELECT 1 FROM {quote(request.bridge_schema)}.quarantine WHERE entity_uid ="
        f" {literal(str(entity.uid))}"
        f" AND resolved_at IS NULL AND business_key IS NOT NULL AND run_uid <> {literal(str(request.run_uid))})"
    )
    if entity.records_table not in spool.rows or not cursor.fetchone()[0]:
        return
    keys = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    statement = copy_statement(entity.staging_schema, entity.records_table, keys)
    copy_batches(cursor, statement, spool.batches(entity.records_table, keys))
    settle_superseded(cursor, request, _records(request), keys)


def empty_staging(cursor: Any, request: PublishRequest) -> None:
    """Leave nothing of the records behind."""
    cursor.execute(f"TRUNCATE {_records(request)}, {staged_rejects(request)}")


def _records(request: PublishRequest) -> str:
    return quote(request.entity.staging_schema, request.entity.records_table)
