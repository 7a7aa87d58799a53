"""What definitions are built from: the catalog, or the last known one from a file while the database is down."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import entity_from_row, list_entity_rows
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Entity

logger = logging.getLogger(__name__)

FILE_NAME = "catalog.json"
_DEFINITION_FIELDS = (
    "uid", "connector", "slug", "api_name", "description", "delta_strategy", "columns", "target_schema", "target_table",
    "sync_enabled", "sync_interval_seconds", "status", "status_reason",
)  # fmt: skip


@dataclass(frozen=True)
class CatalogView:
    """Entities to build definitions from.

    Attributes:
        base_urls: base URL by connector.
        paths: path of each declared entity at its source, by `connector/slug`.
        database_name: name of the database that holds the tables.
        stale_because: why this is the last known catalog and not the current one; None when it is current.
        fingerprint: changes when anything does that definitions show; empty for a last known catalog.
    """

    entities: tuple[Entity, ...] = ()
    base_urls: dict[str, str] | None = None
    database_name: str = "postgres"
    stale_because: str | None = None
    fingerprint: str = ""
    paths: dict[str, str] = field(default_factory=dict)


def load_catalog(open_database: Callable[[], Database], home: Path, connectors: Sequence[str] = ()) -> CatalogView:
    """Read the catalog, or these connectors of it, and remember it.

    Falls back to what was remembered when the database does not answer.
    """
    path = home / _file_name(connectors)
    try:
        database = open_database()
        view, content = _read(database, connectors)
    except SyncError as error:
        return _remembered(path, error)
    _remember(path, content)
    return view


def catalog_fingerprint(database: Database, connectors: Sequence[str] = ()) -> str:
    """What the fingerprint of definitions would be if they were loaded now.

    Raises:
        SyncError: the catalog cannot be read.
    """
    return _read(database, connectors)[0].fingerprint


def _file_name(connectors: Sequence[str]) -> str:
    """Locations that are restricted to different connectors must not overwrite each other's file."""
    if not connectors:
        return FILE_NAME
    digest = hashlib.sha256(",".join(connectors).encode()).hexdigest()[:8]
    return FILE_NAME.replace(".", f"-{digest}.")


def _read(database: Database, connectors: Sequence[str]) -> tuple[CatalogView, str]:
    """The view, and the content of its file."""
    with database.connect() as connection:
        found = connection.execute("SELECT to_regclass(%s) AS t", [f'"{database.bridge_schema}".entities']).fetchone()
        if found is None or found["t"] is None:
            urls, paths, rows = {}, {}, []
        else:
            active = connection.execute("SELECT name, base_url, declaration FROM connectors WHERE is_active ORDER BY name").fetchall()
            active = [row for row in active if not connectors or row["name"] in connectors]
            urls = {row["name"]: row["base_url"] for row in active}
            paths = _paths(active)
            rows = [row for row in list_entity_rows(database) if row["connector"] in urls]
    definitions = [{name: row[name] for name in _DEFINITION_FIELDS} for row in rows]
    content = json.dumps({"database": database.name, "base_urls": urls, "paths": paths, "entities": definitions}, default=str)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]
    return CatalogView(tuple(map(entity_from_row, rows)), urls, database.name, fingerprint=fingerprint, paths=paths), content


def _paths(connectors: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {
        f"{row['name']}/{slug}": endpoint.get("path", "/")
        for row in connectors
        for slug, endpoint in ((row["declaration"] or {}).get("endpoints") or {}).items()
    }


def _remember(path: Path, content: str) -> None:
    """Write atomically: a run that loads at the same moment sees the old file or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text() == content:
            return
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        logger.warning("the catalog could not be remembered in %s: %s", path, error)


def _remembered(path: Path, error: SyncError) -> CatalogView:
    try:
        stored = json.loads(path.read_text())
        entities = tuple(entity_from_row({**row, "cursor_marks": []}) for row in stored["entities"])
        logger.warning("the catalog cannot be read; definitions come from %s: %s", path, error)
        return CatalogView(entities, stored["base_urls"], stored["database"], str(error), paths=stored.get("paths", {}))
    except (OSError, ValueError, KeyError, TypeError) as unreadable:
        logger.error("the catalog cannot be read (%s) and none is remembered (%s)", error, type(unreadable).__name__)
        return CatalogView(base_urls={}, stale_because=str(error))
