"""Rows whose newest record was rejected: marked, so that a reader can tell the last good version from a current one."""

from __future__ import annotations

from typing import Any

from sync_pipelines.load.postgres.merge import Merge
from sync_pipelines.load.postgres.quoting import literal, quote
from sync_pipelines.model.entity import OPTIONAL_COLUMNS, REJECTED_COLUMN


def mark_rejected(cursor: Any, merge: Merge) -> int:
    """Mark the live rows whose key this run put into quarantine; a good record of the key takes the mark off (`Merge`).

    A row that is newer than the rejected record is not marked. The column is made when the first row needs it.

    Args:
        cursor: inside the publish transaction, after the rejects were moved into quarantine.
        merge: of the run.

    Returns:
        How many rows were marked.
    """
    plan, entity = merge.plan, merge.entity
    keys = " AND ".join(
        f"t.{quote(column.target_name)} = (q.business_key->>{index})::{column.type.sql}" for index, column in enumerate(entity.business_keys)
    )
    theirs, ours = merge.order("q.rowversion"), merge.order("t._bridge_rowversion")
    newer = f" AND NOT coalesce({ours} > {theirs}, false)" if theirs is not None else ""
    rejected = (
        f"q.entity_uid = {literal(str(entity.uid))} AND q.run_uid = {literal(str(plan.run_uid))} AND q.resolved_at IS NULL"
        f" AND q.business_key IS NOT NULL AND NOT t._bridge_deleted AND {keys}{newer}"
    )
    quarantine = f"{quote(plan.bridge_schema)}.quarantine q"
    if not entity.has_rejected:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {merge.target} t, {quarantine} WHERE {rejected})")
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(f"ALTER TABLE {merge.target} ADD COLUMN IF NOT EXISTS {REJECTED_COLUMN} {OPTIONAL_COLUMNS[REJECTED_COLUMN]}")
    return merge.execute(
        f"UPDATE {merge.target} t SET {REJECTED_COLUMN} = now() FROM {quarantine} WHERE {rejected} AND t.{REJECTED_COLUMN} IS NULL"
    )
