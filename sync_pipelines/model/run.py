"""A run is one sync of one entity; its ledger says where every fetched record ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sync_pipelines.errors import LedgerError
from sync_pipelines.model.entity import Column


class Mode(StrEnum):
    """Whether a run reads everything or only what is newer than the cursor."""

    FULL = "full"
    DELTA = "delta"


class RunStatus(StrEnum):
    """The status of a run; the ledger, the command line and Dagster use the same words.

    SUCCESS, REJECTED and INCOMPLETE are published: rows, ledger and cursor are written. REJECTED has too many records
    in quarantine, INCOMPLETE holds something back (`bridge.sync_runs.error_message` says what). An id list of which too
    little came back is INCOMPLETE, too, with nothing published. FAILED and CANCELLED publish nothing.
    """

    RUNNING = "running"
    SUCCESS = "success"
    REJECTED = "rejected"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ended so: 0, 1, or 3 where somebody must act."""
        match self:
            case RunStatus.SUCCESS:
                return 0
            case RunStatus.REJECTED | RunStatus.INCOMPLETE:
                return 3
        return 1


PUBLISHED = (RunStatus.SUCCESS, RunStatus.REJECTED, RunStatus.INCOMPLETE)


def is_published(run: Mapping[str, Any]) -> bool:
    """Whether a row of `bridge.sync_runs` wrote its records and its ledger."""
    return run["status"] in PUBLISHED and "row_count" in (run["details"] or {})


@dataclass(frozen=True)
class Ledger:
    """Where the records of a run ended. `deleted` are rows of the table, not records, and not in the sum."""

    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    quarantined: int = 0
    deleted: int = 0

    @classmethod
    def of_row(cls, run: Mapping[str, Any]) -> Ledger:
        """The counters of a row of `bridge.sync_runs`."""
        records = {
            counter.name: run[f"records_{counter.name}"]
            for counter in fields(cls)
            if counter.name != "deleted"
        }
        return cls(**records, deleted=run["rows_deleted"])

    @property
    def accounted(self) -> int:
        """Records with a known end."""
        return self.inserted + self.updated + self.unchanged + self.superseded + self.quarantined

    @property
    def balances(self) -> bool:
        """fetched = inserted + updated + unchanged + superseded + quarantined."""
        return self.fetched == self.accounted

    @property
    def judged(self) -> int:
        """Different records that were good or bad: without second readings and older versions."""
        return self.accounted - self.superseded

    @property
    def rejected_share(self) -> float:
        """Share of the judged records that went to quarantine; 0 when there were none."""
        return self.quarantined / self.judged if self.judged else 0.0

    @property
    def good(self) -> int:
        """Different records that the table has as they came."""
        return self.judged - self.quarantined

    @property
    def written(self) -> int:
        """Rows that the run changed in the table."""
        return self.inserted + self.updated + self.deleted

    def as_dict(self) -> dict[str, int]:
        """Counters by name, in the order of the balance sheet."""
        return {
            "fetched": self.fetched,
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "superseded": self.superseded,
            "quarantined": self.quarantined,
            "deleted": self.deleted,
        }


def check_stage(
    stage: str,
    came_in: int,
    went_out: int,
) -> None:
    """Compare two independent counts of one stage.

    Raises:
        LedgerError: names the stage that lost count.
    """
    if came_in != went_out:
        counts = f"The stage {stage!r} lost count: {came_in} records came in, {went_out} are accounted for."
        advice = "No cause outside of sync_pipelines was found; please report it with the run."
        raise LedgerError(f"{counts} {advice}", counts=counts)


@dataclass(frozen=True)
class RunResult:
    """What a finished run hands to the asset, the command line and `bridge.sync_runs`.

    Attributes:
        stage_seconds: seconds by stage (read, publish).
        undeclared: names of fields that records carried but the API does not declare.
        gate: verdicts of the entity's gate: passed, reviewed, rejected, waived, failed by rule, decided by rule of the
            table; empty without one.
        columns: the table's columns, masks applied.
        quarantine_sample: up to 20 of the run's quarantined records as {page, key, column, reason}.
        storage: what the destination reports of the commit: snapshot_id, data_files, delete_files, …
        metrics: figures under the names that a connector's file asks for.
        coerced: values that were cut or left out because a person allows it, by column.
        status: SUCCESS, REJECTED or INCOMPLETE.
        status_reason: why it is no success, in one sentence.
        next_command: the way out of that.
        held_deletions: rows that a full read missed and that stay until somebody accepts that they vanished.
    """

    uid: UUID
    connector: str
    slug: str
    mode: Mode
    ledger: Ledger
    started_at: datetime
    duration_seconds: float
    table: str
    row_count: int
    rowversion_start: str | None = None
    rowversion_end: str | None = None
    pages: int = 0
    requests: int = 0
    bytes_wire: int = 0
    api_seconds_p95: float = 0.0
    api_seconds_max: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    undeclared: tuple[str, ...] = ()
    table_changes: tuple[str, ...] = ()
    quarantine_sample: tuple[dict[str, Any], ...] = ()
    duplicate_keys: int = 0
    gate: dict[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    warnings: tuple[str, ...] = ()
    storage: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    coerced: dict[str, int] = field(default_factory=dict)
    status: RunStatus = RunStatus.SUCCESS
    status_reason: str | None = None
    next_command: str | None = None
    held_deletions: int = 0

    @property
    def rows_per_second(self) -> float:
        """Fetched records per second of the whole run."""
        return self.ledger.fetched / self.duration_seconds if self.duration_seconds > 0 else 0.0
