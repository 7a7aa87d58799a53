"""Keep Iceberg tables quick: join small files, forget old snapshots, remove files that nobody names; only where due."""

from __future__ import annotations

import logging
import re

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.runs import hold_entity
from sync_pipelines.destinations.kind import Condition, Upkeep
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.destinations.trino.options import TrinoSettings, load_trino_settings
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.model.quoting import literal

logger = logging.getLogger(__name__)

_UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def plan_steps(condition: Condition, settings: TrinoSettings) -> tuple[str, ...]:
    """The steps that are due: optimize, expire_snapshots, remove_orphan_files."""
    steps: list[str] = []
    most_files = max(condition.small_files, condition.delete_files)
    if most_files > settings.maintenance_max_small_files:
        steps.append("optimize")
    if condition.snapshots + bool(steps) > settings.maintenance_max_snapshots:
        steps += ["expire_snapshots", "remove_orphan_files"]
    return tuple(steps)


def maintain_entity(
    database: Database,
    connector_name: str,
    slug: str,
    *,
    wait_seconds: float = 10,
    settings: TrinoSettings | None = None,
) -> Upkeep | None:
    """Maintain the table of one entity while no sync of it runs.

    Args:
        database: where the catalog is.
        connector_name: the connector.
        slug: the entity.
        wait_seconds: how long to wait for a running sync.
        settings: thresholds; of this process when None.

    Returns:
        What was done; None when there is no Iceberg table to maintain.

    Raises:
        EntityBusyError: a sync holds the entity.
        SyncError: Trino fails or refuses.
    """
    settings = settings or load_trino_settings()
    entity = get_entity(database, connector_name, slug)
    if entity.destination != "trino":
        return None
    destination = TrinoDestination(database, get_connector(database, connector_name))
    if destination.is_hive:
        return None
    place = destination.place(entity)
    with hold_entity(database, entity, wait_seconds):
        return _maintain(place, settings) if place.columns() else None


def _maintain(place: Place, settings: TrinoSettings) -> Upkeep:
    path = place.entity.path
    before = read_condition(place, settings)
    steps = plan_steps(before, settings)
    retention = f"retention_threshold => {literal(settings.maintenance_retention)}"
    arguments = {
        "optimize": f"file_size_threshold => {literal(settings.maintenance_file_size)}",
        "expire_snapshots": retention,
        "remove_orphan_files": retention,
    }
    # A retention that somebody configured here is meant; Trino's own minimum guards against slips of the hand.
    for name in ("expire_snapshots", "remove_orphan_files"):
        minimum = f"{place.catalog}.{name}_min_retention"
        place.session.set_property(minimum, settings.maintenance_retention)
    for step in steps:
        place.session.execute(f"ALTER TABLE {place.table} EXECUTE {step}({arguments[step]})")
    after = read_condition(place, settings) if steps else before
    done = ", ".join(steps) or "nothing due"
    logger.info("%s: %s, %s -> %s", path, done, before, after)
    return Upkeep(path, steps, before, after)


def read_condition(place: Place, settings: TrinoSettings) -> Condition:
    """Count files and snapshots in the table's own metadata."""
    name = place.entity.target_table
    small = _bytes(settings.maintenance_file_size)
    ((data, deletes),) = place.session.query(
        f"SELECT count_if(content = 0 AND file_size_in_bytes < {small}), count_if(content <> 0)"
        f" FROM {place.beside(f'{name}$files')}"
    )
    snapshots = place.session.number(f"SELECT count(*) FROM {place.beside(f'{name}$snapshots')}")
    return Condition(int(data), int(deletes), snapshots)


def _bytes(size: str) -> int:
    match = re.fullmatch(r"(\d+)([kMG]B)", size)
    assert match is not None
    return int(match[1]) * _UNITS[match[2]]
