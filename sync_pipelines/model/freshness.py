"""How old an entity's table may be, and the word for how old it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.run import RunStatus

DEFAULT_GRACE_SECONDS = 60


class StatusWord(StrEnum):
    """What a person reads about an entity."""

    ON_TIME = "on time"
    LATE = "late"
    ERROR = "error"
    NEVER_SYNCED = "never synced"
    ACTION_REQUIRED = "action required"
    REJECTED = "rejected"
    DELETIONS_HELD = "deletions held"
    SWITCHED_OFF = "switched off"
    VANISHED = "vanished"


@dataclass(frozen=True)
class Windows:
    """Seconds since the last success after which an entity is late, and in error."""

    late_seconds: int
    error_seconds: int


def freshness_windows(
    sync_interval_seconds: int,
    grace_seconds: int = DEFAULT_GRACE_SECONDS,
) -> Windows:
    """One interval, and two; the grace is the time that a due run may take to start and to end.

    Without it an entity would be late for some seconds in every interval: it is due only when the interval is over.
    """
    return Windows(sync_interval_seconds + grace_seconds, 2 * sync_interval_seconds + grace_seconds)


def plan_freshness(status: EntityStatus, *, sync_enabled: bool) -> bool:
    """Whether freshness is asked of an entity: not of one that nobody syncs.

    One that waits for a decision gets old all the same.
    """
    return sync_enabled and status is not EntityStatus.VANISHED


def status_word(
    *,
    status: EntityStatus,
    sync_enabled: bool,
    sync_interval_seconds: int,
    last_success_at: datetime | None,
    now: datetime,
    grace_seconds: int = DEFAULT_GRACE_SECONDS,
    last_status: str | None = None,
    held_deletions: int = 0,
) -> StatusWord:
    """The status of an entity as a word; what a person must do comes before how old the table is.

    Args:
        status, sync_enabled, sync_interval_seconds, last_success_at: of the entity.
        now: by the clock of the database.
        grace_seconds: see `freshness_windows`.
        last_status: of its last run (`model.run.RunStatus`); None where only the age is asked for.
        held_deletions: rows that wait for a decision.
    """
    if status is EntityStatus.VANISHED:
        return StatusWord.VANISHED
    if status is EntityStatus.ACTION_REQUIRED:
        return StatusWord.ACTION_REQUIRED
    if not sync_enabled:
        return StatusWord.SWITCHED_OFF
    if last_status == RunStatus.REJECTED:
        return StatusWord.REJECTED
    if held_deletions:
        return StatusWord.DELETIONS_HELD
    if last_success_at is None:
        return StatusWord.NEVER_SYNCED
    windows = freshness_windows(sync_interval_seconds, grace_seconds)
    age = now - last_success_at
    if age > timedelta(seconds=windows.error_seconds):
        return StatusWord.ERROR
    return StatusWord.LATE if age > timedelta(seconds=windows.late_seconds) else StatusWord.ON_TIME
