"""What the steps of one run share, and its heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.errors import InterruptedRunError
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.bounds import RunBounds
from sync_pipelines.settings import Settings

HEARTBEAT_SECONDS = 1.0


class Heartbeat(Protocol):
    """Shows that a run is alive and how many records it fetched; raises when it shall end."""

    def __call__(self, fetched: int | None = None) -> None:
        """Record progress. Without `fetched`, repeat the last count."""


@dataclass(kw_only=True)
class Run:
    """What the steps of one run share; `entity` is as its table has it, `declared` as the source sends it."""

    database: Database
    destination: Destination
    settings: Settings
    connector: Connector
    entity: Entity
    uid: UUID
    mode: Mode
    started_at: datetime
    started_monotonic: float
    accept_vanished: bool
    heartbeat: Heartbeat
    held: psycopg.Connection[Any]
    lease: UUID | None
    gate: OpenedGate | None = None
    remask: frozenset[str] = frozenset()
    released: dict[UUID, bytes] = field(default_factory=dict)
    table_changes: tuple[str, ...] = ()
    fills_empty: bool = False
    original_characters: int | None = None
    warnings: list[str] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    last_details: dict[str, Any] = field(default_factory=dict)
    asked_for: frozenset[str] = frozenset()
    followed: int = 0
    waits_for: str | None = None

    def __post_init__(self) -> None:
        self.declared = self.entity if self.gate is None else self.gate.entity
        if self.gate is not None:
            self.entity = self.gate.stored_entity

    @cached_property
    def bounds(self) -> RunBounds:
        """What the run may take."""
        return RunBounds.of(self.settings, self.connector)

    @property
    def elapsed_seconds(self) -> float:
        """Since the run was asked for, by the stopwatch."""
        return time.monotonic() - self.started_monotonic


def open_heartbeat(
    connection: psycopg.Connection[Any], uid: UUID, interrupted: Callable[[], bool]
) -> Heartbeat:
    """Write how many records a run fetched, at most once a second; a lost lock connection shows early by it."""
    last, known = time.monotonic(), 0

    def beat(fetched: int | None = None) -> None:
        nonlocal last, known
        known = known if fetched is None else fetched
        if interrupted():
            raise InterruptedRunError(f"The run was cancelled after {known} records.")
        if time.monotonic() - last >= HEARTBEAT_SECONDS:
            last = time.monotonic()
            connection.execute(
                "UPDATE sync_runs SET records_fetched = %s WHERE uid = %s AND status = 'running'",
                [known, uid],
            )

    return beat
