"""The publish step: rows, ledger, quarantine and cursor become visible in one transaction, or none of them does.

Every count is taken twice, by independent statements, and compared; a difference rolls everything back.
"""

from __future__ import annotations

from typing import Any

import psycopg2

from sync_pipelines.books.close import (
    close_books,
    count_known_rejects,
    drop_accepted_reviews,
    keep_reviews,
    move_rejects,
    resolve_quarantine,
    settle_released,
    settle_vanished,
)
from sync_pipelines.books.publish_plan import Outcome, PublishPlan
from sync_pipelines.destinations.postgres.copy import copy_refusing
from sync_pipelines.destinations.postgres.fill import build_constraints
from sync_pipelines.destinations.postgres.interference import explain_loss
from sync_pipelines.destinations.postgres.merge import Counts, Merge
from sync_pipelines.destinations.postgres.misfits import MISFITS, set_misfits_aside
from sync_pipelines.destinations.postgres.rejected import mark_rejected
from sync_pipelines.destinations.postgres.rights import require_rights
from sync_pipelines.destinations.postgres.target import read_columns
from sync_pipelines.destinations.postgres.vanished import Absent, delete_vanished
from sync_pipelines.errors import DatabaseRefusedError, LedgerError, SupersededRunError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger, Mode, check_stage

_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "extra_float_digits": "1",
    "work_mem": "128MB",
    "maintenance_work_mem": "256MB",
}


class KeyTwiceError(Exception):
    """The target cannot be filled directly: a key stands twice or does not fit its index; the transaction is broken."""


def publish(cursor: Any, plan: PublishPlan, *, fills: bool = False) -> Outcome:
    """Merge the staged records of a plan; the caller owns the transaction.

    Args:
        cursor: a psycopg2 cursor inside the transaction that also writes dlt's load row.
        plan: what was extracted and where the cursor goes.
        fills: the cursor is of the transaction in which the plan's stream filled the empty target.

    Raises:
        LedgerError: two counts of a stage differ.
        SupersededRunError: the run was closed by another one.
        DatabaseRefusedError: a trigger, rule, policy or partition of somebody else swallows rows.
        KeyTwiceError: the records that fill an empty target are not one per key, or one does not fit; they must go
            through staging.
    """
    for name, value in _SESSION.items():
        cursor.execute(f"SET LOCAL {name} = {literal(value)}")
    check_replication_role(cursor, plan.entity)
    fence(cursor, plan)
    if not fills:
        _stage(cursor, plan)
    try:
        return _publish(cursor, plan, fills=True) if fills else _publish_fitting(cursor, plan)
    except LedgerError as loss:
        told = explain_loss(cursor, plan.entity, loss)
        raise told from (None if told is loss else loss)


def _publish_fitting(cursor: Any, plan: PublishPlan) -> Outcome:
    """Publish what is staged.

    Where a row does not fit the target, its indexes or a CHECK, set such rows aside and publish the others.
    """
    allowed_nulls, notes = plan.allowed_nulls, plan.notes
    cursor.execute("SAVEPOINT before_publish")
    try:
        outcome = _publish(cursor, plan, fills=False)
    except MISFITS:
        cursor.execute("ROLLBACK TO SAVEPOINT before_publish")
        misfits = set_misfits_aside(cursor, plan.entity, plan.originals)
        if not misfits:
            raise
        plan.copy_rejected += misfits
        plan.allowed_nulls, plan.notes = allowed_nulls, notes
        outcome = _publish(cursor, plan, fills=False)
    cursor.execute("RELEASE SAVEPOINT before_publish")
    return outcome


def _publish(cursor: Any, plan: PublishPlan, *, fills: bool) -> Outcome:
    merge = Merge(cursor, plan)
    filled = _finish_fill(cursor, plan) if fills else None
    staged, rejected = merge.count_staged(), merge.count_rejects()
    check_stage("load", plan.fetched, plan.reread + (filled or 0) + staged + rejected)
    check_stage("quarantine", plan.rejected + plan.copy_rejected, rejected)
    quarantined = merge.count_distinct_rejects()
    superseded, counts = 0, Counts(new=filled or 0)
    if filled is None:
        allow_nulls(cursor, plan)
        drop_accepted_reviews(cursor, plan)
        superseded = merge.drop_superseded()
        counts = merge.apply(staged - superseded)
    gained = counts.new + counts.returned
    absent = delete_vanished(merge, counts) if plan.mode is Mode.FULL else Absent()
    ledger = Ledger(
        fetched=plan.fetched,
        inserted=counts.new,
        updated=counts.changed + counts.returned,
        unchanged=counts.same + counts.touched,
        superseded=plan.reread + superseded + counts.stale + rejected - quarantined,
        quarantined=quarantined,
        deleted=absent.deleted,
    )
    plan.known_rejects = count_known_rejects(cursor, plan) if quarantined else 0
    check_stage("quarantine", quarantined, move_rejects(cursor, plan))
    settle_released(cursor, plan)
    resolve_quarantine(cursor, plan, filled=filled is not None)
    plan.details["marked_rejected"] = mark_rejected(cursor, merge) if quarantined else 0
    plan.details["reviewed"] = keep_reviews(cursor, plan, filled=filled is not None)
    row_count = merge.count_rows(gained - absent.deleted)
    if plan.mode is Mode.FULL:
        # Counted in the table itself; also tells whether somebody else wrote into it meanwhile.
        check_stage("rows", counts.live_before + gained - absent.deleted, row_count)
    outcome = plan.finished(ledger, row_count, missing=absent.missing, held=absent.held, live_before=counts.live_before)
    settle_vanished(cursor, plan, outcome)
    close_books(cursor, plan, outcome)
    merge.empty_staging(rejected)
    return outcome


def _finish_fill(cursor: Any, plan: PublishPlan) -> int:
    """Rows that the stream copied into the target, which gets its constraints now."""
    try:
        build_constraints(cursor, plan.entity)
    except (psycopg2.errors.UniqueViolation, psycopg2.errors.ProgramLimitExceeded) as error:
        raise KeyTwiceError(str(error).splitlines()[0]) from error
    return int(plan.stream.rows)


def _stage(cursor: Any, plan: PublishPlan) -> None:
    """Make sure that the records are in staging."""
    if plan.spooled is not None and not plan.is_staged:
        plan.copy_rejected += copy_refusing(cursor, str(plan.spooled), plan.entity, plan.originals)


def check_replication_role(cursor: Any, entity: Entity) -> None:
    """Let triggers and foreign keys hold, or refuse a session in which they do not.

    Raises:
        DatabaseRefusedError: somebody set session_replication_role for our role or database.
    """
    cursor.execute(
        "SELECT current_setting('session_replication_role'), rolsuper, rolname FROM pg_roles"
        " WHERE rolname = current_user"
    )
    role, is_superuser, user = cursor.fetchone()
    if role != "origin" and is_superuser:
        cursor.execute("SET LOCAL session_replication_role = origin")
    elif role != "origin":
        raise DatabaseRefusedError(
            f"The session runs with session_replication_role = {role}, in which foreign keys and triggers of"
            f" {entity.table} do not hold.",
            where=dict(entity.where),
            next_command=f"ALTER ROLE {quote(user)} RESET session_replication_role, and the same of the database",
        )


def allow_nulls(cursor: Any, plan: PublishPlan) -> None:
    """Take NOT NULL off columns that may be null at the source, once a null has come; until then it stays."""
    entity = plan.entity
    stored = read_columns(cursor, entity.target_schema, entity.target_table)
    for index, column in enumerate(entity.columns):
        have = stored.get(column.target_name)
        if column.is_business_key or not column.is_nullable or have is None or not have.is_not_null:
            continue
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM {quote(entity.staging_schema, entity.records_table)} WHERE c{index} IS NULL)"
        )
        if cursor.fetchone()[0]:
            name = quote(column.target_name)
            require_rights(
                cursor,
                entity,
                entity.target_schema,
                entity.target_table,
                f"take NOT NULL off {name}, since the source sent a null",
            )
            cursor.execute(
                f"ALTER TABLE {quote(entity.target_schema, entity.target_table)} ALTER COLUMN {name} DROP NOT NULL"
            )
            plan.allowed_nulls += (column.name,)


def fence(cursor: Any, plan: PublishPlan) -> None:
    """Hold the run's row, so that nobody can close it while it publishes.

    Raises:
        SupersededRunError: somebody has.
    """
    cursor.execute(
        f"SELECT status FROM {quote(plan.bridge_schema)}.sync_runs WHERE uid = {literal(str(plan.run_uid))} FOR UPDATE"
    )
    row = cursor.fetchone()
    if row is None or row[0] != "running":
        raise SupersededRunError(
            f"The run {plan.run_uid} was closed by another one while it worked.",
            where=dict(plan.entity.where),
            next_command=f"sync-pipelines runs {plan.entity.path}",
        )
