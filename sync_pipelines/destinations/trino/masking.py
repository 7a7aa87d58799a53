"""Take clear values out of an Iceberg table whose columns are to be masked."""

from __future__ import annotations

from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.table import read_columns
from sync_pipelines.errors import SchemaDriftError
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Entity


def plan_clearing(
    session: Session, catalog: str, entity: Entity, remask: Remask, *, is_hive: bool
) -> tuple[str, ...]:
    """Statements that drop the columns, and make those anew that the mask leaves.

    Every row is then compared by content.

    Args:
        session: of Trino; each statement is a commit of its own, and the next run repeats them all.
        catalog: that holds the table.
        entity: whose table.
        remask: which columns.
        is_hive: the catalog is of the Hive connector.

    Raises:
        SchemaDriftError: a table of the Hive connector, whose files cannot be changed.
        ConfigurationError: a business key among them, which a table cannot be without.
    """
    there = read_columns(session, catalog, entity.target_schema, entity.target_table)
    found = [
        column
        for column in remask.masks.entity.columns
        if column.name in remask.names and column.target_name.lower() in there
    ]
    if not found:
        return ()
    keys = [column for column in found if column.is_business_key]
    if keys:
        raise remask.refused_key(keys[0])
    if is_hive:
        raise SchemaDriftError(
            f"{', '.join(column.name for column in found)} of {entity.table} cannot be masked in a table of the Hive"
            " connector that has rows.",
            where=dict(entity.where),
            next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}"
            "  (keeps the old view with its clear values under another name, to be dropped,"
            " and reads everything again)",
        )
    table = quote(catalog, entity.target_schema, entity.target_table)
    statements = []
    for column in found:
        # A new column of the same name is another one to Iceberg: what the old one held is not read any more.
        statements.append(f"ALTER TABLE {table} DROP COLUMN {quote(column.target_name)}")
        if column.name not in remask.masks.dropped:
            statements.append(f"ALTER TABLE {table} ADD COLUMN {quote(column.target_name)} varchar")
    statements.append(
        f"UPDATE {table} SET _bridge_hash = 'lost:' || _bridge_hash WHERE NOT starts_with(_bridge_hash, 'lost:')"
    )
    return tuple(statements)
