"""How far a cursor may move after a read, and which marks of finished reads are kept for that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sync_pipelines.model.cursor import Codec, is_ahead, order_key, subtract_seconds

_KEPT_MARKS = 20


@dataclass(frozen=True, slots=True)
class CursorMark:
    """What one finished read knew: at `at` (database clock, UTC) everything up to `position` had been read."""

    at: datetime
    position: str

    def as_json(self) -> dict[str, str]:
        """The mark as stored in `bridge.entities.cursor_marks`."""
        return {"at": self.at.isoformat(), "position": self.position}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> CursorMark:
        """Read a stored mark."""
        return cls(datetime.fromisoformat(data["at"]), data["position"])


def plan_cursor(
    codec: Codec,
    *,
    current: str | None,
    marks: tuple[CursorMark, ...],
    started_at: datetime,
    read_seconds: float,
    last: str | None,
    below_last: str | None,
    lookback_seconds: int,
) -> str | None:
    """The highest cursor after a read to the end of the source that cannot miss a row.

    A rowversion may be assigned up to `lookback_seconds` before its row becomes visible. Safe positions are
    (a) the current cursor, (b) the newest mark that is at least the lookback older than this read's
    start, since this read saw whatever was committed late below it, (c) for codecs of times, the last
    rowversion less the read's duration, the lookback and one granule: no clock but a stopwatch is involved.
    A mark counts only up to the last rowversion of this read: an answer that was empty by mistake proves nothing.
    A rowversion more than a day in the future is no time of a write and moves nothing. With a lookback of zero the
    position just below the last rowversion is safe. The group of the last rowversion is never closed: however old it
    is, a record may still join it, so the cursor stays below it.
    Algorithm: docs/promise.md.

    Args:
        codec: the entity's codec.
        current: the cursor before this read, None = none.
        marks: marks of earlier reads, any order.
        started_at: start of this read, database clock.
        read_seconds: duration of this read.
        last: highest rowversion read, None when nothing was read.
        below_last: highest rowversion read that is lower than `last`, None when there is none.
        lookback_seconds: the entity's lookback.
    """
    safe = [] if current is None else [current]
    if lookback_seconds == 0 and below_last is not None:
        safe.append(below_last)
    elif lookback_seconds != 0:
        horizon = started_at - timedelta(seconds=lookback_seconds)
        for mark in _in_order(marks):
            if mark.at <= horizon and _reached(codec, last, mark.position, started_at):
                safe.append(mark.position)
        newest = _newest_of_now(codec, (last, below_last), started_at)
        if codec.tells_time and newest is not None:
            back_seconds = lookback_seconds + read_seconds
            safe.append(subtract_seconds(codec, newest, back_seconds))
        safe = _below_last_group(codec, safe, current, last, below_last)
    if not safe:
        return None
    if codec is Codec.OPAQUE:
        return safe[-1]
    return max(safe, key=lambda position: order_key(codec, position))


def _below_last_group(
    codec: Codec,
    safe: list[str],
    current: str | None,
    last: str | None,
    below_last: str | None,
) -> list[str]:
    """Move positions in or above the last group below it; leave them out where nothing below it is known."""
    if last is None:
        return safe
    kept = []
    for position in safe:
        is_open = position == last
        if codec is not Codec.OPAQUE:
            is_open = order_key(codec, position) >= order_key(codec, last)
        if not is_open or position == current:
            kept.append(position)
        elif below_last is not None:
            kept.append(below_last)
    return kept


def _newest_of_now(
    codec: Codec,
    rowversions: Sequence[str | None],
    started_at: datetime,
) -> str | None:
    """The first of the rowversions that is there and is not in the future."""
    for rowversion in rowversions:
        if rowversion is not None and not is_ahead(codec, rowversion, started_at):
            return rowversion
    return None


def _reached(
    codec: Codec,
    last: str | None,
    position: str,
    started_at: datetime,
) -> bool:
    if last is None or is_ahead(codec, position, started_at):
        return False
    if codec is Codec.OPAQUE:
        return True
    return bool(order_key(codec, position) <= order_key(codec, last))


def _in_order(marks: Iterable[CursorMark]) -> list[CursorMark]:
    return sorted(marks, key=lambda mark: mark.at)


def plan_marks(
    marks: tuple[CursorMark, ...],
    new: CursorMark | None,
    started_at: datetime,
    lookback_seconds: int,
) -> tuple[CursorMark, ...]:
    """Marks to keep: the newest that is older than the lookback, and younger ones, spread so that each can grow old."""
    lookback = timedelta(seconds=lookback_seconds)
    horizon = started_at - lookback
    distance = lookback / _KEPT_MARKS
    candidates = list(marks)
    if new is not None:
        candidates.append(new)
    older: list[CursorMark] = []
    younger: list[CursorMark] = []
    for mark in _in_order(candidates):
        if mark.at <= horizon:
            older.append(mark)
        elif not younger or mark.at - younger[-1].at >= distance:
            younger.append(mark)
    return (*older[-1:], *younger)
