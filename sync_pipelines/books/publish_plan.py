"""What a load must publish, handed from the runner to the destination that dlt drives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sync_pipelines.books.originals import Originals
from sync_pipelines.model.cursor import Codec, CursorMark
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.run import Ledger, Mode
from sync_pipelines.model.verdict import RejectionLimits, Verdict, plan_verdict


@dataclass(frozen=True)
class TablePlan:
    """Statements that bring the table to the entity's columns, and what they do in words."""

    statements: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What the publish step found and did.

    Attributes:
        missing: rows that a full read missed for the first time.
        allowed_nulls: columns that were NOT NULL in the table until the source sent a null.
        notes: what else the publish step has to tell.
        held: rows that a full read missed and that are too many to be deleted unasked.
        verdict: whether the run is a success.
    """

    ledger: Ledger
    row_count: int
    missing: int = 0
    held: int = 0
    verdict: Verdict = Verdict()
    allowed_nulls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of it."""
        missing = f"{self.missing} rows were not at the source; they are deleted if the next full read misses them, too"
        nulls = f"the source sent nulls, so NOT NULL was taken off {', '.join(self.allowed_nulls)}"
        return (*((missing,) if self.missing else ()), *((nulls,) if self.allowed_nulls else ()), *self.notes)


@dataclass
class PublishPlan:
    """Everything the publish transaction writes beside the rows themselves.

    Attributes:
        fetched: records that the extract stage counted.
        reread: records at page borders of which a second reading counts.
        rejected: records that extract, conform and gate set aside.
        copy_rejected: records that the database itself refused while they were copied.
        keyset: True when the read followed rowversions, so that they tell which record is newer.
        in_order: False when the pages were read by number although rowversions were followed.
        moved: True when the pages did not stay in place, so that an absence proves nothing and the next run reads
            again.
        walked: True when the pages were in the source's own order, so that an absent row may have hidden between two.
        accept_vanished: delete vanished rows whatever their share.
        stream: the records' way into the destination while they were read; belongs to the destination.
        absent: columns whose field no record had.
        spooled: Parquet file with all good records.
        is_staged: the good records are in staging.
        declared_columns: the columns as the catalog has them, where masks make others of them.
        masks: what the catalog keeps of the masks that the records were written with.
        released: quarantined records that this run brings in, instead of reading the source.
        details: goes to `bridge.sync_runs.details` with what the publish adds.
        errors: what went wrong inside dlt's workers, first cause first.
        seen: highest rowversion read, which later ones are compared with; None = nothing was read.
        seen_is_sure: False when no later rowversion can be told from it.
        next_due_seconds, next_due_reason: how long after the publish the entity is due again, and why.
        allowed_nulls: columns from which the publish took NOT NULL.
        notes: warnings of the publish.
        lease: by which a sensor took the entity for this run; it ends with it.
        destination: the `destinations.destination.Destination` that publishes.
        limits: how many rejected records a successful run may have.
        known_rejects: rejected records that lay in quarantine before; set by the publish step.
        originals: records as they were sent, of those that the database itself may refuse.
    """

    entity: Entity
    run_uid: UUID
    mode: Mode
    bridge_schema: str
    cursor: str | None
    codec: Codec | None
    marks: tuple[CursorMark, ...]
    fetched: int = 0
    reread: int = 0
    rejected: int = 0
    copy_rejected: int = 0
    keyset: bool = True
    in_order: bool = True
    moved: bool = False
    walked: bool = False
    accept_vanished: bool = False
    absent: frozenset[str] = frozenset()
    stream: Any = None
    spooled: Path | None = None
    is_staged: bool = False
    declared_columns: tuple[Column, ...] = ()
    masks: dict[str, str] = field(default_factory=dict)
    released: tuple[UUID, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    seen: str | None = None
    seen_is_sure: bool = False
    next_due_seconds: float = 0.0
    next_due_reason: str = "interval"
    lease: UUID | None = None
    outcome: Outcome | None = None
    allowed_nulls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    destination: Any = None
    limits: RejectionLimits = RejectionLimits()
    known_rejects: int = 0
    originals: Originals = field(default_factory=Originals)

    def finished(
        self, ledger: Ledger, row_count: int, *, missing: int = 0, held: int = 0, live_before: int = 0
    ) -> Outcome:
        """What the run did, with the verdict on it."""
        verdict = plan_verdict(
            self.entity,
            self.run_uid,
            ledger,
            self.mode,
            self.limits,
            # A release is about records that lie in quarantine: one that is refused again is rejected.
            known_rejects=0 if self.released else self.known_rejects,
            row_count=row_count,
            held_deletions=held,
            live_before=live_before,
        )
        return Outcome(ledger, row_count, missing, held, verdict, self.allowed_nulls, self.notes)

    @property
    def can_hide_rows(self) -> bool:
        """A row may have hidden between two pages while others were deleted: its absence needs a second read."""
        return self.walked or not self.keyset or not self.in_order


_plans: dict[str, PublishPlan] = {}
_lock = threading.Lock()


@contextmanager
def publishing(name: str, plan: PublishPlan) -> Iterator[None]:
    """Make `plan` the one that the destination finds under the dlt schema `name`."""
    with _lock:
        if name in _plans:
            raise RuntimeError(f"two loads of {plan.entity.path} in one process")
        _plans[name] = plan
    try:
        yield
    finally:
        with _lock:
            del _plans[name]


def plan_of(name: str) -> PublishPlan:
    """The plan registered for a dlt schema."""
    with _lock:
        return _plans[name]
