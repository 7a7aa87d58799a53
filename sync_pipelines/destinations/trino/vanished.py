"""Rows of a Trino table that a full read no longer found; `destinations.vanished` says what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sync_pipelines.books.absences import forget_absences, known_absences, note_absences
from sync_pipelines.destinations.trino.keys import rejected_keys
from sync_pipelines.destinations.trino.staging import TEXT, Field
from sync_pipelines.destinations.vanished import VanishPlan, plan_vanished
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.run import Mode

if TYPE_CHECKING:
    from sync_pipelines.destinations.trino.work import Work

_IDS = "SELECT unnest(%s::uuid[])"


@dataclass(frozen=True)
class Vanished:
    """What to mark as deleted, and what to remember.

    Attributes:
        plan: how many rows.
        condition: over t, which rows are deleted; None where none is.
        new_ids: ids of rows to remember as missed for the first time.
        still_absent: ids of all rows that stay although the read missed them; what is remembered of others goes.
        live_before: live rows that the read was compared with.
    """

    plan: VanishPlan = VanishPlan()
    condition: str | None = None
    new_ids: tuple[str, ...] = ()
    still_absent: tuple[str, ...] = ()
    live_before: int = 0


def find_vanished(work: Work) -> Vanished:
    """Find the live rows that a full read did not see, and plan what becomes of them."""
    target = work.statements.target
    # The rows that this run is going to insert or revive are not in the table yet, so all live ones were there before.
    live = work.session.number(f"SELECT count(*) FROM {target} t WHERE NOT t._bridge_deleted")
    if live == 0:
        return Vanished()
    absent = work.statements.absent(_rejected(work))
    known = known_absences(work.cursor, work.request)
    if known or work.read.can_hide_rows:
        return _by_ids(work, absent, live, known)
    missed = work.session.number(f"SELECT count(*) FROM {target} t WHERE {absent}")
    plan = plan_vanished(work.request, work.read, live=live, missed=missed, missed_before=0)
    condition = absent if plan.deleted else None
    return Vanished(plan, condition, live_before=live)


def _rejected(work: Work) -> str | None:
    """A relation of the keys of the run's rejects; None without any."""
    keys, fields = rejected_keys(work.cursor, work.request)
    if not keys.num_rows:
        return None
    return work.staging.relation("rejected_keys", keys, fields)


def _by_ids(work: Work, absent: str, live: int, known: frozenset[str]) -> Vanished:
    """As `find_vanished`, where each row must be distinguished from the others.

    Args:
        work: of the run.
        absent: a condition over t: the read missed the row.
        live: rows that are live.
        known: ids of rows that an earlier read missed.
    """
    rows = work.session.query(
        f"SELECT cast(t._bridge_id AS varchar) FROM {work.statements.target} t WHERE {absent}"
    )
    missed = [row_id for (row_id,) in rows]
    before = [row_id for row_id in missed if row_id in known]
    plan = plan_vanished(
        work.request,
        work.read,
        live=live,
        missed=len(missed),
        missed_before=len(before),
    )
    new: list[str] = []
    if plan.noted:
        new = [row_id for row_id in missed if row_id not in known]
    if not plan.deleted:
        return Vanished(plan, new_ids=tuple(new), still_absent=tuple(missed), live_before=live)
    if not work.read.can_hide_rows:
        return Vanished(plan, absent, live_before=live)
    return Vanished(
        plan,
        _is_among(work, before),
        new_ids=tuple(new),
        still_absent=tuple(new),
        live_before=live,
    )


def _is_among(work: Work, ids: list[str]) -> str:
    """A condition over t: the row has one of these ids."""
    column = pa.array(ids, pa.string())
    relation = work.staging.relation("gone", pa.table({"id": column}), [Field("id", TEXT)])
    return f"cast(t._bridge_id AS varchar) IN (SELECT id FROM {relation} g)"


def keep_absences(cursor: Any, request: PublishRequest, vanished: Vanished) -> None:
    """Remember which rows were missed for the first time, and forget those that are back or gone."""
    if request.mode is not Mode.FULL:
        return
    new = list(vanished.new_ids)
    if new:
        note_absences(cursor, request, _IDS, [new])
    still_absent = list(vanished.still_absent)
    forget_absences(cursor, request, _IDS, [still_absent])
