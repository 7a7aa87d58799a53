"""From conditions to what is worth a message: consequences left out, much of a kind put together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

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
    causes = _causes(conditions, incidents)
    kept = []
    for condition in conditions:
        if condition.key in known or not _follows(condition, causes):
            kept.append(condition)
    return kept


@dataclass(frozen=True)
class _Causes:
    """What explains other conditions.

    Attributes:
        down: connectors whose source is unreachable.
        stale: paths of entities whose table cannot be fresh.
        nobody_works: Dagster is silent, so that nothing is synced.
    """

    down: set[str]
    stale: set[str]
    nobody_works: bool


def _causes(conditions: Collection[Condition], incidents: Collection[Incident]) -> _Causes:
    named: list[Condition | Incident] = [*conditions, *incidents]
    return _Causes(
        down={one.subject for one in named if one.kind is IncidentKind.SOURCE_UNREACHABLE},
        stale={one.subject for one in conditions if _makes_stale(one)},
        nobody_works=any(one.kind is IncidentKind.DAGSTER_SILENT for one in named),
    )


def _follows(condition: Condition, causes: _Causes) -> bool:
    """Whether a condition is explained by one of the causes."""
    is_down = condition.connector in causes.down
    match condition.kind:
        case IncidentKind.CONSECUTIVE_FAILURES:
            return is_down and _category(condition) is Category.UNREACHABLE
        case IncidentKind.FAILURE_RATE:
            return is_down
        case IncidentKind.FRESHNESS:
            return causes.nobody_works or is_down or condition.subject in causes.stale
        case _:
            return False


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

    An entity that has an open incident keeps it, so that nothing is sent twice. A connector's incident goes on, however
    few entities are left of it.
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


def _group(
    kind: IncidentKind,
    connector: str,
    members: list[Condition],
) -> Condition:
    subjects = sorted(member.subject for member in members)
    shown = subjects[:_SHOWN_SUBJECTS]
    slugs = ", ".join(subject.partition("/")[2] for subject in shown)
    left = len(subjects) - len(shown)
    more = f" and {left} more" if left else ""
    noun = "entity" if len(members) == 1 else "entities"
    example = members[0]
    details = {
        "count": len(members),
        "entities": shown,
        "example": example.details,
    }
    return Condition(
        kind,
        connector,
        f"{len(members)} {noun} of {connector}: {slugs}{more}. For example: {example.message}",
        f"sync-pipelines entities {connector}",
        details,
    )
