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
        records = {counter.name: run[f"records_{counter.name}"] for counter in fields(cls) if counter.name != "deleted"}
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


def check_stage(stage: str, came_in: int, went_out: int) -> None:
    """Compare two independent counts of one stage.

    Raises:
        LedgerError: names the stage that lost count.
    """
    if came_in != went_out:
        raise LedgerError(
            f"The stage {stage!r} lost count: {came_in} records came in, {went_out} are accounted for. "
            "No cause outside of sync_pipelines was found; please report it with the run."
        )


@dataclass(frozen=True)
class RunResult:
    """What a finished run tells the asset, the command line and `bridge.sync_runs`.

    Attributes:
        stage_seconds: seconds by stage (extract, load, publish).
        undeclared: names of fields that records carried but the API does not declare.
        gate: verdicts of the entity's gate: passed, reviewed, rejected, waived, failed by rule, decided by rule of the table; empty without one.
        columns: the table's columns, masks applied.
        quarantine_sample: up to 20 of the run's quarantined records as {page, key, column, reason}.
        storage: what the destination tells of the commit: snapshot_id, data_files, delete_files, …
        metrics: figures under the names that a connector's file asks for.
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

    @property
    def rows_per_second(self) -> float:
        """Fetched records per second of the whole run."""
        return self.ledger.fetched / self.duration_seconds if self.duration_seconds > 0 else 0.0
