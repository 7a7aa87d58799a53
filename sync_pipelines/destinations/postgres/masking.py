"""Take clear values out of a table whose columns are to be masked."""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.clearing import columns_to_clear, distrust_cleared
from sync_pipelines.destinations.postgres.dependants import dependants_down
from sync_pipelines.destinations.postgres.fill import is_empty
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.quoting import quote


def clear_columns(cursor: Any, entity: Entity, remask: Remask) -> None:
    """Empty or drop the columns; every row is then compared by content.

    Args:
        cursor: inside the transaction that prepares the run.
        entity: whose table.
        remask: which columns.

    Raises:
        ConfigurationError: a business key among them, and the table has rows.
    """
    schema = entity.target_schema
    table = entity.target_table
    found = columns_to_clear(
        remask,
        read_columns(cursor, schema, table),
        may_clear_keys=lambda: is_empty(cursor, entity),
    )
    if not found:
        return
    target = quote(schema, table)
    with dependants_down(cursor, schema, table):
        for column in found:
            is_dropped = column.name in remask.masks.dropped
            changes = _clearing(column, is_dropped=is_dropped)
            for change in changes:
                cursor.execute(f"ALTER TABLE {target} {change}")
        cursor.execute(distrust_cleared(target))


def _clearing(column: Column, *, is_dropped: bool) -> list[str]:
    name = quote(column.target_name)
    changes = []
    if not column.is_business_key:
        changes.append(f"ALTER COLUMN {name} DROP NOT NULL")
    # A column of nulls can take any type, and the table is written anew: nothing of the old values stays in its files.
    changes.append(f"ALTER COLUMN {name} TYPE text USING NULL")
    if is_dropped:
        changes.append(f"DROP COLUMN {name}")
    return changes
