"""A destination of dlt before any connection: its credentials, and how its table is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.destinations.kind import Address, Upkeep, rows_before_books
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.types import ColumnType, Kind
from sync_pipelines.secrets import printable, resolve_secret

CREDENTIALS = "credentials"
_TYPES = {
    Kind.TEXT: "varchar",
    Kind.REAL: "double",
    Kind.DOUBLE: "double",
    Kind.TIMESTAMP: "timestamp",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.TIME: "time",
    Kind.UUID: "varchar",
    Kind.JSON: "varchar",
    Kind.BYTES: "blob",
}


class DltKind:
    """See `destinations.kind.DestinationKind`.

    Attributes:
        name: of the destination, as dlt and `entities.destination` have it.
    """

    options = (CREDENTIALS,)
    interrupted = rows_before_books("Rows that dlt had loaded")
    settings_hint = "sync-pipelines connector add … --destination-option credentials=…"
    maintenance_cron = None

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, database: Database, connector: Connector) -> Destination:
        """The destination with the connector's credentials.

        Raises:
            SettingsError: there are none.
            SecretMissingError: a reference resolves to nothing.
        """
        # dlt takes a third of a second to import.
        from sync_pipelines.destinations.anydlt.adapter import DltDestination

        return DltDestination(
            database,
            self.name,
            self.credentials(connector.destination_settings),
            self.column_type,
        )

    def credentials(self, options: Mapping[str, Any]) -> str:
        """What dlt takes as credentials, for duckdb the path of a file; a reference is resolved.

        Raises:
            SettingsError: there are none.
            SecretMissingError: a reference resolves to nothing.
        """
        given = str(options.get(CREDENTIALS) or "")
        if not given:
            raise SettingsError(
                f"The destination {self.name!r} has no credentials.",
                state="Nothing was changed.",
                next_command=self.settings_hint,
            )
        if given.startswith(("env:", "file:")):
            return resolve_secret(given) or ""
        return given

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse anything but credentials."""
        unknown = sorted(options.keys() - {CREDENTIALS})
        if unknown:
            raise SettingsError(
                f"{self.name} takes no option {printable(unknown[0], 60)!r}; known: {CREDENTIALS}.",
                state="Nothing was stored.",
            )
        given = options.get(CREDENTIALS, "")
        if not isinstance(given, str) or "://" in given or given.startswith("md:"):
            raise SettingsError(
                f"The credentials of {self.name} are the path of a file; an address, which may hold a secret, is"
                " given as a reference such as env:NAME.",
                state="Nothing was stored.",
            )

    def addresses(
        self,
        options: Mapping[str, Any],
        secrets: Iterable[tuple[str, str]],
    ) -> Iterable[Address]:
        """Where rows go; only a reference may be shown of what may be a secret."""
        given = str(options.get(CREDENTIALS) or "no credentials")
        yield Address(
            given if given.startswith("env:") else self.name,
            f"{self.name}, written by dlt",
        )

    def files(self, options: Mapping[str, Any]) -> Iterable[Address]:
        """The database file."""
        given = str(options.get(CREDENTIALS) or "")
        if given and "://" not in given and not given.startswith("env:"):
            yield Address(given, f"rows are written to it by dlt, as {self.name}")

    def column_type(self, column_type: ColumnType) -> str:
        """The type that dlt makes of it."""
        if column_type.is_number_text:
            return "varchar"
        return _TYPES.get(column_type.kind, column_type.sql)

    def table_name(
        self,
        entity: Entity,
        database_name: str,
        options: Mapping[str, Any],
    ) -> str:
        """schema.table: what the database is called only its credentials say."""
        return entity.table

    def storage_kinds(self, options: Mapping[str, Any]) -> set[str]:
        """The destination, by way of dlt."""
        return {self.name, "dlt"}

    def maintain(
        self,
        database: Database,
        entity: Entity,
        wait_seconds: float,
    ) -> Upkeep | None:
        """None is needed."""
        return None


DUCKDB = DltKind("duckdb")
