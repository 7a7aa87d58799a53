"""The books of a run: its row in `sync_runs`, the entity's cursor, and the quarantine; inside the publish transaction.

The statements run on psycopg2 (inside dlt's transaction) and on psycopg 3 (runs that load nothing) alike.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import psycopg2

from sync_pipelines.errors import SupersededRunError
from sync_pipelines.load.plan import Outcome, PublishPlan
from sync_pipelines.load.postgres.quoting import literal, quote


def move_rejects(cursor: Any, plan: PublishPlan) -> int:
    """Put the staged rejects into quarantine; a record that is there already was seen by one more run.

    Returns:
        Number of different records.
    """
    rejects = quote(plan.entity.staging_schema, plan.entity.rejects_table).replace("%", "%%")
    cursor.execute(
        f"""
        INSERT INTO {quote(plan.bridge_schema)}.quarantine AS q (entity_uid, run_uid, page, position, business_key,
            rowversion, column_name, reason, record, fingerprint, times_seen)
        SELECT %s, %s, (array_agg(page ORDER BY page, position))[1], (array_agg(position ORDER BY page, position))[1],
               (array_agg(business_key))[1], (array_agg(rowversion))[1], (array_agg(column_name))[1],
               (array_agg(reason))[1], (array_agg(record))[1], fingerprint, 1
        FROM {rejects} GROUP BY fingerprint
        ON CONFLICT (entity_uid, fingerprint) DO UPDATE SET run_uid = excluded.run_uid, last_seen_at = now(),
            times_seen = q.times_seen + 1, page = excluded.page, position = excluded.position,
            business_key = excluded.business_key,
            reason = excluded.reason, column_name = excluded.column_name, resolved_at = NULL
        """,
        (str(plan.entity.uid), str(plan.run_uid)),
    )
    return int(cursor.rowcount)


def resolve_quarantine(cursor: Any, plan: PublishPlan, *, filled: bool) -> None:
    """Mark what lies in quarantine as resolved where this run brought a good record of the same key.

    Args:
        cursor: inside the publish transaction, after `move_rejects`.
        plan: of the run.
        filled: the good records went straight into the target and not through staging.
    """
    entity = plan.entity
    places = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
    table = (entity.target_schema, entity.target_table) if filled else (entity.staging_schema, entity.records_table)
    good = [quote(column.target_name if filled else places[column.name]) for column in entity.business_keys]
    typed = " AND ".join(
        f"g.{name} = (q.business_key->>{index})::{column.type.sql}"
        for index, (name, column) in enumerate(zip(good, entity.business_keys, strict=True))
    )
    statement = (
        f"UPDATE {quote(plan.bridge_schema)}.quarantine q SET resolved_at = now() FROM {quote(*table)} g"
        f" WHERE q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL AND q.business_key IS NOT NULL"
        f" AND q.run_uid <> {literal(str(plan.run_uid))} AND jsonb_array_length(q.business_key) = {len(entity.business_keys)}"
    )
    cursor.execute("SAVEPOINT before_resolving")
    try:
        cursor.execute(f"{statement} AND {typed}")
    except (psycopg2.DataError, psycopg.DataError):
        # A key from the time of another declaration is not of the type that its column has now.
        cursor.execute("ROLLBACK TO SAVEPOINT before_resolving")
        cursor.execute(statement + "".join(f" AND g.{name}::text = q.business_key->>{index}" for index, name in enumerate(good)))
    cursor.execute("RELEASE SAVEPOINT before_resolving")


def close_books(cursor: Any, plan: PublishPlan, outcome: Outcome) -> None:
    """Write the run as finished and move the entity's cursor.

    Raises:
        SupersededRunError: the run is not open any more.
    """
    ledger, bridge = outcome.ledger, quote(plan.bridge_schema)
    warnings = [*plan.details.get("warnings", ()), *outcome.warnings]
    details = {**plan.details, "missing": outcome.missing, "row_count": outcome.row_count, "warnings": warnings}
    cursor.execute(
        f"""
        UPDATE {bridge}.sync_runs SET status = 'success', completed_at = clock_timestamp(), records_fetched = %s,
            records_inserted = %s, records_updated = %s, records_unchanged = %s, records_superseded = %s,
            records_quarantined = %s, rows_deleted = %s, rowversion_end = %s, details = %s
        WHERE uid = %s AND status = 'running'
        """,
        (
            ledger.fetched,
            ledger.inserted,
            ledger.updated,
            ledger.unchanged,
            ledger.superseded,
            ledger.quarantined,
            ledger.deleted,
            plan.cursor,
            json.dumps(details, default=str),
            str(plan.run_uid),
        ),
    )
    others = f"lease_uid IS DISTINCT FROM {literal(str(plan.lease)) if plan.lease else 'NULL'}::uuid"
    if cursor.rowcount != 1:
        raise SupersededRunError(f"The run {plan.run_uid} is not open any more.", where=dict(plan.entity.where))
    cursor.execute(
        f"""
        UPDATE {bridge}.entities SET last_sync_at = clock_timestamp(), last_sync_status = 'success', last_rowversion = %s,
            cursor_codec = %s, cursor_marks = %s, row_count = %s, consecutive_failures = 0, last_success_at = clock_timestamp(),
            full_refresh_pending = full_refresh_pending AND (%s OR columns <> %s::jsonb OR delta_strategy <> %s),
            full_read_due = full_read_due AND %s, seen_rowversion = CASE WHEN %s THEN coalesce(%s, seen_rowversion) END,
            next_due_at = clock_timestamp() + %s * interval '1 second', due_reason = %s,
            lease_uid = CASE WHEN {others} THEN lease_uid END, leased_at = CASE WHEN {others} THEN leased_at END,
            leased_until = CASE WHEN {others} THEN leased_until END
        WHERE uid = %s
        """,
        (
            plan.cursor,
            None if plan.codec is None else str(plan.codec),
            json.dumps([mark.as_json() for mark in plan.marks]),
            outcome.row_count,
            # A discovery during this run may have asked for another full read, which this one was not.
            plan.mode == "delta",
            json.dumps([column.as_json() for column in plan.entity.columns]),
            str(plan.entity.delta_strategy),
            plan.mode == "delta",
            plan.seen_is_sure,
            plan.seen,
            plan.next_due_seconds,
            str(plan.next_due_reason),
            str(plan.entity.uid),
        ),
    )
