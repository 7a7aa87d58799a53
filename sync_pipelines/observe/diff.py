"""What changes of the incidents, given what is wrong now: a pure diff."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
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
        if key in current:
            seen.append((incident, current[key]))
        elif incident.kind in STICKY and incident.uid not in over:
            continue
        elif now - (incident.quiet_since or now) >= timedelta(seconds=close_after_seconds):
            closed.append(incident)
        elif incident.quiet_since is None:
            quiet.append(incident)
    opened = tuple(condition for key, condition in current.items() if key not in known)
    return IncidentDiff(opened, tuple(seen), tuple(quiet), tuple(closed))
