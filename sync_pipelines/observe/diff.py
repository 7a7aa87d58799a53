"""What changes of the incidents, given what is wrong now: a pure diff."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sync_pipelines.model.incident import STICKY, Condition, Incident


@dataclass(frozen=True)
class IncidentDiff:
    """What to write: a message goes out for each of `opened` and `closed`, and for nothing else."""

    opened: tuple[Condition, ...] = ()
    seen: tuple[tuple[Incident, Condition], ...] = ()
    quiet: tuple[Incident, ...] = ()
    closed: tuple[Incident, ...] = ()


def diff_incidents(
    open_incidents: Iterable[Incident],
    conditions: Iterable[Condition],
    now: datetime,
    close_after_seconds: float,
    over: Collection[UUID] = (),
) -> IncidentDiff:
    """Compare the open incidents with the conditions.

    An incident closes when its condition has been gone for `close_after_seconds`; one that comes back before is the
    same incident and nobody gets a second message. Sticky kinds count as gone only when their uid is in `over`.
    """
    current = {condition.key: condition for condition in conditions}
    known = {incident.key: incident for incident in open_incidents}
    seen = []
    quiet = []
    closed = []
    for key, incident in known.items():
        condition = current.get(key)
        if condition is not None:
            seen.append((incident, condition))
        elif incident.kind in STICKY and incident.uid not in over:
            continue
        elif _quiet_seconds(incident, now) >= close_after_seconds:
            closed.append(incident)
        elif incident.quiet_since is None:
            quiet.append(incident)
    opened = [condition for key, condition in current.items() if key not in known]
    return IncidentDiff(
        opened=tuple(opened),
        seen=tuple(seen),
        quiet=tuple(quiet),
        closed=tuple(closed),
    )


def _quiet_seconds(incident: Incident, now: datetime) -> float:
    """For how long its condition has been gone; 0 where this look is the first without it."""
    if incident.quiet_since is None:
        return 0.0
    return (now - incident.quiet_since).total_seconds()
