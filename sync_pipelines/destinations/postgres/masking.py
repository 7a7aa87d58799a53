"""Take clear values out of a table whose columns are to be masked."""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.postgres.dependants import dependants_down
from sync_pipelines.destinations.postgres.fill import is_empty
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote


def clear_columns(cursor: Any, entity: Entity, remask: Remask) -> None:
    """Empty or drop the columns; every row is then compared by content, since its hash still tells of the clear values.

    Args:
        cursor: inside the transaction that prepares the run.
        entity: whose table.
        remask: which columns.

    Raises:
        ConfigurationError: a business key among them, and the table has rows.
    """
    target = quote(entity.target_schema, entity.target_table)
    there = read_columns(cursor, entity.target_schema, entity.target_table)
    found = remask.columns(there)
    keys = [column for column in found if column.is_business_key]
    if keys and not is_empty(cursor, entity):
        raise remask.refused_key(keys[0])
    if not found:
        return
    with dependants_down(cursor, entity.target_schema, entity.target_table):
        for column in found:
            name = quote(column.target_name)
            if not column.is_business_key:
                cursor.execute(f"ALTER TABLE {target} ALTER COLUMN {name} DROP NOT NULL")
            # A column of nulls can take any type, and the table is written anew: nothing of the old values stays in its
            # files.
            cursor.execute(f"ALTER TABLE {target} ALTER COLUMN {name} TYPE text USING NULL")
            if column.name in remask.masks.dropped:
                cursor.execute(f"ALTER TABLE {target} DROP COLUMN {name}")
        cursor.execute(
            f"UPDATE {target} SET _bridge_hash = 'lost:' || _bridge_hash WHERE left(_bridge_hash, 5) <> 'lost:'"
        )
