"""The publish step on Trino: one commit of rows, then the books, in this order and never the other way round.

The control database's transaction is open from the fence to the end, so that nobody can close the run meanwhile. What
it needs is prepared before the commit; after the commit only the books are closed. Killed between the two, the
next run reads the same records again and finds them unchanged.
"""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa

from sync_pipelines.books.fence import fence
from sync_pipelines.books.rejects import stage_rejects
from sync_pipelines.destinations.destination import StagedBatches
from sync_pipelines.destinations.publish import Arrived, Compared, Written, publish_table
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.commit import Snapshot, commit, find_snapshot
from sync_pipelines.destinations.trino.hive import HiveStatements, write_hive
from sync_pipelines.destinations.trino.keys import empty_staging, settle_by_keys
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.rejected import mark_rejected
from sync_pipelines.destinations.trino.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.trino.staging import Staging, record_fields
from sync_pipelines.destinations.trino.vanished import keep_absences
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.errors import FatalError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.run import PUBLISHED, Mode, check_stage
from sync_pipelines.model.staged import records_schema

logger = logging.getLogger(__name__)


def publish(
    cursor: Any,
    place: Place,
    request: PublishRequest,
    read: ReadResult,
    batches: StagedBatches,
    *,
    is_hive: bool = False,
    compared: tuple[int, Counts] | None = None,
) -> Publication:
    """Merge what was read.

    Args:
        cursor: of the control database, with rows as tuples; the caller commits right afterwards.
        place: where the table is.
        request: of the run.
        read: what was read and where the cursor goes.
        batches: the records and rejects.
        is_hive: the catalog is of the Hive connector.
        compared: number and comparison of these very records, all of different keys, when it was made already.

    Raises:
        LedgerError: two counts of a stage differ.
        SupersededRunError: the run was closed by another one.
        DatabaseUnavailableError: Trino does not commit.
    """
    entity = request.entity
    fence(cursor, request)
    rejects = batches.spool.batches(entity.rejects_table)
    stage_rejects(cursor, request, rejects)
    staging = Staging(
        place.session,
        place.catalog,
        name=f"e{entity.uid.hex}",
        hive=is_hive,
    )
    make_statements = HiveStatements if is_hive else Statements
    with batches.spool.beside("accepted") as accepted:
        try:
            spool = drop_accepted_reviews(cursor, request, batches.spool, accepted)
            relation = _staged_relation(staging, entity, spool)
            statements = make_statements(request, read, place.table, relation)
            work = Work(cursor, place, request, read, spool, staging, statements, is_hive=is_hive)
            table = TrinoTable(work, compared)
            return _publish(table, work)
        finally:
            staging.clear()


def _publish(table: TrinoTable, work: Work) -> Publication:
    try:
        return publish_table(table, work.cursor, work.request, work.read)
    except FatalError as error:
        if work.is_committed:
            error.state = "The rows are in the table, the cursor is where it was; the next run compares them again."
        raise


class TrinoTable:
    """A table in Trino, for `destinations.publish.publish_table`: one commit of rows, then the books.

    Args:
        work: with the staged records.
        compared: as for `publish`.
    """

    def __init__(self, work: Work, compared: tuple[int, Counts] | None) -> None:
        self.work = work
        self._staged = 0
        self._known: Counts | None = None
        if compared is not None and work.request.mode is Mode.DELTA:
            records, counts = compared
            self._known = counts if records == work.staged_rows else None

    @property
    def knows_row_count(self) -> bool:
        """Only a run whose books were closed is known to have counted all its rows."""
        return self.work.request.entity.timeline.last_sync_status in PUBLISHED

    def count_staged(self) -> Arrived:
        """What Trino reads."""
        work = self.work
        self._staged = work.staged_rows
        work.winners = self._staged
        if self._known is None:
            self._staged = _count_staged(work)
        return Arrived(self._staged)

    def compare(self) -> Compared:
        """By one join, unless these very records were compared already."""
        work = self.work
        if self._known is None:
            work.compare()
        else:
            work.counts = self._known
            work.check()
        superseded = self._staged - work.winners
        return Compared(work.counts, superseded)

    def settle_superseded(self) -> None:
        """By keys that are copied next to the quarantine."""
        work = self.work
        settle_by_keys(work.cursor, work.request, work.spool)

    def write(self, counts: Counts) -> Written:
        """One commit; after a conflict everything is compared again."""
        work = self.work
        reviewed = keep_reviews(work)
        commit_details = _write(work)
        return Written(
            counts=work.counts,
            vanished=work.vanished.plan,
            live_before=work.vanished.live_before,
            details={"reviewed": reviewed, "trino": commit_details},
        )

    def mark_rejected(self) -> tuple[int, tuple[str, ...]]:
        """In a second commit."""
        return mark_rejected(self.work), ()

    def count_rows(self) -> int:
        """In the snapshot after the commit."""
        return self.work.session.number(
            f"SELECT count(*) FROM {self.work.statements.target} WHERE NOT _bridge_deleted"
        )

    def deliver(self) -> None:
        """Nothing: the commit showed the rows."""

    def leave(self, rejected: int) -> None:
        """Absences follow the commit."""
        work = self.work
        keep_absences(work.cursor, work.request, work.vanished)
        empty_staging(work.cursor, work.request)


def _staged_relation(staging: Staging, entity: Entity, spool: Spool) -> str:
    """The good records as a relation of Trino: inline while they are few, else over a file."""
    name = entity.records_table
    fields = record_fields(entity)
    file = spool.file(name)
    most_inline = staging.session.options.inline_rows
    if file is not None and spool.rows[name] > most_inline:
        return staging.of_files("records", [file], fields)
    names = [one.name for one in fields]
    staged = records_schema(entity)
    schema = pa.schema([staged.field(name) for name in names])
    batches = spool.batches(name, names)
    records = pa.Table.from_batches(batches, schema)
    return staging.relation("records", records, fields)


def _count_staged(work: Work) -> int:
    """Records that Trino reads, of which from here on only the newest of each key counts."""
    (counted,) = work.session.query(work.statements.count_staged())
    staged, distinct, keyless = map(int, counted)
    if keyless:
        raise FatalError(
            f"{keyless} staged records have no business key.",
            where=dict(work.request.entity.where),
        )
    if staged != distinct:
        work.statements.keep_winners()
    work.winners = distinct
    return staged


def _statement(work: Work) -> str | None:
    """The write that is to be committed; None where nothing differs."""
    statements = work.statements
    if not work.counts.written and not work.vanished.plan.deleted:
        return None
    may_be_empty = work.counts.new == work.winners
    if may_be_empty and work.place.is_empty():
        return statements.fill()
    return statements.merge(work.vanished.condition)


def _write(work: Work) -> dict[str, Any]:
    """Commit, and check what was announced against what Trino and Iceberg say of it.

    The counts come from a join before the commit: if they differ afterwards, somebody else wrote to the table. The
    rows are in then, but the cursor stays, and the next run compares everything of this one again.
    """

    def again() -> str | None:
        work.compare()
        return _statement(work)

    def found(query_id: str) -> Snapshot | None:
        return find_snapshot(work.place, query_id)

    statement = _statement(work)
    if statement is None:
        return {}
    if isinstance(work.statements, HiveStatements):
        details = write_hive(work, work.statements)
        work.is_committed = True
        return details
    written, query_id = commit(
        work.session,
        statement,
        work.marker,
        found=found,
        again=again,
    )
    if not query_id:
        return {}
    work.is_committed = True
    return _checked(work, found(query_id), query_id, written)


def _checked(
    work: Work,
    snapshot: Snapshot | None,
    query_id: str,
    written: int | None,
) -> dict[str, Any]:
    if snapshot is None:
        what = f"The snapshot of the query {query_id} is not in the table's history."
        raise FatalError(what, where=dict(work.request.entity.where))
    expected = work.counts.written + work.vanished.plan.deleted
    check_stage("commit", expected, snapshot.number("added-records"))
    if written is not None:
        check_stage("merge", expected, written)
    return snapshot.details
