"""A condition is what is wrong at this moment; an incident is a condition from its beginning to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class IncidentKind(StrEnum):
    """What can be wrong; `docs/alerts.md` says what to do about each."""

    CONSECUTIVE_FAILURES = "consecutive_failures"
    RUN_DURATION = "run_duration"
    FAILURE_RATE = "failure_rate"
    SLOW_SOURCE = "slow_source"
    REJECTION_RATE = "rejection_rate"
    SOURCE_UNREACHABLE = "source_unreachable"
    DATABASE_CONNECTIONS = "database_connections"
    DATABASE_UNAVAILABLE = "database_unavailable"
    ACTION_REQUIRED = "action_required"
    FRESHNESS = "freshness"
    RUN_FAILED = "run_failed"
    DAGSTER_SILENT = "dagster_silent"


TITLES = {
    IncidentKind.CONSECUTIVE_FAILURES: "Syncs fail again and again",
    IncidentKind.RUN_DURATION: "A sync takes too long",
    IncidentKind.FAILURE_RATE: "Many syncs fail",
    IncidentKind.SLOW_SOURCE: "The source answers slowly",
    IncidentKind.REJECTION_RATE: "Many records are rejected",
    IncidentKind.SOURCE_UNREACHABLE: "The source is unreachable",
    IncidentKind.DATABASE_CONNECTIONS: "The database is out of connections",
    IncidentKind.DATABASE_UNAVAILABLE: "The database is unavailable",
    IncidentKind.ACTION_REQUIRED: "Somebody has to decide",
    IncidentKind.FRESHNESS: "A table is not fresh",
    IncidentKind.DAGSTER_SILENT: "Dagster is not heard of any more",
    IncidentKind.RUN_FAILED: "A run in Dagster failed",
}

# These end when a later run succeeds, as Dagster reports; that they are not seen any more means nothing.
STICKY = frozenset({IncidentKind.RUN_FAILED})
DATABASE = "database"
DAGSTER = "dagster"


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        subject: what it is about: `connector`, `connector/entity`, a job's name, `database` or `dagster`.
        message: one sentence with the numbers.
        next_command: what to type first.
        details: the same as data, JSON-ready.
    """

    kind: IncidentKind
    subject: str
    message: str
    next_command: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What makes two conditions the same incident."""
        return self.kind, self.subject

    @property
    def connector(self) -> str:
        """The connector of an entity's or connector's condition."""
        return self.subject.partition("/")[0]


@dataclass(frozen=True)
class Incident:
    """A row of `bridge.incidents`; `quiet_since` is when its condition was first found gone."""

    uid: UUID
    kind: IncidentKind
    subject: str
    message: str
    next_command: str | None
    details: dict[str, Any]
    opened_at: datetime
    last_seen_at: datetime
    quiet_since: datetime | None
    closed_at: datetime | None

    @property
    def key(self) -> tuple[str, str]:
        """What makes a condition this incident."""
        return self.kind, self.subject

    @property
    def title(self) -> str:
        """The kind in words."""
        return TITLES[self.kind]


@dataclass(frozen=True)
class Webhook:
    """A receiver of messages.

    Attributes:
        url: an address, or a reference (`env:NAME`) where the address itself is a secret.
        secret: the reference to the key that signs.
        kinds: only these kinds of incident; None = all.
        private_origins: where it may be although that is not a public address.
    """

    uid: UUID
    name: str
    url: str
    secret: str
    kinds: tuple[IncidentKind, ...] | None
    is_active: bool
    private_origins: tuple[str, ...] = ()
