"""Trino before any connection: its options, addresses, types and maintenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.destinations.kind import Address, Upkeep, rows_before_books
from sync_pipelines.destinations.trino.options import (
    TrinoOptions,
    check_connector_options,
    load_trino_settings,
)
from sync_pipelines.destinations.trino.types import iceberg_type
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.types import ColumnType
from sync_pipelines.network.outbound import trino_origin

_STORES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
_FILES = ("certificate", "certificate_key", "verify")


class TrinoKind:
    """See `destinations.kind.DestinationKind`."""

    name = "trino"
    options = tuple(TrinoOptions.model_fields)
    interrupted = rows_before_books("Rows that it had committed to Trino")
    settings_hint = "compare TRINO_… with .env.example"

    @property
    def maintenance_cron(self) -> str:
        """TRINO_MAINTENANCE_CRON."""
        return load_trino_settings().maintenance_cron

    def open(self, database: Database, connector: Connector) -> Destination:
        """The Trino of a connector.

        Raises:
            SettingsError: no Trino is named, or its settings cannot be used.
        """
        # The client is imported only by those who talk to Trino.
        from sync_pipelines.destinations.trino.adapter import TrinoDestination

        return TrinoDestination(database, connector)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse unknown names, wrong values and bare secrets."""
        check_connector_options(dict(options))

    def addresses(
        self,
        options: Mapping[str, Any],
        secrets: Iterable[tuple[str, str]],
    ) -> Iterable[Address]:
        """The coordinator, and where files are staged."""
        origin = trino_origin(options)
        names = sorted(name for name, place in secrets if place == origin)
        if {"host", "port", "scheme", "verify"} & options.keys():
            why = "Trino; no credentials of TRINO_… unless it is the same server, trusted the same way"
        else:
            why = "the Trino of TRINO_HOST, with the credentials of TRINO_…"
        if names:
            why += f"; gets the secret{'s' * (len(names) > 1)} {', '.join(names)}"
        yield Address(
            f"{options.get('host', 'TRINO_HOST')}:{options.get('port', 'TRINO_PORT')}",
            why,
        )
        yield from self._staging(options)

    def _staging(self, options: Mapping[str, Any]) -> Iterable[Address]:
        if options.get("staging_url"):
            stores = ", ".join(_STORES)
            yield Address(
                str(options["staging_url"]),
                f"files for Trino, with the credentials of {stores} where it is s3://",
            )

    def files(self, options: Mapping[str, Any]) -> Iterable[Address]:
        """Certificates."""
        for name in _FILES:
            value = str(options.get(name, ""))
            if value and value.lower() not in ("true", "false"):
                yield Address(value, f"Trino's {name}")

    def column_type(self, column_type: ColumnType) -> str:
        """The declared type's image in Iceberg."""
        return iceberg_type(column_type)

    def table_name(
        self,
        entity: Entity,
        database_name: str,
        options: Mapping[str, Any],
    ) -> str:
        """catalog.schema.table, in lower case."""
        return f"{_catalog(options)}.{entity.table}".lower()

    def storage_kinds(self, options: Mapping[str, Any]) -> set[str]:
        """Hive for a catalog of that name, else Iceberg: Trino is not asked for it."""
        return {"trino", "hive" if _catalog(options) == "hive" else "iceberg"}

    def maintain(
        self,
        database: Database,
        entity: Entity,
        wait_seconds: float,
    ) -> Upkeep | None:
        """Join small files, expire snapshots and remove orphans, where due."""
        # The client is imported only by those who talk to Trino.
        from sync_pipelines.destinations.trino.maintenance import maintain_entity

        return maintain_entity(database, entity.connector, entity.slug, wait_seconds=wait_seconds)


def _catalog(options: Mapping[str, Any]) -> str:
    return str(options.get("catalog") or load_trino_settings().catalog)


KIND = TrinoKind()
