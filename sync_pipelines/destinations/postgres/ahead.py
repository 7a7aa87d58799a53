"""What a role that only loads could not add to a table, added by the owner beforehand."""

from __future__ import annotations

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.catalog.roles import is_granted
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.postgres.rejected import make_ahead


def add_columns_ahead(database: Database) -> list[str]:
    """Add the column that marks rejected rows to the tables of ours, where a login has the role that loads.

    Returns:
        The tables that got it.
    """
    changed = []
    for entity in list_entities(database):
        if entity.destination != "postgres":
            continue
        with database.cursor() as cursor:
            if not is_granted(cursor, database.bridge_schema, "loader"):
                return []
            there = read_columns(cursor, entity.target_schema, entity.target_table)
            if there and make_ahead(cursor, entity, database.bridge_schema):
                changed.append(entity.table)
    return changed
