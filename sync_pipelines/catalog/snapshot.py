"""The last known catalog as a file, so that definitions load while the database is down."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import entity_from_row, list_entity_rows
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Entity

logger = logging.getLogger(__name__)

FILE_NAME = "catalog.json"
_DEFINITION_FIELDS = (
    "uid", "connector", "slug", "api_name", "description", "delta_strategy", "columns", "target_schema", "target_table", "destination",
    "sync_enabled", "sync_interval_seconds", "status", "status_reason", "cursor_codec",
)  # fmt: skip


@dataclass(frozen=True)
class CatalogView:
    """Entities to build definitions from.

    Attributes:
        base_urls: base URL by connector.
        database_name: name of the database that holds the tables.
        trino_catalogs: catalog in Trino by connector, where a connector sets its own.
        stale_because: why this is the last known catalog and not the current one; None when it is current.
    """

    entities: tuple[Entity, ...] = ()
    base_urls: dict[str, str] | None = None
    database_name: str = "postgres"
    stale_because: str | None = None
    trino_catalogs: dict[str, str] | None = None


def load_catalog(open_database: Callable[[], Database], home: Path) -> CatalogView:
    """Read the catalog and remember it; fall back to what was remembered when the database does not answer."""
    path = home / FILE_NAME
    try:
        database = open_database()
        view = _read(database)
    except SyncError as error:
        return _remembered(path, error)
    _remember(path, view)
    return view


def _read(database: Database) -> CatalogView:
    with database.connect() as connection:
        found = connection.execute("SELECT to_regclass(%s) AS t", [f'"{database.bridge_schema}".entities']).fetchone()
        if found is None or found["t"] is None:
            return CatalogView(base_urls={}, database_name=database.name)
        urls = {row["name"]: row["base_url"] for row in connection.execute("SELECT name, base_url FROM connectors WHERE is_active")}
        own = connection.execute("SELECT name, destination_settings->>'catalog' AS catalog FROM connectors WHERE is_active").fetchall()
    entities = tuple(entity_from_row(row) for row in list_entity_rows(database))
    catalogs = {row["name"]: row["catalog"] for row in own if row["catalog"]}
    return CatalogView(entities, urls, database.name, trino_catalogs=catalogs)


def _remember(path: Path, view: CatalogView) -> None:
    """Write atomically: a run that loads at the same moment sees the old file or the new one."""
    rows = [_as_row(entity) for entity in view.entities]
    known = {"database": view.database_name, "base_urls": view.base_urls, "trino_catalogs": view.trino_catalogs, "entities": rows}
    content = json.dumps(known, default=str)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() == content:
            return
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        logger.warning("the catalog could not be remembered in %s: %s", path, error)


def _as_row(entity: Entity) -> dict[str, Any]:
    row = {name: getattr(entity, name) for name in _DEFINITION_FIELDS if name != "columns"}
    return {**row, "columns": [column.as_json() for column in entity.columns]}


def _remembered(path: Path, error: SyncError) -> CatalogView:
    try:
        stored = json.loads(path.read_text())
        entities = tuple(entity_from_row({**row, "cursor_marks": []}) for row in stored["entities"])
        logger.warning("the catalog cannot be read; definitions come from %s: %s", path, error)
        return CatalogView(entities, stored["base_urls"], stored["database"], str(error), stored.get("trino_catalogs"))
    except (OSError, ValueError, KeyError, TypeError) as unreadable:
        logger.error("the catalog cannot be read (%s) and none is remembered (%s)", error, type(unreadable).__name__)
        return CatalogView(base_urls={}, stale_because=str(error))
