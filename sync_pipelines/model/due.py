"""Decisions about time, without any I/O: when an entity is due again, and which due entities share a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

JITTER_SHARE = 0.1
MAX_JITTER_SECONDS = 300.0
RETRY_SECONDS = 60.0
MAX_RETRY_SECONDS = 3600.0
PROBE_RETRY_SECONDS = 30.0
MAX_PROBE_RETRY_SECONDS = 600.0
LARGE_ROWS = 100_000
MAX_RUNS = 2
MIN_SETTLE_SECONDS = 2.0
"""After which no more writes get the same rowversion, where those are seconds."""
FULL_READ_TRIES = 3
"""A full reconciliation that fails so often is given up until it is asked for again, so that the deltas go on."""


class Reason(StrEnum):
    """Why an entity is due, as `bridge.entities.due_reason` says it."""

    FIRST = "first sync"
    INTERVAL = "interval"
    FOLLOW_UP = "follow-up"
    RETRY = "retry"
    CHANGED = "source changed"
    CRON = "cron"
    FULL_READ = "full reconciliation"


class Kind(StrEnum):
    """Runs that must not wait for each other.

    REGULAR: deltas and small tables. LARGE: reads of unknown or large size, which would hold up the others.
    FULL_READ: of a reconciliation, every entity whole; it counts as large.
    """

    REGULAR = "regular"
    LARGE = "large"
    FULL_READ = "full read"

    @property
    def is_large(self) -> bool:
        """It may take hours."""
        return self is not Kind.REGULAR


def plan_next_seconds(uid: UUID, interval_seconds: float) -> float:
    """Seconds from the end of a successful sync until the entity is due again: never more than its interval.

    Up to a tenth (at most 300 s) is taken off, always the same for an entity, so that those that were discovered
    together do not stay together.
    """
    return interval_seconds - _fraction(uid) * min(
        JITTER_SHARE * interval_seconds,
        MAX_JITTER_SECONDS,
    )


def plan_next(
    uid: UUID,
    interval_seconds: float,
    lookback_seconds: float,
    *,
    probed: bool,
    moved: bool,
) -> tuple[float, Reason]:
    """When an entity is due again after a successful sync, and why.

    A probe sees what is greater than everything read, and neither a late commit below it nor a record that shares the
    last rowversion. So a sync that read something new is followed by another one, a lookback later, which sees both.

    Args:
        uid: of the entity, for its jitter.
        interval_seconds, lookback_seconds: of the entity.
        probed: probes look for changes between the intervals.
        moved: this sync read a rowversion that none before had read.
    """
    regular = plan_next_seconds(uid, interval_seconds)
    settled = (
        max(lookback_seconds, MIN_SETTLE_SECONDS) * (1 + 0.5 * JITTER_SHARE * _fraction(uid)) + 1
    )
    if probed and moved and settled < regular:
        return settled, Reason.FOLLOW_UP
    return regular, Reason.INTERVAL


def plan_retry_seconds(
    uid: UUID,
    interval_seconds: float,
    failures: int,
) -> float:
    """Seconds until a failed entity is due again: doubling with each failure in a row, at most an hour and a tenth.

    Args:
        uid: of the entity, for its jitter.
        interval_seconds: of the entity; one shorter than a minute is where the doubling begins.
        failures: in a row, the one that just happened included.
    """
    first = min(interval_seconds, RETRY_SECONDS)
    delay = min(first * _doubled(failures), MAX_RETRY_SECONDS)
    return delay * (1 + JITTER_SHARE * _fraction(uid))


def plan_probe_retry_seconds(failures: int) -> float:
    """Seconds until a source that did not answer its probes is probed again: doubling, at most ten minutes."""
    return min(PROBE_RETRY_SECONDS * _doubled(failures), MAX_PROBE_RETRY_SECONDS)


def _doubled(failures: int) -> float:
    """2 to the power of the failures after the first one, without an overflow."""
    return math.ldexp(1.0, min(max(failures, 1) - 1, 30))


def _fraction(uid: UUID) -> float:
    """A number in [0, 1) that an entity always has."""
    return (uid.int % 10_007) / 10_007


@dataclass(frozen=True)
class DueEntity:
    """One entity that may be started.

    Attributes:
        seconds_late: since it is due; negative when it will be due soon.
        reads_all: its next sync reads everything.
        row_count: live rows after its last sync, None before its first.
    """

    uid: UUID
    slug: str
    reason: str
    seconds_late: float
    reads_all: bool
    row_count: int | None
    full_read_due: bool = False

    @property
    def kind(self) -> Kind:
        """The runs it belongs to."""
        if self.full_read_due:
            return Kind.FULL_READ
        large = self.reads_all and (self.row_count is None or self.row_count >= LARGE_ROWS)
        return Kind.LARGE if large else Kind.REGULAR

    @property
    def trigger(self) -> str:
        """Why it is started, in words."""
        return Reason.FULL_READ.value if self.full_read_due else self.reason


@dataclass(frozen=True)
class PlannedRun:
    """Entities that one run syncs."""

    kind: Kind
    entities: tuple[DueEntity, ...]

    @property
    def trigger(self) -> str:
        """The reasons of its entities."""
        return ", ".join(sorted({entity.trigger for entity in self.entities}))


def plan_runs(
    due: Sequence[DueEntity],
    unfinished: Sequence[Kind],
    max_entities: int,
) -> list[PlannedRun]:
    """Choose the runs to start now, at most one of each kind.

    While two runs of a kind have not finished, entities wait in the catalog and not in the queue: they stay in the
    order of their lateness, and the next run takes all that came meanwhile. Large runs and full reads count as one
    kind, so that they leave room for the deltas. An entity that is due only soon goes along, but starts no run.

    Args:
        due: candidates, the latest first.
        unfinished: kinds of the connector's runs that wait or run.
        max_entities: most entities of a run.
    """
    runs: list[PlannedRun] = []
    busy = {large: sum(kind.is_large == large for kind in unfinished) for large in (False, True)}
    for kind in (Kind.REGULAR, Kind.LARGE, Kind.FULL_READ):
        members = [entity for entity in due if entity.kind is kind][:max_entities]
        if busy[kind.is_large] >= MAX_RUNS or not any(
            entity.seconds_late >= 0 for entity in members
        ):
            continue
        busy[kind.is_large] += 1
        runs.append(PlannedRun(kind, tuple(members)))
    return runs
