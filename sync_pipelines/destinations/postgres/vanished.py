"""Rows that a full read no longer found: marked as deleted, within reason."""

from __future__ import annotations

from sync_pipelines.books.absences import absences_table
from sync_pipelines.books.rejects import staged_rejects
from sync_pipelines.destinations.postgres.merge import Merge
from sync_pipelines.destinations.publish import Written
from sync_pipelines.destinations.vanished_share import must_hold
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import check_stage


def delete_vanished(merge: Merge, counts: Counts) -> Written:
    """Soft-delete live rows that a full read did not see.

    A key that is in quarantine is at the source. Of a read whose pages moved, an absence proves nothing. Without
    rowversions a row may hide between two pages while others are deleted, so it must be missed by two reads in a row.
    More than the configured share is not deleted unasked; that they were missed is remembered.

    Args:
        merge: the merge that was just applied.
        counts: what it found.
    """
    live = counts.live_before
    if live == 0:
        return Written(counts)
    absences, entity = absences_table(merge.request), literal(str(merge.entity.uid))
    if merge.read.moved:
        missing = (
            f"SELECT 1 FROM {merge.target} t, {merge.verdicts} v"
            " WHERE t.ctid = v.row_at AND v.verdict = 'missing'"
        )
        merge.execute(
            f"DELETE FROM {absences} a WHERE a.entity_uid = {entity} AND NOT EXISTS ({missing}"
            " AND t._bridge_id = a.row_id)"
        )
        return Written(counts, live_before=live)
    absent = f"t.ctid = v.row_at AND v.verdict = 'missing'{_not_held(merge)}"
    missing = f"FROM {merge.target} t, {merge.verdicts} v WHERE {absent}"
    vanished = merge.number(f"SELECT count(*) {missing}") if counts.missing else 0
    held = vanished if must_hold(merge.request, vanished, live) else 0
    missed_before = f"t._bridge_id IN (SELECT row_id FROM {absences} WHERE entity_uid = {entity} AND since < now())"
    first_time = 0
    if vanished and merge.read.can_hide_rows:
        first_time = merge.execute(
            f"INSERT INTO {absences} (entity_uid, row_id) SELECT {entity}, t._bridge_id {missing}"
            f" AND NOT {missed_before}"
        )
        absent = f"{absent} AND {missed_before}"
    deleted = 0
    if vanished > first_time and not held:
        deleted = merge.execute(
            f"UPDATE {merge.target} t SET _bridge_deleted = true, _bridge_updated_at = now() FROM {merge.verdicts} v"
            f" WHERE {absent}"
        )
    check_stage("vanished", 0 if held else vanished - first_time, deleted)
    # A deleted row has moved to another place, so that only what is still missing keeps its note.
    merge.execute(
        f"DELETE FROM {absences} a WHERE a.entity_uid = {entity}"
        f" AND NOT EXISTS (SELECT 1 {missing} AND t._bridge_id = a.row_id)"
    )
    return Written(counts, deleted, 0 if held else first_time, held, live)


def _not_held(merge: Merge) -> str:
    keys = " AND ".join(
        f"t.{quote(column.target_name)} = (r.business_key->>{index})::{column.type.sql}"
        for index, column in enumerate(merge.entity.business_keys)
    )
    rejects = staged_rejects(merge.request)
    return (
        f" AND NOT EXISTS (SELECT 1 FROM {rejects} r WHERE r.business_key IS NOT NULL AND {keys})"
    )
