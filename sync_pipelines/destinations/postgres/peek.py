"""Runs that need no load: everything that was fetched is in the table already."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.model.entity import REJECTED_COLUMN
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger


def all_unchanged(
    cursor: Any, request: PublishRequest, read: ReadResult, batch: pa.Table
) -> Ledger | None:
    """The ledger of a small batch whose every record is in the table as it is; None when one does not.

    Args:
        cursor: with rows as tuples.
        request: of the run.
        read: of the run.
        batch: all records of the run, with the schema of `staging.records_schema`.
    """
    entity = request.entity
    keys = [
        (index, column) for index, column in enumerate(entity.columns) if column.is_business_key
    ]
    key_names = [f"c{index}" for index, _ in keys]
    flags = entity.flags
    distinct = batch.group_by(["rowversion", "hash", *key_names, *flags]).aggregate([])
    if len(distinct) != len(batch.group_by(key_names).aggregate([])):
        return None
    arrays = [
        pc.cast(distinct[name], pa.string()).to_pylist()
        for name in ["hash", "rowversion", *key_names, *flags]
    ]
    match = " AND ".join(
        f"t.{quote(column.target_name)} = s.c{index}::{column.type.sql}".replace("%", "%%")
        for index, column in keys
    )
    target = quote(entity.target_schema, entity.target_table).replace("%", "%%")
    # A good record whose key is in quarantine must go the long way, which resolves it.
    key_texts = f"jsonb_build_array({', '.join(f's.{name}' for name in key_names)})"
    cursor.execute(
        f"""
        SELECT count(*) FROM unnest({", ".join(["%s::text[]"] * len(arrays))}) AS s (hash, rowversion,
            {", ".join([*key_names, *flags])})
        JOIN {target} t ON {match}
        WHERE t._bridge_hash = {literal(entity.columns_fingerprint + ":")} || s.hash
          AND t._bridge_rowversion IS NOT DISTINCT FROM s.rowversion AND NOT t._bridge_deleted
          {" ".join(f"AND t.{column} IS NOT DISTINCT FROM s.{name}" for name, column in flags.items())}
          {f"AND t.{REJECTED_COLUMN} IS NULL" if entity.has_rejected else ""}
          AND NOT EXISTS (SELECT 1 FROM {quote(request.bridge_schema).replace("%", "%%")}.quarantine q
            WHERE q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL AND q.business_key = {key_texts})
        """,
        arrays,
    )
    matched = int(cursor.fetchone()[0])
    if matched != len(distinct):
        return None
    return Ledger(
        read.fetched, unchanged=matched, superseded=read.reread + len(batch) - len(distinct)
    )
