"""The publish step: rows, ledger, quarantine and cursor become visible in one transaction, or none of them does.

Every count is taken twice, by independent statements, and compared; a difference rolls everything back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from sync_pipelines.books.close import close_books
from sync_pipelines.books.fence import fence
from sync_pipelines.books.rejects import (
    count_known_rejects,
    count_rejects,
    move_rejects,
    settle_released,
    settle_superseded,
    settle_vanished,
    stage_rejects,
)
from sync_pipelines.catalog.rights import require_rights
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.destination import StagedBatches
from sync_pipelines.destinations.postgres.copy import copy_refusing
from sync_pipelines.destinations.postgres.fill import build_constraints
from sync_pipelines.destinations.postgres.interference import explain_loss
from sync_pipelines.destinations.postgres.merge import Counts, Merge
from sync_pipelines.destinations.postgres.misfits import MISFITS, set_misfits_aside
from sync_pipelines.destinations.postgres.rejected import mark_rejected
from sync_pipelines.destinations.postgres.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.destinations.postgres.vanished import Absent, delete_vanished
from sync_pipelines.errors import DatabaseRefusedError, LedgerError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult, judge_run
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


@dataclass(frozen=True)
class Staged:
    """Where the good records are when they are compared, and what staging them cost.

    Attributes:
        refused: records that PostgreSQL itself refused; they are among the rejects now.
        filled: rows that the stream copied into the empty target; None where the records are in staging.
    """

    refused: int = 0
    filled: int | None = None


def publish(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    batches: StagedBatches,
    *,
    stream: RecordStream | None = None,
    fills: bool = False,
) -> Publication:
    """Merge what was read; the caller owns the transaction.

    Args:
        cursor: with rows as tuples.
        request: of the run.
        read: what was read and where the cursor goes.
        batches: the records, of which the stream may have brought the good ones here already.
        stream: that they went on.
        fills: the cursor is of the transaction in which the stream filled the empty target.

    Raises:
        LedgerError: two counts of a stage differ.
        SupersededRunError: the run was closed by another one.
        DatabaseRefusedError: a trigger, rule, policy or partition of somebody else swallows rows.
        KeyTwiceError: the records that fill an empty target are not one per key, or one does not fit; they must go
            through staging.
    """
    entity = request.entity
    for name, value in _SESSION.items():
        cursor.execute(f"SET LOCAL {name} = {literal(value)}")
    check_replication_role(cursor, entity)
    fence(cursor, request)
    stage_rejects(cursor, request, batches.spool.batches(entity.rejects_table))
    try:
        if fills and stream is not None:
            return _publish_filled(cursor, request, read, stream.rows)
        refused = _stage_records(cursor, request, batches, stream)
        return _publish_fitting(cursor, request, read, batches, refused)
    except LedgerError as loss:
        told = explain_loss(cursor, entity, loss)
        raise told from (None if told is loss else loss)


def _stage_records(cursor: Any, request: PublishRequest, batches: StagedBatches, stream: RecordStream | None) -> int:
    """Copy the good records into staging, unless the stream did; returns how many PostgreSQL refused."""
    entity = request.entity
    is_staged = stream is not None and stream.refusal is None and not stream.fills
    if is_staged or entity.records_table not in batches.spool.rows:
        return 0
    spooled = partial(batches.spool.batches, entity.records_table)
    return copy_refusing(cursor, spooled, entity, batches.originals)


def _publish_filled(cursor: Any, request: PublishRequest, read: ReadResult, filled: int) -> Publication:
    try:
        build_constraints(cursor, request.entity)
    except (psycopg.errors.UniqueViolation, psycopg.errors.ProgramLimitExceeded) as error:
        raise KeyTwiceError(str(error).splitlines()[0]) from error
    return _publish(cursor, request, read, Staged(filled=filled))


def _publish_fitting(
    cursor: Any, request: PublishRequest, read: ReadResult, batches: StagedBatches, refused: int
) -> Publication:
    """Publish what is staged.

    Where a row does not fit the target, its indexes or a CHECK, set such rows aside and publish the others.
    """
    cursor.execute("SAVEPOINT before_publish")
    try:
        publication = _publish(cursor, request, read, Staged(refused))
    except MISFITS:
        cursor.execute("ROLLBACK TO SAVEPOINT before_publish")
        misfits = set_misfits_aside(cursor, request.entity, batches.originals)
        if not misfits:
            raise
        publication = _publish(cursor, request, read, Staged(refused + misfits))
    cursor.execute("RELEASE SAVEPOINT before_publish")
    return publication


def _publish(cursor: Any, request: PublishRequest, read: ReadResult, came: Staged) -> Publication:
    entity, is_full = request.entity, request.mode is Mode.FULL
    is_filled = came.filled is not None
    merge = Merge(cursor, request, read)
    staged = merge.count_staged()
    rejected, quarantined = count_rejects(cursor, request)
    check_stage("load", read.fetched, read.reread + (came.filled or 0) + staged + rejected)
    check_stage("quarantine", read.rejected + came.refused, rejected)
    superseded, counts = 0, Counts(new=came.filled or 0)
    allowed_nulls: tuple[str, ...] = ()
    if not is_filled:
        allowed_nulls = allow_nulls(cursor, entity)
        drop_accepted_reviews(cursor, request)
        superseded = merge.drop_superseded()
        counts = merge.apply(staged - superseded)
    absent = delete_vanished(merge, counts) if is_full else Absent()
    known_rejects = count_known_rejects(cursor, request) if quarantined else 0
    check_stage("quarantine", quarantined, move_rejects(cursor, request))
    settle_released(cursor, request)
    _settle_superseded(cursor, request, is_filled=is_filled)
    marked, notes = mark_rejected(merge) if quarantined else (0, ())
    reviewed = keep_reviews(cursor, request, filled=is_filled)
    gained = counts.new + counts.returned - absent.deleted
    row_count = merge.count_rows(gained)
    if is_full:
        # Counted in the table itself; also tells whether somebody else wrote into it meanwhile.
        check_stage("rows", counts.live_before + gained, row_count)
    ledger = Ledger(
        fetched=read.fetched,
        inserted=counts.new,
        updated=counts.changed + counts.returned,
        unchanged=counts.same + counts.touched,
        superseded=read.reread + superseded + counts.stale + rejected - quarantined,
        quarantined=quarantined,
        deleted=absent.deleted,
    )
    verdict = judge_run(
        request,
        ledger,
        row_count,
        known_rejects=known_rejects,
        held=absent.held,
        live_before=counts.live_before,
    )
    publication = Publication(
        ledger,
        row_count,
        missing=absent.missing,
        held=absent.held,
        verdict=verdict,
        allowed_nulls=allowed_nulls,
        notes=notes,
        details={"known_rejects": known_rejects, "marked_rejected": marked, "reviewed": reviewed},
    )
    settle_vanished(cursor, request, read, publication)
    close_books(cursor, request, read, publication)
    merge.empty_staging(rejected)
    return publication


def _settle_superseded(cursor: Any, request: PublishRequest, *, is_filled: bool) -> None:
    """Settle what lies in quarantine by the good records, wherever they are."""
    entity = request.entity
    if is_filled:
        table = quote(entity.target_schema, entity.target_table)
        keys = [quote(column.target_name) for column in entity.business_keys]
    else:
        table = quote(entity.staging_schema, entity.records_table)
        keys = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    settle_superseded(cursor, request, table, keys)


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


def allow_nulls(cursor: Any, entity: Entity) -> tuple[str, ...]:
    """Take NOT NULL off columns that may be null at the source, once a null has come; until then it stays.

    Returns:
        Names of the columns that lost it.
    """
    stored = read_columns(cursor, entity.target_schema, entity.target_table)
    staging, target = (
        quote(entity.staging_schema, entity.records_table),
        quote(entity.target_schema, entity.target_table),
    )
    allowed = []
    for index, column in enumerate(entity.columns):
        have = stored.get(column.target_name)
        if column.is_business_key or not column.is_nullable or have is None or not have.is_not_null:
            continue
        cursor.execute(f"SELECT EXISTS (SELECT FROM {staging} WHERE c{index} IS NULL)")
        if cursor.fetchone()[0]:
            name = quote(column.target_name)
            what = f"take NOT NULL off {name}, since the source sent a null"
            require_rights(cursor, entity, entity.target_schema, entity.target_table, what)
            cursor.execute(f"ALTER TABLE {target} ALTER COLUMN {name} DROP NOT NULL")
            allowed.append(column.name)
    return tuple(allowed)
