"""Take clear values out of an Iceberg table whose columns are to be masked."""

from __future__ import annotations

from sync_pipelines.destinations.clearing import columns_to_clear, distrust_cleared
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.errors import SchemaDriftError
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Column, Entity


def plan_clearing(
    place: Place,
    remask: Remask,
    *,
    is_hive: bool,
) -> tuple[str, ...]:
    """Statements that drop the columns, and make those anew that the mask leaves.

    Every row is then compared by content.

    Args:
        place: whose table; each statement is one commit, and the next run repeats them all.
        remask: which columns.
        is_hive: the catalog is of the Hive connector.

    Raises:
        SchemaDriftError: a table of the Hive connector, whose files cannot be changed.
        ConfigurationError: a business key among them, which a table cannot be without.
    """
    found = columns_to_clear(
        remask,
        place.columns(),
        stored_name=str.lower,
        may_clear_keys=lambda: False,
    )
    if not found:
        return ()
    if is_hive:
        raise _refused_hive(place.entity, found)
    table = place.table
    statements = []
    for column in found:
        name = quote(column.target_name)
        # A new column of the same name is another one to Iceberg: the values of the old one are not read any more.
        statements.append(f"ALTER TABLE {table} DROP COLUMN {name}")
        if column.name not in remask.masks.dropped:
            statements.append(f"ALTER TABLE {table} ADD COLUMN {name} varchar")
    statements.append(distrust_cleared(table))
    return tuple(statements)


def _refused_hive(entity: Entity, found: list[Column]) -> SchemaDriftError:
    names = ", ".join(column.name for column in found)
    return SchemaDriftError(
        f"{names} of {entity.table} cannot be masked in a table of the Hive connector that has rows.",
        where=dict(entity.where),
        next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}"
        "  (keeps the old view with its clear values under another name, to be dropped,"
        " and reads everything again)",
    )
