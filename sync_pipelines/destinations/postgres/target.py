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
    Alterations,
    TablePlan,
    check_is_ours,
    check_may_be_made,
    lost_column,
    plan_columns,
)
from sync_pipelines.destinations.postgres.dependants import dependants_down
from sync_pipelines.errors import UnknownTypeError
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Column, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import quote
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
    columns += [
        f"{name} {kind}"
        for name, kind in OPTIONAL_COLUMNS.items()
        if name in entity.position.own_columns
    ]
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
    return _plan_columns(entity, stored, rebuild=rebuild)


def _plan_columns(entity: Entity, stored: dict[str, StoredColumn], *, rebuild: bool) -> TablePlan:
    target = quote(entity.target_schema, entity.target_table)
    spelled = Alterations(
        table=target,
        quote=quote,
        stored_name=str,
        type_of=lambda column: column.type.sql,
        widening=_widening,
        holds=_holds,
        own_types=OPTIONAL_COLUMNS,
    )
    plan = plan_columns(
        entity, {name: have.sql_type for name, have in stored.items()}, spelled, rebuild=rebuild
    )
    dropped = _dropped_at_source(entity, stored)
    kept = [f"ALTER TABLE {target} ALTER COLUMN {quote(name)} DROP NOT NULL" for name in dropped]
    told = [f"keep {name}, which the source dropped" for name in dropped]
    return TablePlan((*plan.statements, *kept), (*plan.changes, *told))


def _widening(column: Column, have: str) -> str | None:
    """What widens a column from its type in the table; None when PostgreSQL would lose something."""
    old = stored_type(have)
    if old is None or not widens(old, column.type):
        return None
    name, wanted = quote(column.target_name), column.type.sql
    # Without a detour through its text a float would become a number of 6 or 15 digits.
    using = f" USING {name}::text::{wanted}" if is_float(old) and not is_float(column.type) else ""
    return f"ALTER COLUMN {name} TYPE {wanted}{using}"


def _holds(column: Column, have: str) -> bool:
    old = stored_type(have)
    return old is not None and widens(column.type, old)


def _dropped_at_source(entity: Entity, stored: dict[str, StoredColumn]) -> list[str]:
    """Columns that must take nulls from now on; what fills itself stays as its owner wants it."""
    known = {column.target_name for column in entity.columns} | BRIDGE_COLUMNS.keys()
    return [
        name
        for name, have in stored.items()
        if name not in known and have.is_not_null and not have.fills_itself
    ]


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
        require_rights(
            cursor, entity, entity.target_schema, entity.target_table, ", ".join(plan.changes)
        )
    changes_type = any(
        " ALTER COLUMN " in statement and " TYPE " in statement for statement in plan.statements
    )
    aside = (
        dependants_down(cursor, entity.target_schema, entity.target_table)
        if changes_type
        else nullcontext()
    )
    with aside:
        for statement in plan.statements:
            cursor.execute(statement)
