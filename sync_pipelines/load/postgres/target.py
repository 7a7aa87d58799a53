"""The target table of an entity: what it must look like, how it differs, and how to bring it there without loss.

Added columns are added, wider types widened, columns that the API dropped kept with their last values. Anything that
would cut, reinterpret or drop data stops the entity with the plan in the message. `plan_` is pure, `apply_` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sync_pipelines.errors import UnknownTypeError
from sync_pipelines.load.drift import check_can_follow, check_is_ours, check_may_be_made, lost_column
from sync_pipelines.load.plan import TablePlan
from sync_pipelines.load.postgres.quoting import literal, quote
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.types import ColumnType, Kind, parse_type, widens


@dataclass(frozen=True)
class StoredColumn:
    """A column as the database has it; `sql_type` as `format_type()` spells it."""

    name: str
    sql_type: str
    is_not_null: bool


def read_columns(cursor: Any, schema: str, table: str) -> dict[str, StoredColumn]:
    """The columns of a table by name; empty when there is no such table."""
    cursor.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        (schema, table),
    )
    return {name: StoredColumn(name, sql_type, not_null) for name, sql_type, not_null in cursor.fetchall()}


def constraint_names(entity: Entity) -> tuple[str, str, str]:
    """Names of the primary key, the business key and the rowversion index."""
    table = entity.target_table
    return (
        shorten_identifier(f"{table}_pkey"),
        shorten_identifier(f"{table}_business_key"),
        shorten_identifier(f"idx_{table}_rowversion"),
    )


def constraint_statements(entity: Entity) -> tuple[str, ...]:
    """Statements that build the constraints and the index of a filled table, in the order of `constraint_names`."""
    primary, business, index = constraint_names(entity)
    keys = ", ".join(quote(column.target_name) for column in entity.business_keys)
    target = quote(entity.target_schema, entity.target_table)
    return (
        f"ALTER TABLE {target} ADD CONSTRAINT {quote(primary)} PRIMARY KEY (_bridge_id)",
        f"ALTER TABLE {target} ADD CONSTRAINT {quote(business)} UNIQUE ({keys})",
        f"CREATE INDEX {quote(index)} ON {target} (_bridge_rowversion)",
    )


def create_statements(entity: Entity) -> tuple[str, ...]:
    """Statements that create the table as SyncFlow lays it out, with its constraints."""
    columns = ["_bridge_id uuid NOT NULL DEFAULT gen_random_uuid()"]
    columns += [
        f"{quote(column.target_name)} {column.type.sql}"
        + ("" if column.is_nullable and not column.is_business_key else " NOT NULL")
        for column in entity.columns
    ]
    columns += [definition for name, definition in BRIDGE_COLUMNS.items() if name != "_bridge_id"]
    columns += [f"{name} {kind}" for name, kind in OPTIONAL_COLUMNS.items() if name in entity.own_columns]
    target = quote(entity.target_schema, entity.target_table)
    return (
        f"CREATE SCHEMA IF NOT EXISTS {quote(entity.target_schema)}",
        f"CREATE TABLE {target} (\n  " + ",\n  ".join(columns) + "\n)",
        *constraint_statements(entity),
    )


def plan_table(entity: Entity, stored: dict[str, StoredColumn], *, rebuild: bool) -> TablePlan:
    """Compare an entity with its table.

    Args:
        entity: with the columns that the API declares now.
        stored: from `read_columns`.
        rebuild: True when everything is read again, so that a missing table may be made anew.

    Raises:
        SchemaDriftError: the table is gone or cannot follow; the message lists each column and the way out.
    """
    if not stored:
        check_may_be_made(entity, rebuild=rebuild)
        return TablePlan(create_statements(entity), (f"create table {entity.table}",))
    check_is_ours(entity, stored)
    lost = [column.name for column in entity.columns if column.target_name not in stored]
    if lost and not rebuild:
        raise lost_column(entity, lost[0])
    return _plan_columns(entity, stored)


def _plan_columns(entity: Entity, stored: dict[str, StoredColumn]) -> TablePlan:
    alter = f"ALTER TABLE {quote(entity.target_schema, entity.target_table)}"
    statements, changes, refused = [], [], []
    for column in entity.columns:
        name, have = quote(column.target_name), stored.get(column.target_name)
        if have is None and column.is_business_key:
            refused.append(f"{column.name}: the key column is missing in the table")
        elif have is None:
            statements += [f"{alter} ADD COLUMN {name} {column.type.sql}", _distrust_hashes(entity)]
            changes.append(f"add {column.name} {column.type.sql}")
        elif have.sql_type != column.type.sql:
            old = stored_type(have.sql_type)
            if old is not None and widens(old, column.type):
                # Without a detour through its text a float would become a number of 6 or 15 digits.
                using = f" USING {name}::text::{column.type.sql}" if is_float(old) and not is_float(column.type) else ""
                statements.append(f"{alter} ALTER COLUMN {name} TYPE {column.type.sql}{using}")
                changes.append(f"widen {column.name} from {have.sql_type} to {column.type.sql}")
            elif old is None or not widens(column.type, old):
                refused.append(f"{column.name}: {have.sql_type} in the table, {column.type.sql} at the source")
        if have is not None and have.is_not_null and column.is_nullable and not column.is_business_key:
            statements.append(f"{alter} ALTER COLUMN {name} DROP NOT NULL")
            changes.append(f"allow nulls in {column.name}")
    for name in sorted(entity.own_columns - stored.keys()):
        statements.append(f"{alter} ADD COLUMN {name} {OPTIONAL_COLUMNS[name]}")
        changes.append(f"add {name}")
    declared = {column.target_name for column in entity.columns}
    for name, have in stored.items():
        if name not in declared and name not in BRIDGE_COLUMNS and have.is_not_null:
            statements.append(f"{alter} ALTER COLUMN {quote(name)} DROP NOT NULL")
            changes.append(f"keep {name}, which the source dropped")
    check_can_follow(entity, refused)
    return TablePlan(tuple(statements), tuple(changes))


def _distrust_hashes(entity: Entity) -> str:
    """Rows whose hash covers a column that a person dropped must be compared by content to be filled again."""
    prefix = f"{entity.columns_fingerprint}:"
    return (
        f"UPDATE {quote(entity.target_schema, entity.target_table)} SET _bridge_hash = 'lost:' || _bridge_hash"
        f" WHERE left(_bridge_hash, {len(prefix)}) = {literal(prefix)}"
    )


def is_float(column_type: ColumnType) -> bool:
    """Whether its values are binary floating point numbers."""
    return column_type.kind in (Kind.REAL, Kind.DOUBLE)


def stored_type(sql_type: str) -> ColumnType | None:
    """The column type behind PostgreSQL's spelling; None for types that we never make."""
    try:
        return parse_type(sql_type)
    except UnknownTypeError:
        return None


def apply_table(cursor: Any, plan: TablePlan) -> None:
    """Run the statements of a plan in the caller's transaction."""
    for statement in plan.statements:
        cursor.execute(statement)


def set_aside(cursor: Any, entity: Entity, suffix: str) -> str | None:
    """Rename the table, its constraints and its index, so that a new one can take the name; nothing is dropped.

    Returns:
        The new name, or None when there was no table.
    """
    if not read_columns(cursor, entity.target_schema, entity.target_table):
        return None
    schema, old, number = entity.target_schema, shorten_identifier(f"{entity.target_table}__{suffix}"), 1
    while read_columns(cursor, schema, old):
        number += 1
        old = shorten_identifier(f"{entity.target_table}__{suffix}_{number}")
    for position, name in enumerate(constraint_names(entity)):
        cursor.execute(f"ALTER INDEX IF EXISTS {quote(schema, name)} RENAME TO {quote(shorten_identifier(f'{old}_index{position}'))}")
    cursor.execute(f"ALTER TABLE {quote(schema, entity.target_table)} RENAME TO {quote(old)}")
    return f"{schema}.{old}"
