"""The publish step on Trino: one commit of rows, then the books, in this order and never the other way round.

The control database's transaction is open from the fence to the end, so that nobody can close the run meanwhile. What
it needs is prepared before the commit; after the commit only the books are closed. Killed between the two, the
next run reads the same records again and finds them unchanged.
"""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa

from sync_pipelines.books.close import close_books
from sync_pipelines.books.fence import fence
from sync_pipelines.books.rejects import (
    count_known_rejects,
    count_rejects,
    move_rejects,
    settle_released,
    settle_vanished,
    stage_rejects,
)
from sync_pipelines.destinations.destination import StagedBatches
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.commit import Snapshot, commit, find_snapshot
from sync_pipelines.destinations.trino.hive import HiveStatements, write_hive
from sync_pipelines.destinations.trino.merge import Counts, Statements
from sync_pipelines.destinations.trino.quarantine import empty_staging, settle_by_keys
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.rejected import mark_rejected
from sync_pipelines.destinations.trino.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import Staging, record_fields
from sync_pipelines.destinations.trino.vanished import note_absences
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.errors import FatalError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult, judge_run
from sync_pipelines.model.run import PUBLISHED, Ledger, Mode, check_stage
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
    rejected, quarantined = count_rejects(cursor, request)
    check_stage("quarantine", read.rejected, rejected)
    staging = Staging(session, catalog, f"e{entity.uid.hex}", hive=is_hive)
    with batches.spool.beside("accepted") as accepted:
        try:
            spool = drop_accepted_reviews(cursor, request, batches.spool, accepted)
            relation = _staged_relation(staging, entity, spool)
            target = quote(catalog, entity.target_schema, entity.target_table)
            statements = (HiveStatements if is_hive else Statements)(request, read, target, relation)
            work = Work(cursor, session, catalog, request, read, spool, staging, statements, is_hive=is_hive)
            staged = _compare(work, compared)
            check_stage("load", read.fetched, read.reread + staged + rejected)
            check_stage("compare", work.winners, work.counts.records)
            known_rejects = count_known_rejects(cursor, request) if quarantined else 0
            check_stage("quarantine", quarantined, move_rejects(cursor, request))
            settle_released(cursor, request)
            settle_by_keys(cursor, request, spool)
            reviewed = keep_reviews(work)
            commit_details = _write(work)
            marked = mark_rejected(work) if quarantined else 0
        finally:
            staging.clear()
    superseded = read.reread + staged - work.winners + work.counts.stale + rejected - quarantined
    ledger, row_count = _ledger(work, superseded, quarantined), _count_rows(work)
    verdict = judge_run(
        request,
        ledger,
        row_count,
        known_rejects=known_rejects,
        held=work.vanished.held,
        live_before=work.vanished.live_before,
    )
    publication = Publication(
        ledger,
        row_count,
        missing=work.vanished.missing,
        held=work.vanished.held,
        verdict=verdict,
        details={
            "known_rejects": known_rejects,
            "marked_rejected": marked,
            "reviewed": reviewed,
            "trino": commit_details,
        },
    )
    note_absences(cursor, request, work.vanished)
    settle_vanished(cursor, request, read, publication)
    close_books(cursor, request, read, publication)
    empty_staging(cursor, request)
    return publication


def _compare(work: Work, compared: tuple[int, Counts] | None) -> int:
    """Count and compare the staged records; returns how many there are."""
    spooled = work.staged_rows
    if compared is None or compared[0] != spooled or work.request.mode is not Mode.DELTA:
        staged = _count_staged(work)
        work.compare()
        return staged
    work.winners, work.counts = spooled, compared[1]
    work.refuse_contradictions()
    return spooled


def _staged_relation(staging: Staging, entity: Entity, spool: Spool) -> str:
    """The good records as a relation of Trino: inline while they are few, else over a file."""
    fields, table = record_fields(entity), entity.records_table
    names = [one.name for one in fields]
    file = spool.file(table)
    if file is not None and spool.rows[table] > staging.session.options.inline_rows:
        return staging.of_files("records", [file], fields)
    schema = pa.schema([records_schema(entity).field(name) for name in names])
    return staging.relation("records", pa.Table.from_batches(spool.batches(table, names), schema), fields)


def _count_staged(work: Work) -> int:
    """Records that Trino reads, of which from here on only the newest of each key counts."""
    staged, distinct, keyless = map(int, work.session.query(work.statements.count_staged())[0])
    if keyless:
        raise FatalError(f"{keyless} staged records have no business key.", where=dict(work.request.entity.where))
    if staged != distinct:
        work.statements.keep_winners()
    work.winners = distinct
    return staged


def _statement(work: Work) -> str | None:
    if not work.counts.written and not work.vanished.rows:
        return None
    if work.counts.new == work.winners and not work.session.query(f"SELECT 1 FROM {work.statements.target} LIMIT 1"):
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
        return find_snapshot(work.session, work.catalog, entity.target_schema, entity.target_table, query_id)

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


def _checked(work: Work, snapshot: Snapshot | None, query_id: str, written: int | None) -> dict[str, Any]:
    if snapshot is None:
        what = f"The snapshot of the query {query_id} is not in the table's history."
        raise FatalError(what, where=dict(work.request.entity.where))
    expected = work.counts.written + work.vanished.rows
    check_stage("commit", expected, snapshot.number("added-records"))
    if written is not None:
        check_stage("merge", expected, written)
    return snapshot.details


def _ledger(work: Work, superseded: int, quarantined: int) -> Ledger:
    counts = work.counts
    return Ledger(
        fetched=work.read.fetched,
        inserted=counts.new,
        updated=counts.changed,
        unchanged=counts.same,
        superseded=superseded,
        quarantined=quarantined,
        deleted=work.vanished.rows,
    )


def _count_rows(work: Work) -> int:
    """Live rows: carried forward only from a run whose books are known to hold all its rows."""
    entity: Entity = work.request.entity
    gained = work.counts.new + work.counts.returned - work.vanished.rows
    if work.request.mode is Mode.DELTA and entity.row_count is not None and entity.last_sync_status in PUBLISHED:
        return entity.row_count + gained
    return work.session.number(f"SELECT count(*) FROM {work.statements.target} WHERE NOT _bridge_deleted")
