"""The Iceberg table of an entity: what it must look like, how it differs, and how to bring it there without loss.

The rules are those of `destinations.postgres.target`; Iceberg widens less (docs/trino.md), and what it cannot is
refused.
"""

from __future__ import annotations

import re

from sync_pipelines.destinations.drift import (
    TablePlan,
    check_can_follow,
    check_is_ours,
    check_may_be_made,
    lost_column,
)
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.types import iceberg_type, widens_in_iceberg
from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.entity import COERCED_COLUMN, REJECTED_COLUMN, REVIEW_COLUMN, Entity

BRIDGE_TYPES = {
    "_bridge_id": "uuid",
    "_bridge_created_at": "timestamp(6) with time zone",
    "_bridge_updated_at": "timestamp(6) with time zone",
    "_bridge_hash": "varchar",
    "_bridge_deleted": "boolean",
    "_bridge_rowversion": "varchar",
}
OPTIONAL_TYPES = {REVIEW_COLUMN: "varchar", COERCED_COLUMN: "varchar", REJECTED_COLUMN: "timestamp(6) with time zone"}
_UNUSABLE = re.compile(r"[$@/\\\x00-\x1f]")


def check_names(entity: Entity) -> None:
    """Refuse names that Trino cannot hold; columns that differ only by case were refused at discovery.

    Raises:
        EntityDefinitionError: a schema or table name with $, @ or a slash.
    """
    for name in (entity.target_schema, entity.target_table):
        if _UNUSABLE.search(name):
            raise EntityDefinitionError(
                f"Trino cannot hold a table named {entity.table!r}.",
                where=dict(entity.where),
                next_command=f"sync-pipelines entity set {entity.path} --destination postgres",
            )


def read_columns(session: Session, catalog: str, schema: str, table: str) -> dict[str, str]:
    """Types of a table's columns by name, as Trino spells them; empty when there is no such table."""
    rows = session.query(
        f"SELECT column_name, data_type FROM {quote(catalog)}.information_schema.columns"
        f" WHERE table_schema = {literal(schema.lower())} AND table_name = {literal(table.lower())}"
        " ORDER BY ordinal_position"
    )
    return {name: data_type for name, data_type in rows}


def plan_table(catalog: str, entity: Entity, stored: dict[str, str], *, rebuild: bool) -> TablePlan:
    """Compare an entity with its table.

    Args:
        catalog: the Iceberg catalog.
        entity: with the columns that the API declares now.
        stored: from `read_columns`.
        rebuild: True when everything is read again, so that a missing table may be made anew.

    Raises:
        SchemaDriftError: the table is gone or cannot follow; the message lists each column and the way out.
    """
    if not stored:
        check_may_be_made(entity, rebuild=rebuild)
        return TablePlan(create_statements(catalog, entity), (f"create table {catalog}.{entity.table}",))
    check_is_ours(entity, stored)
    return _plan_columns(catalog, entity, stored, rebuild=rebuild)


def create_statements(catalog: str, entity: Entity) -> tuple[str, ...]:
    """Statements that create the table."""
    keys = {column.target_name for column in entity.business_keys}
    columns = [
        f"{quote(column.target_name)} {iceberg_type(column.type)}" + (" NOT NULL" if column.target_name in keys else "")
        for column in entity.columns
    ]
    columns += [
        f"{name} {kind}" + ("" if name == "_bridge_rowversion" else " NOT NULL") for name, kind in BRIDGE_TYPES.items()
    ]
    columns += [f"{name} {kind}" for name, kind in OPTIONAL_TYPES.items() if name in entity.own_columns]
    return (
        f"CREATE TABLE IF NOT EXISTS {quote(catalog, entity.target_schema, entity.target_table)} (\n  "
        + ",\n  ".join(columns)
        + "\n)",
    )


def _plan_columns(catalog: str, entity: Entity, stored: dict[str, str], *, rebuild: bool) -> TablePlan:
    alter = f"ALTER TABLE {quote(catalog, entity.target_schema, entity.target_table)}"
    statements, changes, refused = [], [], []
    for column in entity.columns:
        name, have, wanted = (
            quote(column.target_name),
            stored.get(column.target_name.lower()),
            iceberg_type(column.type),
        )
        if have is None and column.is_business_key:
            refused.append(f"{column.name}: the key column is missing in the table")
        elif have is None and not rebuild:
            raise lost_column(entity, column.name)
        elif have is None:
            statements += [f"{alter} ADD COLUMN {name} {wanted}", _distrust_hashes(catalog, entity)]
            changes.append(f"add {column.name} {wanted}")
        elif have != wanted and widens_in_iceberg(have, wanted):
            statements.append(f"{alter} ALTER COLUMN {name} SET DATA TYPE {wanted}")
            changes.append(f"widen {column.name} from {have} to {wanted}")
        elif have != wanted and not widens_in_iceberg(wanted, have):
            refused.append(f"{column.name}: {have} in the table, {wanted} at the source")
    for name in sorted(entity.own_columns - stored.keys()):
        statements.append(f"{alter} ADD COLUMN {name} {OPTIONAL_TYPES[name]}")
        changes.append(f"add {name}")
    check_can_follow(entity, refused)
    return TablePlan(tuple(statements), tuple(changes))


def _distrust_hashes(catalog: str, entity: Entity) -> str:
    """Rows whose hash covers a column that a person dropped must be compared by content to be filled again."""
    prefix = f"{entity.columns_fingerprint}:"
    return (
        f"UPDATE {quote(catalog, entity.target_schema, entity.target_table)} SET _bridge_hash = 'lost:' || _bridge_hash"
        f" WHERE starts_with(_bridge_hash, {literal(prefix)})"
    )


def apply_table(session: Session, plan: TablePlan) -> None:
    """Run the statements of a plan, one commit each; each may be repeated by a later run."""
    for statement in plan.statements:
        session.execute(statement)


def set_aside(session: Session, catalog: str, entity: Entity, suffix: str, *, is_view: bool = False) -> str | None:
    """Rename the table, so that a new one can take the name; nothing is dropped.

    Args:
        session, catalog, entity: whose table.
        suffix: of the new name; numbered when that is taken.
        is_view: the table of a Hive catalog, whose table of rows stays with it.

    Returns:
        The new name, or None when there was no table.
    """
    schema, table = entity.target_schema.lower(), entity.target_table.lower()
    if not read_columns(session, catalog, schema, table):
        return None
    old, number = f"{table}__{suffix}", 1
    while read_columns(session, catalog, schema, old):
        number += 1
        old = f"{table}__{suffix}_{number}"
    session.execute(
        f"ALTER {'VIEW' if is_view else 'TABLE'} {quote(catalog, schema, table)} RENAME TO"
        f" {quote(catalog, schema, old)}"
    )
    return f"{schema}.{old}"
