"""A connector is one source instance, an entity is one API of it and becomes one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any
from uuid import UUID

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.cursor_plan import CursorMark
from sync_pipelines.model.names import check_column_names, shorten_identifier
from sync_pipelines.model.types import ColumnType, Kind, parse_type

MAX_COLUMNS = 1590  # PostgreSQL's limit is 1600; seven are ours
DEFAULT_LOOKBACK_SECONDS = 60
JSON_HASH_VERSION = "canonical-1"  # of `batches.canonical`; another spelling needs another version

BRIDGE_COLUMNS = {
    "_bridge_id": "_bridge_id uuid NOT NULL DEFAULT gen_random_uuid()",
    "_bridge_created_at": "_bridge_created_at timestamptz NOT NULL DEFAULT now()",
    "_bridge_updated_at": "_bridge_updated_at timestamptz NOT NULL DEFAULT now()",
    "_bridge_hash": "_bridge_hash text NOT NULL",
    "_bridge_deleted": "_bridge_deleted boolean NOT NULL DEFAULT false",
    "_bridge_rowversion": '_bridge_rowversion text COLLATE "C"',
}

REVIEW_COLUMN = "_bridge_review"  # only where a gate can flag records for review
COERCED_COLUMN = "_bridge_coerced"  # only where a person let a column be coerced
REJECTED_COLUMN = "_bridge_rejected_at"  # only where a row's record was rejected once
OPTIONAL_COLUMNS = {REVIEW_COLUMN: "text", COERCED_COLUMN: "text", REJECTED_COLUMN: "timestamptz"}
_FLAGS = {"review": REVIEW_COLUMN, "coerced": COERCED_COLUMN}


class DeltaStrategy(StrEnum):
    """How changes are found (SyncFlow, `delta_strategy`)."""

    FULL = "full"
    ROWVERSION = "rowversion"
    HASH = "hash"


class EntityStatus(StrEnum):
    """Whether an entity may be synced."""

    ACTIVE = "active"
    ACTION_REQUIRED = "action_required"
    VANISHED = "vanished"


@dataclass(frozen=True)
class Column:
    """One declared column of an API, and its image in the table.

    Attributes:
        coerce: what a person allows where a value does not fit: words of `batches.coercion`, none by default.
    """

    name: str
    data_type: str
    is_nullable: bool = True
    is_business_key: bool = False
    coerce: str = ""

    @cached_property
    def type(self) -> ColumnType:
        """The parsed declared type."""
        return parse_type(self.data_type)

    @property
    def target_name(self) -> str:
        """The column's name in the table: as declared, hashed beyond 63 bytes."""
        return shorten_identifier(self.name)

    def as_json(self) -> dict[str, Any]:
        """The column as SyncFlow stores it in `bridge.entities.columns`."""
        return {
            "name": self.name,
            "data_type": self.data_type,
            "is_nullable": self.is_nullable,
            "is_business_key": self.is_business_key,
            **({"coerce": self.coerce} if self.coerce else {}),
        }


@dataclass(frozen=True)
class Connector:
    """One source instance.

    Attributes:
        auth_token: a reference (`env:NAME`), never the secret itself.
        kind: `apismith`, or `rest` and `openapi` with a `declaration` (`model.declaration.Declaration` as JSON).
        settings: per-connector limits, see `model.limits`.
        sync_cron, full_refresh_cron, discovery_cron, time_zone: None = the process's default, `off` = none; see
            `schedule.cron`.
        probe_changes: look at the source between the intervals.
        destination: where newly discovered entities go, a name of `destinations.registry`.
        destination_settings: how it is reached, see `destinations.trino.options.TrinoOptions`; secrets as references.
        agreed: which secret may go where and which addresses need not be public (`network.outbound`); None = not from
            the catalog: what it names itself.
    """

    uid: UUID
    name: str
    base_url: str
    auth_token: str | None
    target_schema: str
    is_active: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    destination: str = "postgres"
    destination_settings: dict[str, Any] = field(default_factory=dict)
    last_discovered_at: datetime | None = None
    last_discovery_error: str | None = None
    sync_cron: str | None = None
    full_refresh_cron: str | None = None
    discovery_cron: str | None = None
    time_zone: str | None = None
    probe_changes: bool = True
    kind: str = "apismith"
    declaration: dict[str, Any] | None = None
    agreed: dict[str, Any] | None = None


@dataclass(frozen=True)
class SyncPolicy:
    """How an entity is synced; a person may change each of these.

    Attributes:
        page_size: records a page; None = the size that the endpoint declares, else MAX_PAGE_SIZE of the settings.
        max_vanished_share: the largest share of live rows that one full read may delete.
    """

    sync_enabled: bool = True
    sync_interval_seconds: int = 300
    page_size: int | None = None
    lookback_seconds: int = DEFAULT_LOOKBACK_SECONDS
    max_vanished_share: float = 0.5


@dataclass(frozen=True)
class Position:
    """How far the table has followed the source.

    Attributes:
        cursor_codec: the order of the rowversions; None = not known yet.
        cursor: where the next delta starts: it asks for greater rowversions. It stays behind the highest published one
            by the lookback and the last group of equal rowversions, see `model.cursor_plan`.
        seen_rowversion: the highest rowversion that a read has seen; a change probe asks for greater ones.
        stored_masks: the masks that the table was last written with, by column.
        held_deletions: rows that the last full read missed and that nobody has accepted as vanished.
        own_columns: which of OPTIONAL_COLUMNS the table has, or gets.
    """

    cursor_codec: Codec | None = None
    cursor: str | None = None
    cursor_marks: tuple[CursorMark, ...] = ()
    seen_rowversion: str | None = None
    full_refresh_pending: bool = False
    row_count: int | None = None
    stored_masks: dict[str, str] = field(default_factory=dict)
    held_deletions: int = 0
    own_columns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Timeline:
    """When an entity was synced, how that ended, and when it is due next."""

    last_sync_at: datetime | None = None
    last_sync_status: str | None = None
    last_success_at: datetime | None = None
    consecutive_failures: int = 0
    next_due_at: datetime | None = None
    due_reason: str = ""


@dataclass(frozen=True)
class EntityDefinition:
    """One API of a connector and its table.

    Discovery or a connector file describes the API, its columns and its strategy.

    Attributes:
        uid: of the row in `bridge.entities`.
        destination: where the table is, a name of `destinations.registry`; the connector's unless a person chose one.
        status: whether it may be synced; discovery sets it.
        status_reason: why it may not, None while it may.
    """

    uid: UUID
    connector: str
    slug: str
    api_name: str
    description: str
    delta_strategy: DeltaStrategy
    columns: tuple[Column, ...]
    target_schema: str
    target_table: str
    destination: str = "postgres"
    status: EntityStatus = EntityStatus.ACTIVE
    status_reason: str | None = None

    @property
    def path(self) -> str:
        """The entity as a person types it: `connector/slug`."""
        return f"{self.connector}/{self.slug}"

    @property
    def where(self) -> dict[str, str]:
        """Place for error messages."""
        return {"connector": self.connector, "entity": self.slug}

    @cached_property
    def business_keys(self) -> tuple[Column, ...]:
        """The key columns in declared order."""
        return tuple(column for column in self.columns if column.is_business_key)

    @property
    def coerced(self) -> tuple[Column, ...]:
        """The columns that a person let be coerced."""
        return tuple(column for column in self.columns if column.coerce)

    @property
    def staging_schema(self) -> str:
        """The schema of the entity's staging tables."""
        return staging_schema(self.target_schema)

    @property
    def records_table(self) -> str:
        """The staging table of the good records."""
        return shorten_identifier(f"{self.target_table}__records")

    @property
    def rejects_table(self) -> str:
        """The staging table of the records that go to quarantine."""
        return shorten_identifier(f"{self.target_table}__rejects")

    @property
    def table(self) -> str:
        """The target table as a person reads it."""
        return f"{self.target_schema}.{self.target_table}"

    @cached_property
    def columns_fingerprint(self) -> str:
        """Eight hex digits that change when names or types of the columns change, or how their content is hashed."""
        return fingerprint([(column.name, _hashed_as(column)) for column in self.columns])

    @cached_property
    def code_version(self) -> str:
        """Changes when anything changes that decides what the table looks like."""
        return fingerprint([self.delta_strategy, *(column.as_json() for column in self.columns)])


@dataclass(frozen=True)
class Entity(EntityDefinition):
    """A definition with how it is synced, how far it is, and how its syncs went."""

    policy: SyncPolicy = SyncPolicy()
    position: Position = Position()
    timeline: Timeline = Timeline()

    @property
    def has_review(self) -> bool:
        """The table has the column `_bridge_review`."""
        return REVIEW_COLUMN in self.position.own_columns

    @property
    def has_rejected(self) -> bool:
        """The table has the column `_bridge_rejected_at`."""
        return REJECTED_COLUMN in self.position.own_columns

    @property
    def flags(self) -> dict[str, str]:
        """What staged records carry for columns of ours: name in staging -> column of the table."""
        return {
            name: column for name, column in _FLAGS.items() if column in self.position.own_columns
        }

    def with_own_columns(self, own_columns: Iterable[str]) -> Entity:
        """The entity whose table has, or gets, these of OPTIONAL_COLUMNS."""
        return replace(self, position=replace(self.position, own_columns=frozenset(own_columns)))

    def masked_columns(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Columns of the table under the masks last written: without dropped columns, other masked columns as text."""
        kept = (
            column for column in columns if self.position.stored_masks.get(column.name) != "drop"
        )
        return tuple(
            replace(column, data_type="TEXT")
            if column.name in self.position.stored_masks
            else column
            for column in kept
        )


def _hashed_as(column: Column) -> str:
    """The type of a column with the version of the JSON spelling: rows hashed by another are compared by content."""
    return (
        f"{column.type.sql} {JSON_HASH_VERSION}"
        if column.type.kind is Kind.JSON
        else column.type.sql
    )


def staging_schema(target_schema: str) -> str:
    """The schema that is beside a schema of targets, for what is not yet published."""
    return shorten_identifier(f"{target_schema}_staging")


def fingerprint(parts: Any) -> str:
    """Eight hex digits over JSON-ready data; stable over processes and versions."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]


def check_columns(columns: tuple[Column, ...]) -> None:
    """Refuse a set of columns that cannot be a table with a business key.

    Raises:
        UnknownTypeError: a declared type without exact image.
        EntityDefinitionError: no columns, too many, colliding names, no key, or a key that cannot be compared.
    """
    if not columns:
        raise EntityDefinitionError("The API declares no columns.")
    if len(columns) > MAX_COLUMNS:
        raise EntityDefinitionError(
            f"{len(columns)} columns: PostgreSQL holds at most {MAX_COLUMNS} beside ours."
        )
    check_column_names(column.name for column in columns)
    keys = [column for column in columns if column.is_business_key]
    if not keys:
        raise EntityDefinitionError(
            "The API declares no business key, so no record could be matched to its row."
        )
    for column in columns:
        if column.type.kind is Kind.JSON and column.is_business_key:
            raise EntityDefinitionError(
                f"The business key {column.name!r} is JSON, which has no canonical form."
            )
