"""How far a read may move an entity's cursor: pure, with warnings when something is odd."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sync_pipelines.model.cursor import Codec, is_ahead, order_key
from sync_pipelines.model.cursor_plan import CursorMark, plan_cursor, plan_marks
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import Mode
from sync_pipelines.sources.reading import Reading


@dataclass(frozen=True)
class Checkpoint:
    """The cursor with what it rests on.

    Attributes:
        cursor: where the next read starts, None = from the beginning.
        marks: what this and earlier reads knew.
        warnings: what a person should look at.
        seen: highest rowversion read; the change probe asks for what is greater. None = nothing was read.
        seen_is_sure: False when it is in the future, or its like was not read to the end, so that later ones are
            not known.
    """

    cursor: str | None
    marks: tuple[CursorMark, ...]
    warnings: tuple[str, ...] = ()
    seen: str | None = None
    seen_is_sure: bool = True


def plan_checkpoint(
    entity: Entity, mode: Mode, reading: Reading, started_at: datetime, read_seconds: float
) -> Checkpoint:
    """Plan the cursor after a finished read that followed rowversions.

    Args:
        entity: with its cursor and marks from before the read.
        mode: a full read may also go back, when the source was restored.
        reading: what was read.
        started_at: start of the read by the database clock.
        read_seconds: duration by the stopwatch.
    """
    codec, current, marks = reading.codec, entity.position.cursor, entity.position.cursor_marks
    if codec is None:
        return Checkpoint(current, marks)
    warnings: list[str] = []
    sure = True
    if mode is Mode.FULL and _went_back(codec, current, reading.last):
        warnings.append(
            f"rowversions went back from {current} to {reading.last}: was the source restored?"
        )
        current, marks = None, ()
    if reading.last is not None and is_ahead(codec, reading.last, started_at):
        warnings.append(
            f"the rowversion {reading.last} is in the future and does not move the cursor"
        )
        sure = False
    if not reading.drained:
        return Checkpoint(current, marks, tuple(warnings), reading.last, seen_is_sure=False)
    cursor = plan_cursor(
        codec,
        current=current,
        marks=marks,
        started_at=started_at,
        read_seconds=read_seconds,
        last=reading.last,
        below_last=reading.below_last,
        lookback_seconds=entity.policy.lookback_seconds,
    )
    mark = (
        CursorMark(started_at + timedelta(seconds=read_seconds), reading.last)
        if reading.last is not None
        else None
    )
    marks = plan_marks(marks, mark, started_at, entity.policy.lookback_seconds)
    return Checkpoint(cursor, marks, tuple(warnings), reading.last, sure)


def _went_back(codec: Codec, cursor: str | None, last: str | None) -> bool:
    if cursor is None or last is None or codec is Codec.OPAQUE:
        return False
    return bool(order_key(codec, last) < order_key(codec, cursor))
