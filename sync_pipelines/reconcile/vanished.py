"""Rows that a full read no longer found: marked as deleted, within reason."""

from __future__ import annotations

from sync_pipelines.errors import VanishedShareError
from sync_pipelines.load.postgres.merge import Merge
from sync_pipelines.load.postgres.quoting import literal, quote
from sync_pipelines.model.run import check_stage


def delete_vanished(merge: Merge, gained: int) -> tuple[int, int]:
    """Soft-delete live rows that a full read did not see.

    A key that is in quarantine is at the source. Without rowversions a row may hide between two pages while
    others are deleted, so it must be missed by two reads in a row.

    Args:
        merge: the merge that was just applied.
        gained: rows that this run made live; all others were live before it.

    Returns:
        Deleted rows, and rows that are missing for the first time.
    """
    live = merge.number(f"SELECT count(*) FROM {merge.target} t WHERE NOT t._bridge_deleted") - gained
    if live == 0:
        return 0, 0
    absent = f"NOT t._bridge_deleted AND NOT EXISTS (SELECT 1 FROM {merge.staging} s WHERE {merge.match})" + _held(merge)
    vanished = merge.number(f"SELECT count(*) FROM {merge.target} t WHERE {absent}")
    share = merge.entity.max_vanished_share
    if vanished > share * live and not merge.plan.accept_vanished:
        raise VanishedShareError(
            f"A full read misses {vanished} of {live} live rows, more than the share of {share:g} that may vanish at once.",
            where=dict(merge.entity.where),
            next_command=f"sync-pipelines sync {merge.entity.path} --full-refresh --accept-vanished, if it is true",
        )
    absences, entity = f"{quote(merge.plan.bridge_schema)}.absences", literal(str(merge.entity.uid))
    missing = 0
    if not merge.plan.keyset:
        missed_before = f"t._bridge_id IN (SELECT row_id FROM {absences} WHERE entity_uid = {entity})"
        twice = merge.number(f"SELECT count(*) FROM {merge.target} t WHERE {absent} AND {missed_before}")
        merge.execute(
            f"INSERT INTO {absences} (entity_uid, row_id) SELECT {entity}, t._bridge_id FROM {merge.target} t"
            f" WHERE {absent} AND NOT {missed_before}"
        )
        vanished, missing = twice, vanished - twice
        absent = f"{absent} AND {missed_before} AND t._bridge_id NOT IN (SELECT row_id FROM {absences} WHERE entity_uid = {entity} AND since = now())"
    delete = f"UPDATE {merge.target} t SET _bridge_deleted = true, _bridge_updated_at = now() WHERE {absent}"
    deleted = merge.execute(delete) if vanished else 0
    check_stage("vanished", vanished, deleted)
    merge.execute(
        f"DELETE FROM {absences} a USING {merge.target} t WHERE a.entity_uid = {entity} AND t._bridge_id = a.row_id"
        f" AND (t._bridge_deleted OR EXISTS (SELECT 1 FROM {merge.staging} s WHERE {merge.match}))"
    )
    return deleted, missing


def _held(merge: Merge) -> str:
    keys = " AND ".join(
        f"t.{quote(column.target_name)} = (r.business_key->>{index})::{column.type.sql}"
        for index, column in enumerate(merge.entity.business_keys)
    )
    return f" AND NOT EXISTS (SELECT 1 FROM {merge.rejects} r WHERE r.business_key IS NOT NULL AND {keys})"
