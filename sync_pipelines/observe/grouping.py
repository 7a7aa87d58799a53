"""From conditions to what is worth a message: consequences left out, much of a kind put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sync_pipelines.errors import Category, category_of
from sync_pipelines.model.incident import Condition, Incident, IncidentKind

_SHOWN_SUBJECTS = 20
_OF_ENTITIES = frozenset(
    {
        IncidentKind.CONSECUTIVE_FAILURES,
        IncidentKind.RUN_DURATION,
        IncidentKind.SLOW_SOURCE,
        IncidentKind.REJECTION_RATE,
        IncidentKind.ACTION_REQUIRED,
        IncidentKind.FRESHNESS,
    }
)


def without_consequences(
    conditions: Collection[Condition], open_incidents: Iterable[Incident]
) -> list[Condition]:
    """Leave out what follows from another condition, unless it is an open incident already.

    A source that is down makes its entities fail and their tables old; an entity that fails, or is being read for long,
    gets old; and where Dagster does not work, every table does.
    """
    incidents = list(open_incidents)
    known = {incident.key for incident in incidents}
    named: list[Condition | Incident] = [*conditions, *incidents]
    down = {one.subject for one in named if one.kind is IncidentKind.SOURCE_UNREACHABLE}
    nobody_works = any(one.kind is IncidentKind.DAGSTER_SILENT for one in named)
    explained = {one.subject for one in conditions if _makes_stale(one)}

    def follows(condition: Condition) -> bool:
        match condition.kind:
            case IncidentKind.CONSECUTIVE_FAILURES:
                return condition.connector in down and _category(condition) is Category.UNREACHABLE
            case IncidentKind.FAILURE_RATE:
                return condition.connector in down
            case IncidentKind.FRESHNESS:
                return nobody_works or condition.connector in down or condition.subject in explained
            case _:
                return False

    return [
        condition for condition in conditions if condition.key in known or not follows(condition)
    ]


def _makes_stale(condition: Condition) -> bool:
    """Whether the table of a condition's entity cannot be fresh."""
    if condition.kind is IncidentKind.REJECTION_RATE:
        # Without one good record no table gets fresh.
        return condition.details.get("rejection_rate") == 1
    return condition.kind in (IncidentKind.CONSECUTIVE_FAILURES, IncidentKind.RUN_DURATION)


def _category(condition: Condition) -> Category:
    return category_of(condition.details.get("category"))


def group_conditions(
    conditions: Iterable[Condition],
    open_incidents: Iterable[Incident],
    above: int,
) -> list[Condition]:
    """Make one condition of a connector out of more than `above` new ones of a kind on its entities.

    Entities with an open incident of their own keep it, so that nothing is sent twice. A connector's incident goes on,
    however few entities are left of it.
    """
    known = {incident.key for incident in open_incidents}
    kept: list[Condition] = []
    new: dict[tuple[IncidentKind, str], list[Condition]] = defaultdict(list)
    for condition in conditions:
        if condition.kind in _OF_ENTITIES and condition.key not in known:
            new[condition.kind, condition.connector].append(condition)
        else:
            kept.append(condition)
    for (kind, connector), members in new.items():
        if len(members) > above or (kind, connector) in known:
            kept.append(_group(kind, connector, members))
        else:
            kept += members
    return kept


def _group(kind: IncidentKind, connector: str, members: list[Condition]) -> Condition:
    subjects = sorted(member.subject for member in members)
    shown = ", ".join(subject.partition("/")[2] for subject in subjects[:_SHOWN_SUBJECTS])
    more = f" and {len(subjects) - _SHOWN_SUBJECTS} more" if len(subjects) > _SHOWN_SUBJECTS else ""
    noun = "entity" if len(members) == 1 else "entities"
    return Condition(
        kind,
        connector,
        f"{len(members)} {noun} of {connector}: {shown}{more}. For example: {members[0].message}",
        f"sync-pipelines entities {connector}",
        {
            "count": len(members),
            "entities": subjects[:_SHOWN_SUBJECTS],
            "example": members[0].details,
        },
    )
