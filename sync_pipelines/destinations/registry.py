"""The destinations by name: a new one is its folder and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.destinations.kind import DestinationKind
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector, Entity

# Module and name; imported when it is asked for, so that a process pays only for the destinations that it uses.
_KINDS = {
    "postgres": ("sync_pipelines.destinations.postgres.kind", "KIND"),
    "trino": ("sync_pipelines.destinations.trino.kind", "KIND"),
    "duckdb": ("sync_pipelines.destinations.anydlt.kind", "DUCKDB"),
}
DEFAULT = "postgres"
NAMES = tuple(_KINDS)


def kind_of(name: str) -> DestinationKind:
    """The destination of a name.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in _KINDS:
        raise SettingsError(
            f"There is no destination {name!r}; known: {', '.join(NAMES)}.",
            state="Nothing was stored.",
        )
    module, attribute = _KINDS[name]
    kind: DestinationKind = getattr(importlib.import_module(module), attribute)
    return kind


def open_destination(
    database: Database,
    connector: Connector,
    entity: Entity,
) -> Destination:
    """The destination of an entity.

    Raises:
        SettingsError: its connection is not configured.
    """
    return kind_of(entity.destination).open(database, connector)


def check_options(destination: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a connector that cannot be used, before they are stored.

    Raises:
        SettingsError: names the option, never its value.
    """
    kind_with_options(destination).check_options(options)


def kind_with_options(destination: str) -> DestinationKind:
    """The destination that a connector's options are for: its own, or Trino where its own takes none.

    A connector whose new tables go to PostgreSQL may have single entities in Trino.
    """
    kind = kind_of(destination)
    return kind if kind.options else kind_of("trino")
