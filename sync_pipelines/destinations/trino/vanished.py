"""Rows of a Trino table that a full read no longer found; the rules are those of `destinations.postgres.vanished`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from sync_pipelines.books.absences import known_absences, remember_absences
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.quarantine import held_keys
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import TEXT, Field, Staging
from sync_pipelines.destinations.vanished_share import must_hold
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Mode


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
    cursor: Any,
    session: Session,
    request: PublishRequest,
    read: ReadResult,
    statements: Statements,
    staging: Staging,
) -> Vanished:
    """Find the live rows that a full read did not see; more than the configured share of the live ones is held."""
    # The rows that this run is going to insert or revive are not in the table yet, so all live ones were there before.
    live = session.number(f"SELECT count(*) FROM {statements.target} t WHERE NOT t._bridge_deleted")
    if live == 0:
        return Vanished()
    if read.moved:
        rows = session.query(
            f"SELECT cast(t._bridge_id AS varchar) FROM {statements.target} t WHERE {statements.absent(None)}"
        )
        return Vanished(absent_ids=tuple(row[0] for row in rows), live_before=live)
    keys, fields = held_keys(cursor, request)
    held = staging.relation("held", keys, fields) if keys.num_rows else None
    absent = statements.absent(held)
    vanished = session.number(f"SELECT count(*) FROM {statements.target} t WHERE {absent}")
    found = Vanished(vanished, absent)
    if read.can_hide_rows:
        found = _missed_twice(cursor, session, request, statements, staging, absent)
    found = replace(found, live_before=live)
    return found.without_deletions(vanished) if must_hold(request, vanished, live) else found


def _missed_twice(
    cursor: Any,
    session: Session,
    request: PublishRequest,
    statements: Statements,
    staging: Staging,
    absent: str,
) -> Vanished:
    """Without rowversions a row may hide between two pages while others are deleted: it must be missed by two reads in
    a row.
    """
    known = known_absences(cursor, request)
    rows = session.query(
        f"SELECT cast(t._bridge_id AS varchar), {absent} FROM {statements.target} t WHERE {statements.absent(None)}"
    )
    everything = tuple(row[0] for row in rows)
    counted = [row[0] for row in rows if row[1]]
    deleted = tuple(row_id for row_id in counted if row_id in known)
    new = tuple(row_id for row_id in counted if row_id not in known)
    if not deleted:
        return Vanished(missing=len(new), absent_ids=everything, new_ids=new)
    gone = staging.relation(
        "gone", pa.table({"id": pa.array(deleted, pa.string())}), [Field("id", TEXT)]
    )
    condition = f"cast(t._bridge_id AS varchar) IN (SELECT id FROM {gone} g)"
    return Vanished(len(deleted), condition, len(new), everything, new, deleted)


def note_absences(cursor: Any, request: PublishRequest, vanished: Vanished) -> None:
    """Remember which rows were missed for the first time, and forget those that are back or gone."""
    if request.mode is not Mode.FULL:
        return
    deleted = frozenset(vanished.deleted_ids)
    still_absent = [row_id for row_id in vanished.absent_ids or () if row_id not in deleted]
    remember_absences(cursor, request, still_absent, vanished.new_ids)
