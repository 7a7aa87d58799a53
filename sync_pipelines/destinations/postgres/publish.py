"""The publish step in PostgreSQL: all of it becomes visible in one transaction, or nothing does.

The sequence is that of `destinations.publish`; here is what PostgreSQL needs around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psycopg

from sync_pipelines.books.fence import fence
from sync_pipelines.books.rejects import settle_superseded, stage_rejects
from sync_pipelines.catalog.rights import require_rights
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.destination import StagedBatches
from sync_pipelines.destinations.postgres.copy import copy_refusing
from sync_pipelines.destinations.postgres.fill import build_constraints
from sync_pipelines.destinations.postgres.interference import explain_loss
from sync_pipelines.destinations.postgres.merge import Merge
from sync_pipelines.destinations.postgres.misfits import MISFITS, set_misfits_aside
from sync_pipelines.destinations.postgres.rejected import mark_rejected
from sync_pipelines.destinations.postgres.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.destinations.postgres.vanished import delete_vanished
from sync_pipelines.destinations.publish import Arrived, Compared, Written, publish_table
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.errors import DatabaseRefusedError, LedgerError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Mode
from sync_pipelines.model.staged import staged_keys, staged_places
from sync_pipelines.model.tables import records_of

_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "extra_float_digits": "1",
    "work_mem": "128MB",
    "maintenance_work_mem": "256MB",
}


class KeyTwiceError(Exception):
    """The target cannot be filled directly: a key comes twice or does not fit its index. The transaction is broken."""


@dataclass(frozen=True)
class Staged:
    """Where the good records are when they are compared, and what staging them cost.

    Attributes:
        refused: records that PostgreSQL itself refused; they are among the rejects now.
        filled: rows that the stream copied into the empty target; None where the records are in staging.
    """

    refused: int = 0
    filled: int | None = None


MakeTable = Callable[[Any, PublishRequest, ReadResult, Staged], "PostgresTable"]
"""Makes the target of a publish from its cursor, request, read, and what staging brought."""


def publish(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    batches: StagedBatches,
    *,
    stream: RecordStream | None = None,
    fills: bool = False,
    make_table: MakeTable | None = None,
) -> Publication:
    """Merge what was read; the caller owns the transaction.

    Args:
        cursor: with rows as tuples.
        request: of the run.
        read: what was read and where the cursor goes.
        batches: the records, of which the stream may have brought the good ones here already.
        stream: that they went on.
        fills: the cursor is of the transaction in which the stream filled the empty target.
        make_table: the target, where it is more than a table beside the catalog.

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
    rejects = batches.spool.batches(entity.rejects_table)
    stage_rejects(cursor, request, rejects)
    try:
        if fills and stream is not None:
            return _publish_filled(cursor, request, read, stream.rows)
        refused = _stage_records(cursor, request, batches, stream)
        make = make_table or PostgresTable
        return _publish_fitting(cursor, request, read, batches, refused, make)
    except LedgerError as loss:
        explained = explain_loss(cursor, entity, loss)
        raise explained from (None if explained is loss else loss)


def _stage_records(
    cursor: Any,
    request: PublishRequest,
    batches: StagedBatches,
    stream: RecordStream | None,
) -> int:
    """Copy the good records into staging, unless the stream did; returns how many PostgreSQL refused."""
    entity = request.entity
    if stream is not None and stream.refusal is None and not stream.fills:
        return 0
    if entity.records_table not in batches.spool.rows:
        return 0
    spooled = partial(batches.spool.batches, entity.records_table)
    return copy_refusing(cursor, spooled, entity, batches.originals)


def _publish_filled(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    filled: int,
) -> Publication:
    try:
        build_constraints(cursor, request.entity)
    except (psycopg.errors.UniqueViolation, psycopg.errors.ProgramLimitExceeded) as error:
        raise KeyTwiceError(str(error).splitlines()[0]) from error
    table = PostgresTable(cursor, request, read, Staged(filled=filled))
    return publish_table(table, cursor, request, read)


def _publish_fitting(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    batches: StagedBatches,
    refused: int,
    make_table: MakeTable,
) -> Publication:
    """Publish what is staged.

    Where a row does not fit the target, its indexes or a CHECK, set such rows aside and publish the others.
    """
    cursor.execute("SAVEPOINT before_publish")
    try:
        table = make_table(cursor, request, read, Staged(refused))
        publication = publish_table(table, cursor, request, read)
    except MISFITS:
        cursor.execute("ROLLBACK TO SAVEPOINT before_publish")
        misfits = set_misfits_aside(cursor, request.entity, batches.originals)
        if not misfits:
            raise
        table = make_table(cursor, request, read, Staged(refused + misfits))
        publication = publish_table(table, cursor, request, read)
    cursor.execute("RELEASE SAVEPOINT before_publish")
    return publication


class PostgresTable:
    """A table beside the catalog, for `destinations.publish.publish_table`."""

    knows_row_count = True

    def __init__(
        self,
        cursor: Any,
        request: PublishRequest,
        read: ReadResult,
        came: Staged,
    ) -> None:
        self.cursor = cursor
        self.request = request
        self.came = came
        self.entity = request.entity
        self.is_full = request.mode is Mode.FULL
        self.is_filled = came.filled is not None
        self.merge = Merge(cursor, request, read)
        self._allowed_nulls: tuple[str, ...] = ()
        self._staged = 0

    def count_staged(self) -> Arrived:
        """What is in staging, and what the stream copied into the target."""
        self._staged = self.merge.count_staged()
        filled = self.came.filled or 0
        return Arrived(self._staged + filled, self.came.refused)

    def compare(self) -> Compared:
        """By one join, unless the records filled an empty table."""
        if self.came.filled is not None:
            return Compared(Counts(new=self.came.filled))
        self._allowed_nulls = allow_nulls(self.cursor, self.entity)
        drop_accepted_reviews(self.cursor, self.request)
        superseded = self.merge.drop_superseded()
        counts = self.merge.compare(self._staged - superseded)
        return Compared(counts, superseded)

    def settle_superseded(self) -> None:
        """By the good records, wherever they are."""
        entity = self.entity
        table = self.merge.staging
        keys = staged_keys(entity)
        if self.is_filled:
            table = self.merge.target
            keys = [quote(column.target_name) for column in entity.business_keys]
        settle_superseded(self.cursor, self.request, table, keys)

    def write(self, counts: Counts) -> Written:
        """Go by the verdicts; rows that fill the table are there already."""
        if not self.is_filled:
            self.merge.write(counts)
        written = Written(counts)
        if self.is_full:
            written = delete_vanished(self.merge, counts)
        reviewed = keep_reviews(self.cursor, self.request, filled=self.is_filled)
        return replace(
            written,
            allowed_nulls=self._allowed_nulls,
            details={"reviewed": reviewed},
        )

    def mark_rejected(self) -> tuple[int, tuple[str, ...]]:
        """See `destinations.postgres.rejected`."""
        return mark_rejected(self.merge)

    def count_rows(self) -> int:
        """In the transaction that wrote them."""
        return self.merge.count_rows()

    def deliver(self) -> None:
        """Nothing: the commit of the books shows the rows, too."""

    def leave(self, rejected: int) -> None:
        """Absences are remembered while rows are deleted."""
        self.merge.empty_staging(rejected)


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
        reset = f"ALTER ROLE {quote(user)} RESET session_replication_role"
        raise DatabaseRefusedError(
            f"The session runs with session_replication_role = {role}, in which foreign keys and triggers of"
            f" {entity.table} do not hold.",
            where=dict(entity.where),
            next_command=f"{reset}, and the same of the database",
        )


def allow_nulls(cursor: Any, entity: Entity) -> tuple[str, ...]:
    """Take NOT NULL off columns that may be null at the source, once a null has come; until then it stays.

    Returns:
        Names of the columns that lost it.
    """
    schema, table = entity.target_schema, entity.target_table
    stored = read_columns(cursor, schema, table)
    places = staged_places(entity)
    allowed = []
    for column in entity.columns:
        have = stored.get(column.target_name)
        is_required = column.is_business_key or not column.is_nullable
        if is_required or have is None or not have.is_not_null:
            continue
        place = places[column.name]
        if not _has_null(cursor, entity, place):
            continue
        name = quote(column.target_name)
        what = f"take NOT NULL off {name}, since the source sent a null"
        require_rights(cursor, entity, schema, table, what)
        cursor.execute(f"ALTER TABLE {quote(schema, table)} ALTER COLUMN {name} DROP NOT NULL")
        allowed.append(column.name)
    return tuple(allowed)


def _has_null(cursor: Any, entity: Entity, place: str) -> bool:
    """Whether a staged record has no value of a column."""
    staging = records_of(entity)
    cursor.execute(f"SELECT EXISTS (SELECT FROM {staging} WHERE {place} IS NULL)")
    return bool(cursor.fetchone()[0])
