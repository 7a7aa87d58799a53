"""Mark rows as deleted that a full read no longer found, by the verdicts of the merge."""

from __future__ import annotations

from sync_pipelines.books.absences import forget_absences, missed_before, note_absences
from sync_pipelines.books.keys import keys_relation
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.postgres.merge import Merge
from sync_pipelines.destinations.publish import Written
from sync_pipelines.destinations.rows import assignments, deleted_values
from sync_pipelines.destinations.vanished import VanishPlan, not_among, plan_vanished
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.run import check_stage
from sync_pipelines.model.tables import rejects_of


def delete_vanished(merge: Merge, counts: Counts) -> Written:
    """Soft-delete live rows that a full read did not see, as `destinations.vanished` plans it.

    Args:
        merge: the merge that was just applied.
        counts: what it found.
    """
    live = counts.live_before
    if live == 0:
        return Written(counts)
    request = merge.request
    rejected = keys_relation(merge.entity, rejects_of(request.entity), "true")
    absent = f"t.ctid = v.row_at AND v.verdict = 'missing' AND {not_among(rejected, merge.match)}"
    rows = f"FROM {merge.target} t, {merge.verdicts} v WHERE {absent}"
    known = f"t._bridge_id IN ({missed_before(request)})"
    plan = _plan(merge, counts, rows, known)
    if plan.noted:
        new = f"SELECT t._bridge_id {rows} AND NOT {known}"
        check_stage("absences", plan.noted, note_absences(merge.cursor, request, new))
    if plan.deleted:
        gone = f"{absent} AND {known}" if merge.read.can_hide_rows else absent
        deleted = merge.execute(
            f"UPDATE {merge.target} t SET {assignments(deleted_values(POSTGRES))}"
            f" FROM {merge.verdicts} v WHERE {gone}"
        )
        check_stage("vanished", plan.deleted, deleted)
    # A deleted row has moved to another place, so that only what is still missing keeps its note.
    forget_absences(merge.cursor, request, f"SELECT t._bridge_id {rows}")
    return Written(counts, plan, live)


def _plan(merge: Merge, counts: Counts, rows: str, known: str) -> VanishPlan:
    """Count what is missed, and by two reads where that is asked for.

    Args:
        merge, counts: as for `delete_vanished`.
        rows: FROM and WHERE of the missed rows.
        known: a condition: an earlier read missed the row, too.
    """
    missed = merge.number(f"SELECT count(*) {rows}") if counts.missing else 0
    missed_before = 0
    if missed and merge.read.can_hide_rows:
        missed_before = merge.number(f"SELECT count(*) {rows} AND {known}")
    return plan_vanished(
        merge.request,
        merge.read,
        live=counts.live_before,
        missed=missed,
        missed_before=missed_before,
    )
