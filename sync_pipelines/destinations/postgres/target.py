"""The target table of an entity: what it must look like, how it differs, and how to bring it there without loss.

Added columns are added, wider types widened, columns that the API dropped kept with their last values. Anything that
would cut, reinterpret or drop data stops the entity with the plan in the message. `plan_` is pure, `apply_` writes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from sync_pipelines.catalog.rights import require_rights
from sync_pipelines.catalog.stored_columns import StoredColumn
from sync_pipelines.destinations.drift import Alterations, TablePlan, own_definitions
from sync_pipelines.destinations.drift import plan_table as plan_any_table
from sync_pipelines.destinations.postgres.dependants import dependants_down
from sync_pipelines.errors import UnknownTypeError
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Column, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of
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
    target = target_of(entity)
    return (
        f"ALTER TABLE {target} ADD CONSTRAINT {quote(primary)} PRIMARY KEY (_bridge_id)",
        f"ALTER TABLE {target} ADD CONSTRAINT {quote(business)} UNIQUE ({keys})",
        f"CREATE INDEX {quote(index)} ON {target} (_bridge_rowversion)",
    )


def create_statements(entity: Entity) -> tuple[str, ...]:
    """Statements that create the table as SyncFlow lays it out, with its constraints."""
    columns = ["_bridge_id uuid NOT NULL DEFAULT gen_random_uuid()"]
    columns += [_definition(column) for column in entity.columns]
    for name, definition in BRIDGE_COLUMNS.items():
        if name != "_bridge_id":
            columns.append(definition)
    columns += own_definitions(entity, OPTIONAL_COLUMNS)
    target = target_of(entity)
    definitions = ",\n  ".join(columns)
    return (f"CREATE TABLE {target} (\n  {definitions}\n)", *constraint_statements(entity))


def _definition(column: Column) -> str:
    may_be_null = column.is_nullable and not column.is_business_key
    return f"{quote(column.target_name)} {column.type.sql}{'' if may_be_null else ' NOT NULL'}"


def plan_table(
    entity: Entity,
    stored: dict[str, StoredColumn],
    *,
    rebuild: bool,
) -> TablePlan:
    """Compare an entity with its table; see `destinations.drift.plan_table`.

    Args:
        entity: with the columns that the API declares now.
        stored: from `read_columns`.
        rebuild: True when everything is read again, so that a missing table may be made anew.

    Raises:
        SchemaDriftError: the table is gone or cannot follow.
    """
    types = {name: have.sql_type for name, have in stored.items()}
    plan = plan_any_table(
        entity,
        types,
        _alterations(entity),
        rebuild=rebuild,
        creation=lambda: _creation(entity),
    )
    return _keep_dropped(entity, stored, plan)


def _creation(entity: Entity) -> TablePlan:
    words = f"create table {entity.table}"
    return TablePlan(create_statements(entity), (words,))


def _alterations(entity: Entity) -> Alterations:
    return Alterations(
        table=target_of(entity),
        quote=quote,
        stored_name=str,
        type_of=lambda column: column.type.sql,
        widening=_widening,
        holds=_holds,
        own_types=OPTIONAL_COLUMNS,
    )


def _keep_dropped(
    entity: Entity,
    stored: dict[str, StoredColumn],
    plan: TablePlan,
) -> TablePlan:
    """A plan that lets columns take nulls, too, which the source dropped."""
    target = target_of(entity)
    dropped = _dropped_at_source(entity, stored)
    statements = list(plan.statements)
    changes = list(plan.changes)
    for name in dropped:
        statements.append(f"ALTER TABLE {target} ALTER COLUMN {quote(name)} DROP NOT NULL")
        changes.append(f"keep {name}, which the source dropped")
    return TablePlan(tuple(statements), tuple(changes))


def _widening(column: Column, have: str) -> str | None:
    """What widens a column from its type in the table; None when PostgreSQL would lose something."""
    old = stored_type(have)
    if old is None or not widens(old, column.type):
        return None
    name = quote(column.target_name)
    wanted = column.type.sql
    change = f"ALTER COLUMN {name} TYPE {wanted}"
    if is_float(old) and not is_float(column.type):
        # Without a detour through its text a float would become a number of 6 or 15 digits.
        return f"{change} USING {name}::text::{wanted}"
    return change


def _holds(column: Column, have: str) -> bool:
    old = stored_type(have)
    return old is not None and widens(column.type, old)


def _dropped_at_source(entity: Entity, stored: dict[str, StoredColumn]) -> list[str]:
    """Columns that must take nulls from now on; what fills itself stays as its owner wants it."""
    known = {column.target_name for column in entity.columns}
    known |= BRIDGE_COLUMNS.keys()
    dropped = []
    for name, have in stored.items():
        must_change = have.is_not_null and not have.fills_itself
        if name not in known and must_change:
            dropped.append(name)
    return dropped


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
    schema, table = entity.target_schema, entity.target_table
    if plan.statements:
        changes = ", ".join(plan.changes)
        require_rights(cursor, entity, schema, table, changes)
    with ExitStack() as stack:
        if any(map(_changes_type, plan.statements)):
            aside = dependants_down(cursor, schema, table)
            stack.enter_context(aside)
        for statement in plan.statements:
            cursor.execute(statement)


def _changes_type(statement: str) -> bool:
    return " ALTER COLUMN " in statement and " TYPE " in statement
