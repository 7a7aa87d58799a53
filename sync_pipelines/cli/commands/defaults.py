"""The connector that DEFAULT_APISmith_URL asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sync_pipelines.catalog.connectors import add_connector, check_base_url, list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.model.entity import Connector
from sync_pipelines.settings import Settings

NAME = "apismith"
TOKEN_VARIABLES = ("DEFAULT_APISmith_TOKEN", "API_TOKEN")


def token_reference(environ: Mapping[str, str] | None = None) -> str | None:
    """The reference to whichever variable holds the default token, in the spelling that is set."""
    environ = os.environ if environ is None else environ
    for name in TOKEN_VARIABLES:
        others = [found for found in environ if found.casefold() == name.casefold()]
        for spelling in [name, *sorted(others)]:
            if environ.get(spelling):
                return f"env:{spelling}"
    return None


def register_default(database: Database, settings: Settings) -> Connector | None:
    """Add the default connector; None when it is not asked for, or something of its URL or name exists."""
    if not settings.sources.default_apismith_url:
        return None
    base_url = check_base_url(settings.sources.default_apismith_url)
    for connector in list_connectors(database):
        if connector.base_url == base_url or connector.name == NAME:
            return None
    # Whoever sets the variables of this process names the address and the token for it.
    return add_connector(database, NAME, base_url, token_reference(), allow_private=True)
