"""The seam between a run and the place where its rows go; one module a destination beside this one.

The catalog (cursor, runs, quarantine, absences) is in PostgreSQL whatever the destination is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import pyarrow as pa

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.gate.masks import Masks
from sync_pipelines.load.plan import Outcome, PublishPlan
from sync_pipelines.model.entity import Column, Connector, Entity
from sync_pipelines.model.run import Ledger

if TYPE_CHECKING:
    from sync_pipelines.load.postgres.stream import RecordStream


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did to the table in words, whether the table is empty, which optional columns of ours it has, and how many letters
    a record must have for the destination to be able to refuse its row later; None where it refuses none.
    """

    changes: tuple[str, ...]
    is_empty: bool
    own_columns: frozenset[str] = frozenset()
    original_characters: int | None = None


@dataclass(frozen=True)
class Remask:
    """Columns of which everything that is stored must go before the table is read anew.

    Attributes:
        masks: of the entity.
        names: columns whose masks are new or changed.
        bridge_schema: the catalog, where quarantine is.
    """

    masks: Masks
    names: frozenset[str]
    bridge_schema: str

    def columns(self, there: Collection[str]) -> list[Column]:
        """Those of the columns that a table has, by their names in it."""
        return [one for one in self.masks.entity.columns if one.name in self.names and one.target_name in there]

    def refused_key(self, key: Column) -> ConfigurationError:
        """Rows cannot be found again under another key."""
        entity = self.masks.entity
        return ConfigurationError(
            f"The business key {key.name} is to be hashed in another way than in the rows of {entity.table} that are there.",
            where=dict(entity.where),
            next_command=f"empty or rename the table {entity.table}, then sync-pipelines sync {entity.path} --full-refresh",
        )


class Destination(Protocol):
    """What a run asks of the place where its rows go."""

    def prepare(self, entity: Entity, *, rebuild: bool, remask: Remask | None = None) -> Prepared:
        """Bring target and staging into shape before any data moves; one process at a time per schema.

        Args:
            entity: as its table is to be; optional columns of ours that the table has are kept.
            rebuild: everything is read again.
            remask: what to take out of table and quarantine first.

        Raises:
            SchemaDriftError: the table cannot follow its source without loss.
            ConfigurationError: a business key is to be masked under rows that are there.
        """

    def pipeline_target(self, entity: Entity) -> tuple[Any, str]:
        """dlt's destination and the name of its dataset."""

    def open_stream(self, entity: Entity, *, fills_empty: bool, first_rows: int) -> RecordStream | None:
        """A way for the good records while they are read; None where they wait for the publish step.

        Args:
            entity: whose records.
            fills_empty: the target holds no row.
            first_rows: records in the first batch.
        """

    def publish_nothing(self, plan: PublishPlan) -> Outcome:
        """Publish a full read that brought no record: rows may have vanished."""

    def all_unchanged(self, plan: PublishPlan, batch: pa.Table) -> Ledger | None:
        """The ledger of a small batch whose every record stands in the table as it is; None when one does not."""

    def accept_review(
        self, connection: psycopg.Connection[Any], entity: Entity, key: Sequence[str], content_hash: str
    ) -> None:
        """Take the flag off a row that has this content still.

        Args:
            connection: of the catalog, with an open transaction.
            entity: whose row.
            key: the row's business key as `bridge.reviews` has it.
            content_hash: the hash of the content that was accepted.
        """

    def duplicate_keys(self, entity: Entity) -> int:
        """Business keys that stand more than once in the table."""

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table, so that a new one can take the name; returns the new name, None without a table."""

    def table_name(self, entity: Entity) -> str:
        """The table with everything that names it, for people and metadata."""


def open_destination(database: Database, connector: Connector, entity: Entity) -> Destination:
    """The destination of an entity.

    Raises:
        SettingsError: its connection is not configured.
    """
    if entity.destination == "trino":
        from sync_pipelines.load.trino.destination import TrinoDestination

        return TrinoDestination(database, connector)
    from sync_pipelines.load.postgres.route import PostgresDestination

    return PostgresDestination(database)
