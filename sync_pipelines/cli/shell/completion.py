"""What a shell completes: names of connectors and entities.

Quick, silent, and nothing where the catalog cannot be asked.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg

from sync_pipelines.catalog.database import Database, open_database
from sync_pipelines.dotenv_file import load_dotenv_file
from sync_pipelines.errors import SyncError
from sync_pipelines.postgres_server.embedded import embedded_pid
from sync_pipelines.settings import Settings, load_settings

MOST = 200
_CONNECT_SECONDS = 2
_CONNECTORS = "SELECT name FROM connectors WHERE starts_with(name, %s) ORDER BY name LIMIT %s"
_ENTITIES = """
    SELECT c.name || '/' || e.slug AS name FROM entities e JOIN connectors c ON c.uid = e.connector_uid
    WHERE starts_with(c.name || '/' || e.slug, %s) ORDER BY 1 LIMIT %s
"""


def complete_connectors(incomplete: str) -> list[str]:
    """Connectors that begin so."""
    return _ask(_CONNECTORS, incomplete)


def complete_entities(incomplete: str) -> list[str]:
    """Paths of entities that begin so."""
    return _ask(_ENTITIES, incomplete)


def complete_paths(incomplete: str) -> list[str]:
    """Connectors, and from the slash on their entities."""
    if "/" in incomplete:
        return complete_entities(incomplete)
    return complete_connectors(incomplete)


def _ask(query: str, incomplete: str) -> list[str]:
    with suppress(SyncError, psycopg.Error, OSError, ValueError):
        load_dotenv_file()
        database = _reachable(load_settings())
        if database is not None:
            with database.connect() as connection:
                rows = connection.execute(query, [incomplete, MOST])
                return [str(row["name"]) for row in rows]
    return []


def _reachable(settings: Settings) -> Database | None:
    """The database, when it answers at once; an embedded server is not started for a completion."""
    if settings.database.embedded:
        is_up = embedded_pid(settings.home / "postgres") is not None
        return open_database(settings) if is_up else None
    database = open_database(settings)
    connection = psycopg.connect(database.url, connect_timeout=_CONNECT_SECONDS)
    connection.close()
    return database
