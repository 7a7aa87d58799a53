"""What definitions are built from: the catalog, or the last known one from a file while the database is down."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import entity_from_row, list_entity_rows
from sync_pipelines.dotenv_file import dotenv_file, values_in
from sync_pipelines.downstream.sql_model import models_fingerprint
from sync_pipelines.errors import SyncError
from sync_pipelines.files.private import make_private_folder
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.settings import load_settings

logger = logging.getLogger(__name__)

FILE_NAME = "catalog.json"
# What definitions take from the environment when they are loaded.
DEFINITION_SETTINGS = (
    "ALERT_INTERVAL_SECONDS",
    "DUE_SENSOR_SECONDS",
    "FRESHNESS_GRACE_SECONDS",
    "SYNC_OWNERS",
)
_DEFINITION_FIELDS = (
    "uid",
    "connector",
    "slug",
    "api_name",
    "description",
    "delta_strategy",
    "columns",
    "target_schema",
    "target_table",
    "destination",
    "sync_enabled",
    "sync_interval_seconds",
    "status",
    "status_reason",
)

_CONNECTOR_FIELDS = (
    "uid",
    "name",
    "base_url",
    "target_schema",
    "sync_cron",
    "full_refresh_cron",
    "discovery_cron",
    "time_zone",
    "probe_changes",
    "destination_settings",
    "kind",
    "declaration",
)


@dataclass(frozen=True)
class CatalogView:
    """Entities to build definitions from.

    Attributes:
        database_name: name of the database that holds the tables.
        connectors: the active ones, as far as definitions need them.
        stale_because: why this is the last known catalog and not the current one; None when it is current.
        fingerprint: changes when anything does that definitions show; empty for a last known catalog.
    """

    entities: tuple[Entity, ...] = ()
    database_name: str = "postgres"
    stale_because: str | None = None
    connectors: tuple[Connector, ...] = ()
    fingerprint: str = ""

    @cached_property
    def base_urls(self) -> dict[str, str]:
        """Base URL by connector."""
        return {one.name: one.base_url for one in self.connectors}

    @cached_property
    def paths(self) -> dict[str, str]:
        """Path of each declared entity at its source, by `connector/slug`."""
        paths = {}
        for one in self.connectors:
            declaration = one.declaration or {}
            endpoints = declaration.get("endpoints") or {}
            for slug, endpoint in endpoints.items():
                paths[f"{one.name}/{slug}"] = endpoint.get("path", "/")
        return paths

    @cached_property
    def owners(self) -> dict[str, list[str]]:
        """Owners by connector, where its file names some."""
        owners = {}
        for one in self.connectors:
            declared = (one.declaration or {}).get("owners")
            if declared:
                owners[one.name] = declared
        return owners

    @cached_property
    def destination_options(self) -> dict[str, dict[str, Any]]:
        """Options of the destination by connector, where a connector sets some."""
        return {
            one.name: one.destination_settings
            for one in self.connectors
            if one.destination_settings
        }


def load_catalog(
    open_database: Callable[[], Database],
    home: Path,
    connectors: Sequence[str] = (),
    *,
    models: Path | None = None,
) -> CatalogView:
    """Read the catalog, or these connectors of it, and remember it; `models` as in `catalog_fingerprint`.

    Falls back to what was remembered when the database does not answer.
    """
    path = home / _file_name(connectors)
    try:
        database = open_database()
        view, content = _read(database, connectors, None, models)
    except SyncError as error:
        return _remembered(path, error)
    _remember(path, content)
    return view


def catalog_fingerprint(
    database: Database,
    connectors: Sequence[str] = (),
    dotenv: Path | None = None,
    models: Path | None = None,
) -> str:
    """What the fingerprint of definitions would be if they were loaded now.

    Args:
        database: of the catalog.
        connectors: that the location is restricted to; none = all.
        dotenv: the file `.env` of the process that loads them; None = this process's.
        models: the folder of SQL models of that process; None = this process's.

    Raises:
        SyncError: the catalog cannot be read.
    """
    return _read(database, connectors, dotenv, models)[0].fingerprint


def _file_name(connectors: Sequence[str]) -> str:
    """Locations that are restricted to different connectors must not overwrite each other's file."""
    if not connectors:
        return FILE_NAME
    names = ",".join(connectors)
    digest = hashlib.sha256(names.encode()).hexdigest()
    return FILE_NAME.replace(".", f"-{digest[:8]}.")


def _rows(
    database: Database,
    connectors: Sequence[str],
) -> tuple[list[Connector], list[dict[str, Any]]]:
    """The active connectors, of the named ones when some are named, and the rows of their entities."""
    entities = f'"{database.bridge_schema}".entities'
    with database.connect() as connection:
        found = connection.execute("SELECT to_regclass(%s) AS t", [entities]).fetchone()
    if found is None or found["t"] is None:
        return [], []
    active = [one for one in list_connectors(database) if one.is_active]
    if connectors:
        active = [one for one in active if one.name in connectors]
    names = {one.name for one in active}
    rows = [row for row in list_entity_rows(database) if row["connector"] in names]
    return active, rows


def _read(
    database: Database,
    connectors: Sequence[str],
    dotenv: Path | None,
    models: Path | None,
) -> tuple[CatalogView, str]:
    """The view, and the content of its file."""
    active, rows = _rows(database, connectors)
    stored = {
        "database": database.name,
        "connectors": [_parts(vars(one), _CONNECTOR_FIELDS) for one in active],
        "entities": [_parts(row, _DEFINITION_FIELDS) for row in rows],
    }
    content = json.dumps(stored, default=str)
    # Everything that definitions are built from. Gates are not: every run reads its own. What else is in the
    # environment cannot change while a process lives.
    settings = values_in(dotenv or dotenv_file(), DEFINITION_SETTINGS)
    files = models_fingerprint(models or load_settings().models)
    sources = f"{content}{files}{json.dumps(settings)}"
    fingerprint = hashlib.sha256(sources.encode()).hexdigest()
    view = CatalogView(
        entities=tuple(map(entity_from_row, rows)),
        database_name=database.name,
        connectors=tuple(active),
        fingerprint=fingerprint[:16],
    )
    return view, content


def _parts(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _remember(path: Path, content: str) -> None:
    """Write atomically: a run that loads at the same moment sees the old file or the new one."""
    try:
        make_private_folder(path.parent)
        if path.exists() and path.read_text() == content:
            return
        with tempfile.NamedTemporaryFile(
            "w",
            dir=path.parent,
            delete=False,
        ) as file:
            file.write(content)
        os.replace(file.name, path)
    except OSError as error:
        logger.warning(
            "the catalog could not be remembered in %s: %s",
            path,
            error,
        )


def _remembered(path: Path, error: SyncError) -> CatalogView:
    try:
        stored = json.loads(path.read_text())
        view = CatalogView(
            entities=tuple(map(entity_from_row, stored["entities"])),
            database_name=stored["database"],
            stale_because=str(error),
            connectors=tuple(map(_connector, stored["connectors"])),
        )
    except (OSError, ValueError, KeyError, TypeError) as unreadable:
        logger.error(
            "the catalog cannot be read (%s) and none is remembered (%s)",
            error,
            type(unreadable).__name__,
        )
        return CatalogView(stale_because=str(error))
    logger.warning(
        "the catalog cannot be read; definitions come from %s: %s",
        path,
        error,
    )
    return view


def _connector(stored: dict[str, Any]) -> Connector:
    """A connector of the file, which holds no reference to a secret."""
    return Connector(**{**stored, "auth_token": None})
