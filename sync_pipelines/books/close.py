"""The books of a run: its row in `sync_runs`, the entity's cursor, and the quarantine; inside the publish transaction.

The statements run on psycopg2 (inside dlt's transaction) and on psycopg 3 (runs that load nothing) alike.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import psycopg2

from sync_pipelines.books.publish_plan import Outcome, PublishPlan
from sync_pipelines.errors import SupersededRunError
from sync_pipelines.model.entity import REVIEW_COLUMN
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Mode
from sync_pipelines.model.verdict import freshens


def count_known_rejects(cursor: Any, plan: PublishPlan) -> int:
    """Staged rejects that are in quarantine already, or that a person settled while the source repeats them."""
    cursor.execute(
        f"SELECT count(*) FROM {quote(plan.bridge_schema)}.quarantine q"
        f" WHERE q.entity_uid = {literal(str(plan.entity.uid))}"
        " AND (q.resolved_at IS NULL OR (q.resolution = 'released' AND q.edited_record IS NOT NULL))"
        " AND q.fingerprint IN"
        f" (SELECT fingerprint FROM {quote(plan.entity.staging_schema, plan.entity.rejects_table)})"
    )
    return int(cursor.fetchone()[0])


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
            reason = excluded.reason, column_name = excluded.column_name,
            -- What a person fixed and released stays settled when the source sends the bad record once more.
            resolved_at = CASE WHEN q.resolution = 'released' AND q.edited_record IS NOT NULL THEN q.resolved_at END,
            resolution = CASE WHEN q.resolution = 'released' AND q.edited_record IS NOT NULL THEN q.resolution END
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
        f"UPDATE {quote(plan.bridge_schema)}.quarantine q SET resolved_at = now(), resolution = 'superseded'"
        f" FROM {quote(*table)} g"
        f" WHERE q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL AND q.business_key IS NOT NULL"
        f" AND q.run_uid <> {literal(str(plan.run_uid))} AND jsonb_array_length(q.business_key) ="
        f" {len(entity.business_keys)}"
    )
    cursor.execute("SAVEPOINT before_resolving")
    try:
        cursor.execute(f"{statement} AND {typed}")
    except (psycopg2.DataError, psycopg.DataError):
        # A key from the time of another declaration is not of the type that its column has now.
        cursor.execute("ROLLBACK TO SAVEPOINT before_resolving")
        cursor.execute(
            statement + "".join(f" AND g.{name}::text = q.business_key->>{index}" for index, name in enumerate(good))
        )
    cursor.execute("RELEASE SAVEPOINT before_resolving")


def settle_released(cursor: Any, plan: PublishPlan) -> None:
    """Mark the quarantined records that this run brought in, except those that were refused once more."""
    if plan.released:
        cursor.execute(
            f"UPDATE {quote(plan.bridge_schema)}.quarantine SET resolved_at = now(), resolution = 'released'"
            " WHERE uid = ANY (%s::uuid[]) AND run_uid <> %s AND resolved_at IS NULL",
            ([str(uid) for uid in plan.released], str(plan.run_uid)),
        )


def settle_vanished(cursor: Any, plan: PublishPlan, outcome: Outcome) -> None:
    """Settle what a full read no longer finds in any form: it is gone from the source, and no row waits for it.

    A read that may have been cut short, or whose pages moved, settles nothing; where a record can hide between two
    pages, two full reads must miss it. What a person is working on stays open, and whatever comes again opens again.

    Args:
        cursor: inside the publish transaction, after the quarantine was resolved.
        plan: of the run.
        outcome: tells whether deletions are held.
    """
    if plan.mode is not Mode.FULL or outcome.held or plan.moved:
        return
    bridge, entity, run = quote(plan.bridge_schema), literal(str(plan.entity.uid)), literal(str(plan.run_uid))
    missed_before = (
        f" AND EXISTS (SELECT FROM {bridge}.sync_runs r WHERE r.entity_uid = {entity} AND r.uid <> {run}"
        " AND r.mode = 'full'"
        " AND r.status IN ('success', 'rejected') AND r.started_at > q.last_seen_at"
        " AND coalesce(r.details->>'pages_moved', '') <> 'true')"
    )
    cursor.execute(
        f"UPDATE {bridge}.quarantine q SET resolved_at = now(), resolution = 'vanished' WHERE q.entity_uid = {entity}"
        f" AND q.resolved_at IS NULL AND q.run_uid <> {run} AND q.edited_record IS NULL AND q.waived_at IS NULL"
        + (missed_before if plan.can_hide_rows else "")
    )


def drop_accepted_reviews(cursor: Any, plan: PublishPlan) -> None:
    """Take the flag off staged records that a person accepted with this very content."""
    entity = plan.entity
    if entity.has_review:
        cursor.execute(
            f"UPDATE {quote(entity.staging_schema, entity.records_table)} s SET review = NULL"
            f" FROM {quote(plan.bridge_schema)}.reviews r"
            f" WHERE s.review IS NOT NULL AND r.entity_uid = {literal(str(entity.uid))} AND r.outcome = 'accepted'"
            f" AND r.business_key = {_key_texts(plan, 's', staged=True)} AND r.content_hash = s.hash"
        )


def keep_reviews(cursor: Any, plan: PublishPlan, *, filled: bool) -> int:
    """Bring the list of reviews to what this run left in the table; returns how many rows of the run are flagged.

    Args:
        cursor: inside the publish transaction, after the merge.
        plan: of the run.
        filled: the records went straight into the target and not through staging.
    """
    entity = plan.entity
    if not entity.has_review:
        return 0
    reviews, target = f"{quote(plan.bridge_schema)}.reviews", f"{quote(entity.target_schema, entity.target_table)} t"
    uid, run_uid, key = literal(str(entity.uid)), literal(str(plan.run_uid)), _key_texts(plan, "t", staged=False)
    if filled:
        rows = target
        cursor.execute(
            f"UPDATE {target} SET {REVIEW_COLUMN} = NULL FROM {reviews} r WHERE t.{REVIEW_COLUMN} IS NOT NULL"
            f" AND r.entity_uid = {uid}"
            f" AND r.outcome = 'accepted' AND r.business_key = {key} AND r.content_hash = right(t._bridge_hash, 32)"
        )
    else:
        names = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
        match = " AND ".join(
            f"t.{quote(column.target_name)} = s.{names[column.name]}" for column in entity.business_keys
        )
        rows = f"{target} JOIN {quote(entity.staging_schema, entity.records_table)} s ON {match}"
    cursor.execute(f"SELECT EXISTS (SELECT FROM {reviews} WHERE entity_uid = {uid} AND closed_at IS NULL)")
    if cursor.fetchone()[0]:
        cursor.execute(
            f"UPDATE {reviews} r SET closed_at = now(), outcome = 'settled' FROM {rows}"
            f" WHERE r.entity_uid = {uid} AND r.closed_at IS NULL AND t.{REVIEW_COLUMN} IS NULL"
            f" AND r.business_key = {key}"
        )
    cursor.execute(
        f"INSERT INTO {reviews} AS r (entity_uid, business_key, reason, content_hash, run_uid)"
        f" SELECT {uid}, {key}, t.{REVIEW_COLUMN}, right(t._bridge_hash, 32), {run_uid} FROM {rows}"
        f" WHERE t.{REVIEW_COLUMN} IS NOT NULL"
        " ON CONFLICT (entity_uid, business_key) DO UPDATE SET reason = excluded.reason, content_hash ="
        " excluded.content_hash,"
        " run_uid = excluded.run_uid, last_seen_at = now(), closed_at = NULL, outcome = NULL,"
        " first_seen_at = CASE WHEN r.closed_at IS NULL THEN r.first_seen_at ELSE now() END"
    )
    return int(cursor.rowcount)


def _key_texts(plan: PublishPlan, alias: str, *, staged: bool) -> str:
    names = {column.name: f"c{index}" for index, column in enumerate(plan.entity.columns)}
    keys = [names[column.name] if staged else quote(column.target_name) for column in plan.entity.business_keys]
    return f"jsonb_build_array({', '.join(f'{alias}.{key}::text' for key in keys)})"


def close_books(cursor: Any, plan: PublishPlan, outcome: Outcome) -> None:
    """Write the run as finished, with the verdict on it, and move the entity's cursor.

    A rejected run without one good record makes no table fresh. How many deletions wait is known by full reads.

    Raises:
        SupersededRunError: the run is not open any more.
    """
    ledger, verdict, bridge = outcome.ledger, outcome.verdict, quote(plan.bridge_schema)
    warnings = [*plan.details.get("warnings", ()), *outcome.warnings]
    details = {**plan.details, "missing": outcome.missing, "row_count": outcome.row_count, "warnings": warnings}
    details |= {"held_deletions": outcome.held, "known_rejects": plan.known_rejects}
    trouble = {
        "error": verdict.status.title(),
        "what": verdict.reason,
        "next_command": verdict.next_command,
        "retriable": False,
    }
    is_release = bool(plan.released)
    # A release does not read the source, so it makes no table fresh and moves no due time.
    is_fresh = not is_release and freshens(verdict.status, ledger)
    cursor.execute(
        f"""
        UPDATE {bridge}.sync_runs SET status = %s, completed_at = clock_timestamp(), records_fetched = %s,
            records_inserted = %s, records_updated = %s, records_unchanged = %s, records_superseded = %s,
            records_quarantined = %s, rows_deleted = %s, rowversion_end = %s, details = %s,
            error_message = %s, error_details = %s
        WHERE uid = %s AND status = 'running'
        """,
        (
            str(verdict.status),
            ledger.fetched,
            ledger.inserted,
            ledger.updated,
            ledger.unchanged,
            ledger.superseded,
            ledger.quarantined,
            ledger.deleted,
            plan.cursor,
            json.dumps(details, default=str),
            verdict.reason,
            json.dumps(trouble) if verdict.reason else None,
            str(plan.run_uid),
        ),
    )
    others = f"lease_uid IS DISTINCT FROM {literal(str(plan.lease)) if plan.lease else 'NULL'}::uuid"
    if cursor.rowcount != 1:
        raise SupersededRunError(f"The run {plan.run_uid} is not open any more.", where=dict(plan.entity.where))
    cursor.execute(
        f"""
        UPDATE {bridge}.entities SET last_sync_status = %s, last_rowversion = %s,
            cursor_codec = %s, cursor_marks = %s, row_count = %s, masks = %s,
            held_deletions = CASE WHEN %s THEN %s ELSE held_deletions END,
            last_sync_at = CASE WHEN %s THEN last_sync_at ELSE clock_timestamp() END,
            last_success_at = CASE WHEN %s THEN clock_timestamp() ELSE last_success_at END,
            consecutive_failures = CASE WHEN %s THEN consecutive_failures ELSE 0 END,
            next_due_at = CASE WHEN %s THEN next_due_at ELSE clock_timestamp() + %s * interval '1 second' END,
            due_reason = CASE WHEN %s THEN due_reason ELSE %s END,
            full_refresh_pending = %s OR full_refresh_pending AND (%s OR columns <> %s::jsonb OR delta_strategy <> %s),
            full_read_due = full_read_due AND %s, seen_rowversion = CASE WHEN %s THEN coalesce(%s, seen_rowversion) END,
            lease_uid = CASE WHEN {others} THEN lease_uid END, leased_at = CASE WHEN {others} THEN leased_at END,
            leased_until = CASE WHEN {others} THEN leased_until END
        WHERE uid = %s
        """,
        (
            plan.entity.last_sync_status if is_release else str(verdict.status),
            plan.cursor,
            None if plan.codec is None else str(plan.codec),
            json.dumps([mark.as_json() for mark in plan.marks]),
            outcome.row_count,
            json.dumps(plan.masks),
            plan.mode == "full",
            outcome.held,
            is_release,
            is_fresh,
            is_release,
            is_release,
            plan.next_due_seconds,
            is_release,
            str(plan.next_due_reason),
            # Pages that moved may have hidden records from a full read.
            plan.moved and plan.mode == "full",
            # A discovery during this run may have asked for another full read, which this one was not.
            plan.mode == "delta",
            json.dumps([column.as_json() for column in plan.declared_columns or plan.entity.columns]),
            str(plan.entity.delta_strategy),
            plan.mode == "delta",
            plan.seen_is_sure or is_release,
            plan.seen,
            str(plan.entity.uid),
        ),
    )
