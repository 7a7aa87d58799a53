"""The destinations by name: a new one is its folder and one line here."""

from __future__ import annotations

import importlib
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Destination
from sync_pipelines.model.entity import Connector, Entity

# Module and class; imported by name, so that a run pays only for the destination that it writes to.
_CLASSES = {
    "postgres": ("sync_pipelines.destinations.postgres.adapter", "PostgresDestination"),
    "trino": ("sync_pipelines.destinations.trino.adapter", "TrinoDestination"),
}


def open_destination(database: Database, connector: Connector, entity: Entity) -> Destination:
    """The destination of an entity.

    Raises:
        SettingsError: its connection is not configured.
    """
    module, name = _CLASSES[entity.destination]
    kind = getattr(importlib.import_module(module), name)
    destination: Destination = kind(database, connector)
    return destination


def check_options(options: dict[str, Any]) -> None:
    """Refuse options of a connector's destination that cannot be used, before they are stored.

    Raises:
        SettingsError: says which, without the value.
    """
    # Only Trino has options: PostgreSQL is where the catalog is.
    importlib.import_module("sync_pipelines.destinations.trino.options").check_connector_options(options)
