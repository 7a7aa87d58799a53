"""What one run publishes: what was asked for, what was read, and what came of it; all of it frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.cursor_plan import CursorMark
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.run import Ledger, Mode
from sync_pipelines.model.verdict import RejectionLimits, Verdict, plan_verdict


@dataclass(frozen=True)
class PublishRequest:
    """What a run asks the destination to publish, known before the first page is read.

    Attributes:
        entity: as its table has it.
        bridge_schema: where the catalog is.
        declared_columns: the columns as the catalog has them, where masks make others of them.
        masks: what the catalog keeps of the masks that the records are written with.
        released: quarantined records that this run brings in, instead of reading the source.
        accept_vanished: delete vanished rows whatever their share.
        lease: by which a sensor took the entity for this run; it ends with it.
        limits: how many rejected records a successful run may have.
    """

    entity: Entity
    run_uid: UUID
    mode: Mode
    bridge_schema: str
    declared_columns: tuple[Column, ...] = ()
    masks: Mapping[str, str] = field(default_factory=dict)
    released: tuple[UUID, ...] = ()
    accept_vanished: bool = False
    lease: UUID | None = None
    limits: RejectionLimits = RejectionLimits()


@dataclass(frozen=True)
class ReadPosition:
    """Where the next read starts, and what it rests on.

    Attributes:
        cursor: None = from the beginning.
        codec: how rowversions are ordered; None when only the source knows.
        marks: what this and earlier reads knew.
        seen: highest rowversion read, which later ones are compared with; None = nothing was read.
        seen_is_sure: False when it does not show which rowversions are later.
    """

    cursor: str | None = None
    codec: Codec | None = None
    marks: tuple[CursorMark, ...] = ()
    seen: str | None = None
    seen_is_sure: bool = False


@dataclass(frozen=True)
class NextDue:
    """How long after the publish the entity is due again, and why."""

    seconds: float = 0.0
    reason: str = "interval"


@dataclass(frozen=True)
class ReadResult:
    """What a finished read hands to the publish step.

    Attributes:
        fetched: records that the read counted.
        reread: records at page borders of which a second reading counts.
        rejected: records that the read, its types and the gate set aside.
        position: where the next read starts.
        keyset: True when the read followed rowversions, so that of two records the higher one is newer.
        in_order: False when the pages were read by number although rowversions were followed.
        moved: True when the pages did not stay in place, so that an absence proves nothing and the next run reads
            again.
        walked: True when the pages were in the source's own order, so that an absent row may have hidden between two.
        absent: columns whose field no record had.
        next_due: when the entity is due again.
        details: goes to `bridge.sync_runs.details` with what the publish adds.
    """

    fetched: int
    reread: int
    rejected: int
    position: ReadPosition = ReadPosition()
    keyset: bool = True
    in_order: bool = True
    moved: bool = False
    walked: bool = False
    absent: frozenset[str] = frozenset()
    next_due: NextDue = NextDue()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> Codec | None:
        """The codec that orders two records by age; None when they have no order."""
        return self.position.codec if self.keyset else None

    @property
    def can_hide_rows(self) -> bool:
        """A row may have hidden between two pages while others were deleted: its absence needs a second read."""
        return self.walked or not self.keyset or not self.in_order


@dataclass(frozen=True)
class Publication:
    """What the publish step found and did.

    Attributes:
        missing: rows that a full read missed for the first time.
        held: rows that a full read missed and that are too many to be deleted unasked.
        verdict: whether the run is a success.
        allowed_nulls: columns that were NOT NULL in the table until the source sent a null.
        notes: further warnings of the publish step.
        details: what the publish adds to `bridge.sync_runs.details`.
    """

    ledger: Ledger
    row_count: int
    missing: int = 0
    held: int = 0
    verdict: Verdict = Verdict()
    allowed_nulls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of it."""
        warnings = []
        if self.missing:
            warnings.append(
                f"{self.missing} rows were not at the source; they are deleted if the next full read misses them, too"
            )
        if self.allowed_nulls:
            warnings.append(
                f"the source sent nulls, so NOT NULL was taken off {', '.join(self.allowed_nulls)}"
            )
        return (*warnings, *self.notes)


def judge_run(
    request: PublishRequest,
    ledger: Ledger,
    row_count: int,
    *,
    known_rejects: int = 0,
    held: int = 0,
    live_before: int = 0,
) -> Verdict:
    """Whether the run that publishes is a success.

    Args:
        request: of the run.
        ledger: of the run.
        row_count: live rows after it.
        known_rejects: rejected records that were in quarantine before.
        held: rows that a full read missed and that stay.
        live_before: live rows that a full read was compared with.
    """
    return plan_verdict(
        request.entity,
        request.run_uid,
        ledger,
        request.mode,
        request.limits,
        # A release is about records that are in quarantine: one that is refused again is rejected.
        known_rejects=0 if request.released else known_rejects,
        row_count=row_count,
        held_deletions=held,
        live_before=live_before,
    )
