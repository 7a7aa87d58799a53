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
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.quarantine import empty_staging, settle_by_keys
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.rejected import mark_rejected
from sync_pipelines.destinations.trino.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import Staging, record_fields
from sync_pipelines.destinations.trino.vanished import note_absences
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
    session: Session,
    catalog: str,
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
        session: of Trino.
        catalog: that holds the table.
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
    fence(cursor, request)
    entity = request.entity
    stage_rejects(cursor, request, batches.spool.batches(entity.rejects_table))
    staging = Staging(session, catalog, f"e{entity.uid.hex}", hive=is_hive)
    with batches.spool.beside("accepted") as accepted:
        try:
            spool = drop_accepted_reviews(cursor, request, batches.spool, accepted)
            relation = _staged_relation(staging, entity, spool)
            target = quote(catalog, entity.target_schema, entity.target_table)
            statements = (HiveStatements if is_hive else Statements)(
                request, read, target, relation
            )
            work = Work(
                cursor, session, catalog, request, read, spool, staging, statements, is_hive=is_hive
            )
            return publish_table(TrinoTable(work, compared), cursor, request, read)
        finally:
            staging.clear()


class TrinoTable:
    """A table in Trino, for `destinations.publish.publish_table`: one commit of rows, then the books.

    Args:
        work: with the staged records.
        compared: as for `publish`.
    """

    def __init__(self, work: Work, compared: tuple[int, Counts] | None) -> None:
        self.work = work
        is_known = (
            compared is not None
            and compared[0] == work.staged_rows
            and work.request.mode is Mode.DELTA
        )
        self._known = compared[1] if compared is not None and is_known else None
        self._staged = 0

    def count_staged(self) -> Arrived:
        """What Trino reads."""
        work = self.work
        self._staged = work.winners = work.staged_rows
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
            work.refuse_contradictions()
        return Compared(work.counts, self._staged - work.winners)

    def settle_superseded(self) -> None:
        """By keys that are copied next to the quarantine."""
        settle_by_keys(self.work.cursor, self.work.request, self.work.spool)

    def write(self, counts: Counts) -> Written:
        """One commit; after a conflict everything is compared again."""
        work = self.work
        reviewed = keep_reviews(work)
        commit_details = _write(work)
        return Written(
            work.counts,
            deleted=work.vanished.rows,
            missing=work.vanished.missing,
            held=work.vanished.held,
            live_before=work.vanished.live_before,
            details={"reviewed": reviewed, "trino": commit_details},
        )

    def mark_rejected(self) -> tuple[int, tuple[str, ...]]:
        """In a commit of their own."""
        return mark_rejected(self.work), ()

    def count_rows(self, written: Written) -> int:
        """See `_count_rows`."""
        return _count_rows(self.work)

    def leave(self, rejected: int) -> None:
        """Absences follow the commit."""
        note_absences(self.work.cursor, self.work.request, self.work.vanished)
        empty_staging(self.work.cursor, self.work.request)


def _staged_relation(staging: Staging, entity: Entity, spool: Spool) -> str:
    """The good records as a relation of Trino: inline while they are few, else over a file."""
    fields, table = record_fields(entity), entity.records_table
    names = [one.name for one in fields]
    file = spool.file(table)
    if file is not None and spool.rows[table] > staging.session.options.inline_rows:
        return staging.of_files("records", [file], fields)
    schema = pa.schema([records_schema(entity).field(name) for name in names])
    return staging.relation(
        "records", pa.Table.from_batches(spool.batches(table, names), schema), fields
    )


def _count_staged(work: Work) -> int:
    """Records that Trino reads, of which from here on only the newest of each key counts."""
    staged, distinct, keyless = map(int, work.session.query(work.statements.count_staged())[0])
    if keyless:
        raise FatalError(
            f"{keyless} staged records have no business key.", where=dict(work.request.entity.where)
        )
    if staged != distinct:
        work.statements.keep_winners()
    work.winners = distinct
    return staged


def _statement(work: Work) -> str | None:
    if not work.counts.written and not work.vanished.rows:
        return None
    if work.counts.new == work.winners and not work.session.query(
        f"SELECT 1 FROM {work.statements.target} LIMIT 1"
    ):
        return work.statements.fill()
    return work.statements.merge(work.vanished.condition if work.vanished.rows else None)


def _write(work: Work) -> dict[str, Any]:
    """Commit, and check what was announced against what Trino and Iceberg say of it.

    The counts come from a join before the commit: if they differ afterwards, somebody else wrote to the table. The
    rows are in then, but the cursor stays, and the next run compares everything of this one again.
    """

    def again() -> str | None:
        work.compare()
        return _statement(work)

    def found(query_id: str) -> Snapshot | None:
        return find_snapshot(
            work.session, work.catalog, entity.target_schema, entity.target_table, query_id
        )

    entity = work.request.entity
    statement = _statement(work)
    if statement is None:
        return {}
    if isinstance(work.statements, HiveStatements):
        return write_hive(work, work.statements)
    written, query_id = commit(work.session, statement, work.marker, found, again)
    if not query_id:
        return {}
    try:
        return _checked(work, found(query_id), query_id, written)
    except FatalError as error:
        error.state = "The rows are in the table, the cursor is where it was; the next run compares them again."
        raise


def _checked(
    work: Work, snapshot: Snapshot | None, query_id: str, written: int | None
) -> dict[str, Any]:
    if snapshot is None:
        what = f"The snapshot of the query {query_id} is not in the table's history."
        raise FatalError(what, where=dict(work.request.entity.where))
    expected = work.counts.written + work.vanished.rows
    check_stage("commit", expected, snapshot.number("added-records"))
    if written is not None:
        check_stage("merge", expected, written)
    return snapshot.details


def _count_rows(work: Work) -> int:
    """Live rows: carried forward only from a run whose books are known to hold all its rows."""
    entity: Entity = work.request.entity
    gained = work.counts.new + work.counts.returned - work.vanished.rows
    if (
        work.request.mode is Mode.DELTA
        and entity.position.row_count is not None
        and entity.timeline.last_sync_status in PUBLISHED
    ):
        return entity.position.row_count + gained
    return work.session.number(
        f"SELECT count(*) FROM {work.statements.target} WHERE NOT _bridge_deleted"
    )
