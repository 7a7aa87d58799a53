"""The publish step on Trino: one commit of rows, then the books, in this order and never the other way round.

The control database's transaction is open from the fence to the end, so that nobody can close the run meanwhile. What
it needs is prepared before the commit; after the commit only the books are closed. Killed between the two, the
next run reads the same records again and finds them unchanged.
"""

from __future__ import annotations

import logging
from typing import Any

import pyarrow.parquet as pq

from sync_pipelines.books.close import (
    close_books,
    count_known_rejects,
    move_rejects,
    settle_released,
    settle_vanished,
)
from sync_pipelines.books.publish_plan import Outcome, PublishPlan
from sync_pipelines.destinations.postgres.publish import fence
from sync_pipelines.destinations.trino.commit import Snapshot, commit, find_snapshot
from sync_pipelines.destinations.trino.hive import HiveStatements, write_hive
from sync_pipelines.destinations.trino.merge import Counts, Statements
from sync_pipelines.destinations.trino.quarantine import count_rejects, empty_staging, resolve
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.rejected import mark_rejected
from sync_pipelines.destinations.trino.reviews import drop_accepted_reviews, keep_reviews
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import Staging, record_fields
from sync_pipelines.destinations.trino.vanished import remember_absences
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.errors import FatalError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import PUBLISHED, Ledger, Mode, check_stage
from sync_pipelines.model.staged import records_schema

logger = logging.getLogger(__name__)


def publish(
    cursor: Any,
    session: Session,
    catalog: str,
    plan: PublishPlan,
    *,
    is_hive: bool = False,
    compared: tuple[int, Counts] | None = None,
) -> Outcome:
    """Merge the staged records of a plan.

    Args:
        cursor: a psycopg cursor of the control database; the caller commits right afterwards.
        session: of Trino.
        catalog: that holds the table.
        plan: what was extracted, with its Parquet files, and where the cursor goes.
        is_hive: the catalog is of the Hive connector.
        compared: number and comparison of these very records, all of different keys, when it was made already.

    Raises:
        LedgerError: two counts of a stage differ.
        SupersededRunError: the run was closed by another one.
        DatabaseUnavailableError: Trino does not commit.
    """
    fence(cursor, plan)
    entity = plan.entity
    rejected, quarantined = count_rejects(cursor, plan)
    check_stage("quarantine", plan.rejected, rejected)
    staging = Staging(session, catalog, f"e{entity.uid.hex}", hive=is_hive)
    try:
        drop_accepted_reviews(cursor, plan)
        spooled = pq.read_metadata(plan.spooled).num_rows if plan.spooled else 0
        relation = _staged_relation(staging, plan, spooled)
        target = quote(catalog, entity.target_schema, entity.target_table)
        statements = (HiveStatements if is_hive else Statements)(plan, target, relation)
        work = Work(cursor, session, catalog, plan, staging, statements, is_hive=is_hive)
        if compared is not None and compared[0] == spooled and plan.mode is Mode.DELTA:
            staged, work.winners, work.counts = spooled, spooled, compared[1]
            work.refuse_contradictions()
        else:
            staged = _count_staged(work)
            work.compare()
        check_stage("load", plan.fetched, plan.reread + staged + rejected)
        check_stage("compare", work.winners, work.counts.records)
        plan.known_rejects = count_known_rejects(cursor, plan) if quarantined else 0
        check_stage("quarantine", quarantined, move_rejects(cursor, plan))
        settle_released(cursor, plan)
        resolve(cursor, plan)
        plan.details["reviewed"] = keep_reviews(work)
        plan.details["trino"] = _write(work)
        plan.details["marked_rejected"] = mark_rejected(work) if quarantined else 0
    finally:
        staging.clear()
    superseded = plan.reread + staged - work.winners + work.counts.stale + rejected - quarantined
    outcome = plan.finished(
        _ledger(work, superseded, quarantined),
        _count_rows(work),
        missing=work.vanished.missing,
        held=work.vanished.held,
        live_before=work.vanished.live_before,
    )
    remember_absences(cursor, plan, work.vanished)
    settle_vanished(cursor, plan, outcome)
    close_books(cursor, plan, outcome)
    empty_staging(cursor, plan)
    return outcome


def _staged_relation(staging: Staging, plan: PublishPlan, rows: int) -> str:
    fields = record_fields(plan.entity)
    if plan.spooled is None:
        return staging.relation("records", records_schema(plan.entity).empty_table(), fields)
    if rows <= staging.session.options.inline_rows:
        return staging.relation("records", pq.read_table(plan.spooled, columns=[one.name for one in fields]), fields)
    return staging.of_files("records", [plan.spooled], fields)


def _count_staged(work: Work) -> int:
    """Records that Trino reads, of which from here on only the newest of each key counts."""
    staged, distinct, keyless = map(int, work.session.query(work.statements.count_staged())[0])
    if keyless:
        raise FatalError(f"{keyless} staged records have no business key.", where=dict(work.plan.entity.where))
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

    entity = work.plan.entity
    statement = _statement(work)
    if statement is None:
        return {}
    if isinstance(work.statements, HiveStatements):
        return write_hive(work.session, work.catalog, work.plan, work.statements, work)
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
        raise FatalError(what, where=dict(work.plan.entity.where))
    expected = work.counts.written + work.vanished.rows
    check_stage("commit", expected, snapshot.number("added-records"))
    if written is not None:
        check_stage("merge", expected, written)
    return snapshot.details


def _ledger(work: Work, superseded: int, quarantined: int) -> Ledger:
    counts = work.counts
    return Ledger(
        fetched=work.plan.fetched,
        inserted=counts.new,
        updated=counts.changed,
        unchanged=counts.same,
        superseded=superseded,
        quarantined=quarantined,
        deleted=work.vanished.rows,
    )


def _count_rows(work: Work) -> int:
    """Live rows: carried forward only from a run whose books are known to hold all its rows."""
    entity: Entity = work.plan.entity
    gained = work.counts.new + work.counts.returned - work.vanished.rows
    if work.plan.mode is Mode.DELTA and entity.row_count is not None and entity.last_sync_status in PUBLISHED:
        return entity.row_count + gained
    return work.session.number(f"SELECT count(*) FROM {work.statements.target} WHERE NOT _bridge_deleted")
