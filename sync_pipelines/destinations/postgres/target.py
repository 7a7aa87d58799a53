"""The target table of an entity: what it must look like, how it differs, and how to bring it there without loss.

Added columns are added, wider types widened, columns that the API dropped kept with their last values. Anything that
would cut, reinterpret or drop data stops the entity with the plan in the message. `plan_` is pure, `apply_` writes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from sync_pipelines.catalog.rights import require_rights
from sync_pipelines.catalog.stored_columns import StoredColumn
from sync_pipelines.destinations.drift import (
    TablePlan,
    check_can_follow,
    check_is_ours,
    check_may_be_made,
    lost_column,
)
from sync_pipelines.destinations.postgres.dependants import dependants_down
from sync_pipelines.errors import UnknownTypeError
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Column, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.types import ColumnType, Kind, parse_type, widens


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


def _dropped(entity: Entity, stored: dict[str, StoredColumn]) -> list[str]:
    """Columns that the source no longer has and that must take nulls from now on."""
    declared = {column.target_name for column in entity.columns}
    # What fills itself stays as its owner wants it.
    needed = [name for name, have in stored.items() if have.is_not_null and not have.fills_itself]
    return [name for name in needed if name not in declared and name not in BRIDGE_COLUMNS]


def _takes(have: StoredColumn, column: Column) -> bool:
    """Whether the column of the table is wider than the declared one."""
    old = stored_type(have.sql_type)
    return old is not None and widens(column.type, old)


def _widening(column: Column, have: StoredColumn) -> str | None:
    """The clause that widens the column of the table to the declared one; None where that is not wider."""
    old = stored_type(have.sql_type)
    if old is None or not widens(old, column.type):
        return None
    name = quote(column.target_name)
    # Without a detour through its text a float would become a number of 6 or 15 digits.
    using = f" USING {name}::text::{column.type.sql}" if is_float(old) and not is_float(column.type) else ""
    return f"ALTER COLUMN {name} TYPE {column.type.sql}{using}"


def _plan_columns(entity: Entity, stored: dict[str, StoredColumn]) -> TablePlan:
    alter = f"ALTER TABLE {quote(entity.target_schema, entity.target_table)}"
    statements: list[str] = []
    changes: list[str] = []
    refused: list[str] = []
    for column in entity.columns:
        have = stored.get(column.target_name)
        if have is None and column.is_business_key:
            refused.append(f"{column.name}: the key column is missing in the table")
        elif have is None:
            statements.append(f"{alter} ADD COLUMN {quote(column.target_name)} {column.type.sql}")
            statements.append(_distrust_hashes(entity))
            changes.append(f"add {column.name} {column.type.sql}")
        elif have.sql_type != column.type.sql:
            widening = _widening(column, have)
            if widening is not None:
                statements.append(f"{alter} {widening}")
                changes.append(f"widen {column.name} from {have.sql_type} to {column.type.sql}")
            elif not _takes(have, column):
                refused.append(f"{column.name}: {have.sql_type} in the table, {column.type.sql} at the source")
    for name in sorted(entity.own_columns - stored.keys()):
        statements.append(f"{alter} ADD COLUMN {name} {OPTIONAL_COLUMNS[name]}")
        changes.append(f"add {name}")
    for name in _dropped(entity, stored):
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


def apply_table(cursor: Any, entity: Entity, plan: TablePlan) -> None:
    """Run the statements of a plan in the caller's transaction.

    What hangs on the table steps aside where a type changes.

    Raises:
        DatabaseRefusedError: we may not change the table, or something hangs on it that cannot be made anew.
    """
    if plan.statements:
        require_rights(cursor, entity, entity.target_schema, entity.target_table, ", ".join(plan.changes))
    changes_type = any(" ALTER COLUMN " in statement and " TYPE " in statement for statement in plan.statements)
    aside = dependants_down(cursor, entity.target_schema, entity.target_table) if changes_type else nullcontext()
    with aside:
        for statement in plan.statements:
            cursor.execute(statement)
