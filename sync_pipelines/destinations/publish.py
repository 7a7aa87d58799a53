"""The one sequence of a publish: fence, stage, compare, settle, write, count again, close.

Every count is taken twice, by independent statements, and compared. What differs between destinations is a `Table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sync_pipelines.books.close import close_books
from sync_pipelines.books.rejects import (
    count_known_rejects,
    count_rejects,
    move_rejects,
    settle_released,
    settle_vanished,
)
from sync_pipelines.destinations.vanished import VanishPlan
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult, judge_run
from sync_pipelines.model.run import Ledger, Mode, check_stage
from sync_pipelines.model.verdict import Verdict


@dataclass(frozen=True)
class Arrived:
    """Good records that the destination counted, and those that it refused itself; these are among the rejects now."""

    records: int
    refused: int = 0


@dataclass(frozen=True)
class Compared:
    """How the newest record of each key compares with the table, and how many older ones there were."""

    counts: Counts
    superseded: int = 0


@dataclass(frozen=True)
class Written:
    """What a write did.

    Attributes:
        counts: by which it wrote; a conflict with another writer makes everything be compared again.
        vanished: what became of the live rows that a full read missed.
        live_before: live rows that a full read was compared with.
        allowed_nulls: columns that lost NOT NULL.
        details: of the write, for `bridge.sync_runs.details`.
    """

    counts: Counts
    vanished: VanishPlan = VanishPlan()
    live_before: int = 0
    allowed_nulls: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gained(self) -> int:
        """Live rows that the write added; negative where it deleted more."""
        return self.counts.new + self.counts.returned - self.vanished.deleted


@dataclass(frozen=True)
class Rejects:
    """Rejected records of a run: every reading of each, different ones, and those that were in quarantine before."""

    readings: int
    different: int
    known: int


class Table(Protocol):
    """The target of one publish, with its staged records."""

    @property
    def knows_row_count(self) -> bool:
        """The entity's row count is that of the table before this run."""

    def count_staged(self) -> Arrived:
        """Count the good records where they are staged."""

    def compare(self) -> Compared:
        """Compare the newest record of each key with its row.

        Raises:
            CursorProtocolError: a record contradicts the order of its row.
            SourceContractError: the run would empty a column.
        """

    def settle_superseded(self) -> None:
        """Settle what is in quarantine by the good records of the same keys."""

    def write(self, counts: Counts) -> Written:
        """Write what differs, delete what vanished within its share, and bring reviews to what the table holds then."""

    def mark_rejected(self) -> tuple[int, tuple[str, ...]]:
        """Mark rows whose newest record was rejected; returns how many, and a note on those that cannot be."""

    def count_rows(self) -> int:
        """Count the live rows of the table itself, after the write."""

    def deliver(self) -> None:
        """Send on what was written only near the catalog; the last step before the books are closed."""

    def leave(self, rejected: int) -> None:
        """Remember absences, and leave nothing of the records in staging."""


def publish_table(
    table: Table,
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
) -> Publication:
    """Publish what is staged.

    Args:
        table: its target.
        cursor: of the transaction that holds the fence; rejects are staged in it.
        request: of the run.
        read: of the run.

    Raises:
        LedgerError: two counts of a stage differ.
    """
    arrived = table.count_staged()
    rejects = _count_rejects(cursor, request)
    came = read.reread + arrived.records + rejects.readings
    check_stage("load", read.fetched, came)
    check_stage("quarantine", read.rejected + arrived.refused, rejects.readings)
    compared = table.compare()
    newest = arrived.records - compared.superseded
    check_stage("compare", newest, compared.counts.staged)
    check_stage("quarantine", rejects.different, move_rejects(cursor, request))
    settle_released(cursor, request)
    table.settle_superseded()
    written = table.write(compared.counts)
    marked, notes = table.mark_rejected() if rejects.different else (0, ())
    row_count = _row_count(table, request, written)
    table.deliver()
    ledger = _ledger(read, compared, rejects, written)
    publication = Publication(
        ledger,
        row_count,
        missing=written.vanished.missing,
        held=written.vanished.held,
        verdict=_judge(request, ledger, row_count, rejects, written),
        allowed_nulls=written.allowed_nulls,
        notes=notes,
        details={**written.details, "known_rejects": rejects.known, "marked_rejected": marked},
    )
    settle_vanished(cursor, request, read, publication)
    close_books(cursor, request, read, publication)
    table.leave(rejects.readings)
    return publication


def _count_rejects(cursor: Any, request: PublishRequest) -> Rejects:
    """Count the staged rejects; to be asked before they are moved into quarantine."""
    readings, different = count_rejects(cursor, request)
    known = count_known_rejects(cursor, request) if different else 0
    return Rejects(readings, different, known)


def _ledger(
    read: ReadResult,
    compared: Compared,
    rejects: Rejects,
    written: Written,
) -> Ledger:
    counts = written.counts
    rejected_again = rejects.readings - rejects.different
    superseded = read.reread + compared.superseded + counts.stale + rejected_again
    return Ledger(
        fetched=read.fetched,
        inserted=counts.new,
        updated=counts.changed + counts.returned,
        unchanged=counts.same + counts.touched,
        superseded=superseded,
        quarantined=rejects.different,
        deleted=written.vanished.deleted,
    )


def _judge(
    request: PublishRequest,
    ledger: Ledger,
    row_count: int,
    rejects: Rejects,
    written: Written,
) -> Verdict:
    return judge_run(
        request,
        ledger,
        row_count,
        known_rejects=rejects.known,
        held=written.vanished.held,
        live_before=written.live_before,
    )


def _row_count(table: Table, request: PublishRequest, written: Written) -> int:
    """Live rows after the write: carried forward by a delta where the books know them.

    After a full read they are counted in the table itself: somebody else may have written into it meanwhile.
    """
    known = request.entity.position.row_count
    if request.mode is Mode.DELTA and known is not None and table.knows_row_count:
        return known + written.gained
    row_count = table.count_rows()
    if request.mode is Mode.FULL:
        check_stage("rows", written.live_before + written.gained, row_count)
    return row_count
