"""What is known of a destination without asking it: the port beside its `Destination`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.types import ColumnType

_ENDED = "The process ended before the run did (killed, crashed or lost its connection);"
NOTHING_PUBLISHED = f"{_ENDED} nothing was published."
"""What a killed run leaves where rows and books are one transaction."""


def rows_before_books(rows: str) -> str:
    """What a killed run leaves where rows are committed before the books.

    Args:
        rows: those rows, as the subject of a sentence.
    """
    return f"{_ENDED} the cursor was not moved. {rows} are counted as unchanged by the next run."


class Address(NamedTuple):
    """An address that a destination is reached at, and what goes there."""

    name: str
    why: str


@dataclass(frozen=True)
class Condition:
    """What a table is made of: files smaller than the wanted size, delete files, and snapshots."""

    small_files: int
    delete_files: int
    snapshots: int


@dataclass(frozen=True)
class Upkeep:
    """What a maintenance did to one table, in words, and the table before and after."""

    entity: str
    steps: tuple[str, ...]
    before: Condition
    after: Condition


class DestinationKind(Protocol):
    """A destination before any connection.

    Attributes:
        name: as `entities.destination` holds it.
        options: names of the options that a connector gives; empty where there is nothing to configure.
        interrupted: what a run left behind whose process ended, in sentences.
        settings_hint: where a person looks when the destination does not answer; None where it is the catalog's own
            server.
        maintenance_cron: when `maintain` runs; None where tables need no maintenance.
    """

    name: str
    options: tuple[str, ...]
    interrupted: str
    settings_hint: str | None

    @property
    def maintenance_cron(self) -> str | None:
        """See the class."""

    def open(self, database: Database, connector: Connector) -> Destination:
        """The destination as a connector reaches it.

        Raises:
            SettingsError: its connection is not configured.
        """

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse options that cannot be used, before they are stored.

        Raises:
            SettingsError: names the option, never its value.
        """

    def addresses(
        self,
        options: Mapping[str, Any],
        secrets: Iterable[tuple[str, str]],
    ) -> Iterable[Address]:
        """Addresses that a connector with these options writes to.

        Args:
            options: of the connector.
            secrets: references with the origin that each is sent to.
        """

    def files(self, options: Mapping[str, Any]) -> Iterable[Address]:
        """Files of this machine that the options name."""

    def column_type(self, column_type: ColumnType) -> str:
        """The SQL type of a declared type."""

    def table_name(
        self,
        entity: Entity,
        database_name: str,
        options: Mapping[str, Any],
    ) -> str:
        """The table with everything that names it, without asking the destination."""

    def storage_kinds(self, options: Mapping[str, Any]) -> set[str]:
        """What the table is, in Dagster's words for kinds."""

    def maintain(
        self,
        database: Database,
        entity: Entity,
        wait_seconds: float,
    ) -> Upkeep | None:
        """Maintain the table while no sync of it runs; None where there is nothing to maintain.

        Raises:
            EntityBusyError: a sync holds the entity.
            SyncError: the destination fails or refuses.
        """
