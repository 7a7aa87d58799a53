"""Rejects of a run in the control database, where the quarantine of every destination is."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.books.close import resolve_quarantine
from sync_pipelines.books.publish_plan import PublishPlan
from sync_pipelines.destinations.postgres.copy import BATCH_ROWS, csv_of
from sync_pipelines.destinations.trino.staging import Field
from sync_pipelines.model.quoting import literal, quote


def count_rejects(cursor: Any, plan: PublishPlan) -> tuple[int, int]:
    """Rejects of the run, every reading of each, and different records among them."""
    cursor.execute(f"SELECT count(*), count(DISTINCT fingerprint) FROM {_rejects(plan)}")
    rejected, different = cursor.fetchone()
    return int(rejected), int(different)


def held_keys(cursor: Any, plan: PublishPlan) -> tuple[pa.Table, list[Field]]:
    """Business keys of the run's rejects: they are at the source, so their rows have not vanished."""
    entity = plan.entity
    keys = [(index, column) for index, column in enumerate(entity.columns) if column.is_business_key]
    fields = [Field(f"c{index}", column.type) for index, column in keys]
    cursor.execute(f"SELECT DISTINCT business_key::text FROM {_rejects(plan)} WHERE business_key IS NOT NULL")
    texts = [json.loads(row[0]) for row in cursor.fetchall()]
    columns = [from_canonical([key[place] for key in texts], column.type) for place, (_, column) in enumerate(keys)]
    return pa.table(columns, names=[one.name for one in fields]), fields


def resolve(cursor: Any, plan: PublishPlan) -> None:
    """Mark what lies in quarantine as resolved where this run brought a good record of the same key.

    The keys of the good records are copied next to the quarantine, and only when something lies there.
    """
    cursor.execute(
        f"SELECT EXISTS (SELECT 1 FROM {quote(plan.bridge_schema)}.quarantine"
        f" WHERE entity_uid = {literal(str(plan.entity.uid))}"
        f" AND resolved_at IS NULL AND business_key IS NOT NULL AND run_uid <> {literal(str(plan.run_uid))})"
    )
    if plan.spooled is None or not cursor.fetchone()[0]:
        return
    names = [f"c{index}" for index, column in enumerate(plan.entity.columns) if column.is_business_key]
    statement = f"COPY {_records(plan)} ({', '.join(names)}) FROM STDIN (FORMAT csv)"
    for batch in pq.ParquetFile(plan.spooled, pre_buffer=False).iter_batches(batch_size=BATCH_ROWS, columns=names):
        with cursor.copy(statement) as copy:
            copy.write(csv_of(batch.select(names)))
    resolve_quarantine(cursor, plan, filled=False)


def empty_staging(cursor: Any, plan: PublishPlan) -> None:
    """Leave nothing of the records behind."""
    cursor.execute(f"TRUNCATE {_records(plan)}, {_rejects(plan)}")


def _records(plan: PublishPlan) -> str:
    return quote(plan.entity.staging_schema, plan.entity.records_table)


def _rejects(plan: PublishPlan) -> str:
    return quote(plan.entity.staging_schema, plan.entity.rejects_table)
