"""Runs that need no load: nothing was fetched, or everything fetched stands in the table already."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.books.close import close_books
from sync_pipelines.books.publish_plan import Outcome, PublishPlan
from sync_pipelines.model.entity import REJECTED_COLUMN
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger


def all_unchanged(cursor: Any, plan: PublishPlan, batch: pa.Table) -> Ledger | None:
    """The ledger of a small batch whose every record stands in the table as it is; None when one does not.

    Args:
        cursor: a psycopg 3 cursor.
        plan: of the run.
        batch: all records of the run, with the schema of `staging.records_schema`.
    """
    entity = plan.entity
    keys = [(index, column) for index, column in enumerate(entity.columns) if column.is_business_key]
    key_names = [f"c{index}" for index, _ in keys]
    flags = entity.flags
    distinct = batch.group_by(["rowversion", "hash", *key_names, *flags]).aggregate([])
    if len(distinct) != len(batch.group_by(key_names).aggregate([])):
        return None
    arrays = [pc.cast(distinct[name], pa.string()).to_pylist() for name in ["hash", "rowversion", *key_names, *flags]]
    match = " AND ".join(
        f"t.{quote(column.target_name)} = s.c{index}::{column.type.sql}".replace("%", "%%") for index, column in keys
    )
    target = quote(entity.target_schema, entity.target_table).replace("%", "%%")
    # A good record whose key lies in quarantine must go the long way, which resolves it.
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
          AND NOT EXISTS (SELECT 1 FROM {quote(plan.bridge_schema).replace("%", "%%")}.quarantine q
            WHERE q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL AND q.business_key = {key_texts})
        """,
        arrays,
    )
    row = cursor.fetchone()
    matched = next(iter(row.values())) if isinstance(row, dict) else row[0]
    if matched != len(distinct):
        return None
    return Ledger(plan.fetched, unchanged=matched, superseded=plan.reread + len(batch) - len(distinct))


def finish_without_load(cursor: Any, plan: PublishPlan, ledger: Ledger) -> Outcome:
    """Close the books of a run that writes no row; the caller owns the transaction."""
    outcome = plan.finished(ledger, plan.entity.row_count or 0)
    close_books(cursor, plan, outcome)
    return outcome
