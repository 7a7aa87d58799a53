"""PostgreSQL before any connection: tables are beside the catalog, so there is nothing to configure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.destinations.kind import NOTHING_PUBLISHED, Address, Upkeep
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.types import ColumnType


class PostgresKind:
    """See `destinations.kind.DestinationKind`."""

    name = "postgres"
    options: tuple[str, ...] = ()
    interrupted = NOTHING_PUBLISHED
    settings_hint = None
    maintenance_cron = None

    def open(self, database: Database, connector: Connector) -> Destination:
        """The tables beside the catalog."""
        # What only other destinations use is not imported for one that is merely looked at.
        from sync_pipelines.destinations.postgres.adapter import PostgresDestination

        return PostgresDestination(database)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """There are none."""
        if options:
            raise SettingsError("PostgreSQL takes no options: tables are beside the catalog.")

    def addresses(
        self,
        options: Mapping[str, Any],
        secrets: Iterable[tuple[str, str]],
    ) -> Iterable[Address]:
        """None beside the catalog's own."""
        return ()

    def files(self, options: Mapping[str, Any]) -> Iterable[Address]:
        """None."""
        return ()

    def column_type(self, column_type: ColumnType) -> str:
        """The declared type's image in PostgreSQL."""
        return column_type.sql

    def table_name(
        self,
        entity: Entity,
        database_name: str,
        options: Mapping[str, Any],
    ) -> str:
        """database.schema.table."""
        return f"{database_name}.{entity.table}"

    def storage_kinds(self, options: Mapping[str, Any]) -> set[str]:
        """A table of PostgreSQL."""
        return {"postgres"}

    def maintain(
        self,
        database: Database,
        entity: Entity,
        wait_seconds: float,
    ) -> Upkeep | None:
        """Autovacuum does it."""
        return None


KIND = PostgresKind()
