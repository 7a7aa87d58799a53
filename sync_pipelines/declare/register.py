"""Register a connector: what its destination needs is checked before anything is stored."""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.registry import DEFAULT, check_options, kind_of
from sync_pipelines.model.entity import Connector


def register_connector(
    database: Database,
    name: str,
    base_url: str,
    auth_token: str | None = None,
    *,
    destination: str | None = None,
    destination_settings: dict[str, Any] | None = None,
    **others: Any,
) -> Connector:
    """Register a source, or change the one of that name; the arguments are those of `catalog.connectors.add_connector`.

    Raises:
        SettingsError: a name, URL, reference, schema or option of the destination that cannot be used.
        GuardError: a secret or an address that the settings do not let go, or one that is not public and not named.
    """
    kind_of(destination or DEFAULT)
    if destination_settings:
        check_options(destination or DEFAULT, destination_settings)
    return add_connector(
        database,
        name,
        base_url,
        auth_token,
        destination=destination,
        destination_settings=destination_settings,
        **others,
    )
