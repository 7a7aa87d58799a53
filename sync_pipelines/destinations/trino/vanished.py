"""Rows of a Trino table that a full read no longer found; the rules are those of `destinations.postgres.vanished`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from sync_pipelines.books.publish_plan import PublishPlan
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.quarantine import held_keys
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import TEXT, Field, Staging
from sync_pipelines.destinations.vanished_share import must_hold
from sync_pipelines.model.quoting import quote


@dataclass(frozen=True)
class Vanished:
    """What to mark as deleted.

    Attributes:
        rows: how many rows.
        condition: over t, which rows.
        missing: rows that are missing for the first time.
        absent_ids: of a read by page number: ids of all rows that it missed, those of keys in quarantine included.
        new_ids: of these, those that are missing for the first time.
        deleted_ids: of these, those that go now.
        held: rows that stay, because they are too many to be deleted unasked.
        live_before: live rows that the read was compared with.
    """

    rows: int = 0
    condition: str = "false"
    missing: int = 0
    absent_ids: tuple[str, ...] | None = None
    new_ids: tuple[str, ...] = ()
    deleted_ids: tuple[str, ...] = ()
    held: int = 0
    live_before: int = 0

    def without_deletions(self, held: int) -> Vanished:
        """The same, but that nothing is deleted; what was missed stays known."""
        return replace(self, rows=0, condition="false", missing=0, deleted_ids=(), held=held)


def plan_vanished(
    cursor: Any, session: Session, plan: PublishPlan, statements: Statements, staging: Staging
) -> Vanished:
    """Find the live rows that a full read did not see; more than the configured share of the live ones is held."""
    # The rows that this run is going to insert or revive are not in the table yet, so all live ones were there before.
    live = session.number(f"SELECT count(*) FROM {statements.target} t WHERE NOT t._bridge_deleted")
    if live == 0:
        return Vanished()
    if plan.moved:
        rows = session.query(
            f"SELECT cast(t._bridge_id AS varchar) FROM {statements.target} t WHERE {statements.absent(None)}"
        )
        return Vanished(absent_ids=tuple(row[0] for row in rows), live_before=live)
    keys, fields = held_keys(cursor, plan)
    held = staging.relation("held", keys, fields) if keys.num_rows else None
    absent = statements.absent(held)
    vanished = session.number(f"SELECT count(*) FROM {statements.target} t WHERE {absent}")
    found = Vanished(vanished, absent)
    if plan.can_hide_rows:
        found = _missed_twice(cursor, session, plan, statements, staging, absent)
    found = replace(found, live_before=live)
    return found.without_deletions(vanished) if must_hold(plan, vanished, live) else found


def _missed_twice(
    cursor: Any, session: Session, plan: PublishPlan, statements: Statements, staging: Staging, absent: str
) -> Vanished:
    """Without rowversions a row may hide between two pages while others are deleted: it must be missed by two reads in
    a row.
    """
    known = _known_absences(cursor, plan)
    rows = session.query(
        f"SELECT cast(t._bridge_id AS varchar), {absent} FROM {statements.target} t WHERE {statements.absent(None)}"
    )
    everything = tuple(row[0] for row in rows)
    counted = [row[0] for row in rows if row[1]]
    deleted = tuple(row_id for row_id in counted if row_id in known)
    new = tuple(row_id for row_id in counted if row_id not in known)
    if not deleted:
        return Vanished(missing=len(new), absent_ids=everything, new_ids=new)
    gone = staging.relation("gone", pa.table({"id": pa.array(deleted, pa.string())}), [Field("id", TEXT)])
    condition = f"cast(t._bridge_id AS varchar) IN (SELECT id FROM {gone} g)"
    return Vanished(len(deleted), condition, len(new), everything, new, deleted)


def _known_absences(cursor: Any, plan: PublishPlan) -> set[str]:
    cursor.execute(
        f"SELECT row_id::text FROM {quote(plan.bridge_schema)}.absences WHERE entity_uid = %s", [str(plan.entity.uid)]
    )
    return {row[0] for row in cursor.fetchall()}


def remember_absences(cursor: Any, plan: PublishPlan, vanished: Vanished) -> None:
    """Remember which rows were missed for the first time, and forget those that are back or gone."""
    if vanished.absent_ids is None:
        if plan.mode == "full":
            _forget(cursor, plan, [])
        return
    deleted = frozenset(vanished.deleted_ids)
    _forget(cursor, plan, [row_id for row_id in vanished.absent_ids if row_id not in deleted])
    with cursor.copy(f"COPY {quote(plan.bridge_schema)}.absences (entity_uid, row_id) FROM STDIN") as copy:
        for row_id in vanished.new_ids:
            copy.write_row((str(plan.entity.uid), row_id))


def _forget(cursor: Any, plan: PublishPlan, still_absent: list[str]) -> None:
    cursor.execute(
        f"DELETE FROM {quote(plan.bridge_schema)}.absences WHERE entity_uid = %s AND row_id <> ALL(%s::uuid[])",
        [str(plan.entity.uid), still_absent],
    )
