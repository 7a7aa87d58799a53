"""The Iceberg table of an entity: what it must look like, how it differs, and how to bring it there without loss.

The rules are those of `destinations.postgres.target`; Iceberg widens less (docs/trino.md), and what it cannot is
refused.
"""

from __future__ import annotations

import re

from sync_pipelines.destinations.drift import (
    Alterations,
    TablePlan,
    check_is_ours,
    check_may_be_made,
    plan_columns,
)
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.types import iceberg_type, widens_in_iceberg
from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.entity import (
    COERCED_COLUMN,
    REJECTED_COLUMN,
    REVIEW_COLUMN,
    Column,
    Entity,
)

BRIDGE_TYPES = {
    "_bridge_id": "uuid",
    "_bridge_created_at": "timestamp(6) with time zone",
    "_bridge_updated_at": "timestamp(6) with time zone",
    "_bridge_hash": "varchar",
    "_bridge_deleted": "boolean",
    "_bridge_rowversion": "varchar",
}
OPTIONAL_TYPES = {
    REVIEW_COLUMN: "varchar",
    COERCED_COLUMN: "varchar",
    REJECTED_COLUMN: "timestamp(6) with time zone",
}
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
        return TablePlan(
            create_statements(catalog, entity), (f"create table {catalog}.{entity.table}",)
        )
    check_is_ours(entity, stored)
    return plan_columns(entity, stored, _alterations(catalog, entity), rebuild=rebuild)


def create_statements(catalog: str, entity: Entity) -> tuple[str, ...]:
    """Statements that create the table."""
    keys = {column.target_name for column in entity.business_keys}
    columns = [
        f"{quote(column.target_name)} {iceberg_type(column.type)}"
        + (" NOT NULL" if column.target_name in keys else "")
        for column in entity.columns
    ]
    columns += [
        f"{name} {kind}" + ("" if name == "_bridge_rowversion" else " NOT NULL")
        for name, kind in BRIDGE_TYPES.items()
    ]
    columns += [
        f"{name} {kind}"
        for name, kind in OPTIONAL_TYPES.items()
        if name in entity.position.own_columns
    ]
    return (
        f"CREATE TABLE IF NOT EXISTS {quote(catalog, entity.target_schema, entity.target_table)} (\n  "
        + ",\n  ".join(columns)
        + "\n)",
    )


def _alterations(catalog: str, entity: Entity) -> Alterations:
    """How Trino changes an Iceberg table, which widens less than PostgreSQL does."""

    def widening(column: Column, have: str) -> str | None:
        wanted = iceberg_type(column.type)
        is_wider = widens_in_iceberg(have, wanted)
        return (
            f"ALTER COLUMN {quote(column.target_name)} SET DATA TYPE {wanted}" if is_wider else None
        )

    return Alterations(
        table=quote(catalog, entity.target_schema, entity.target_table),
        quote=quote,
        stored_name=str.lower,
        type_of=lambda column: iceberg_type(column.type),
        widening=widening,
        holds=lambda column, have: widens_in_iceberg(iceberg_type(column.type), have),
        own_types=OPTIONAL_TYPES,
    )


def apply_table(session: Session, plan: TablePlan) -> None:
    """Run the statements of a plan, one commit each; each may be repeated by a later run."""
    for statement in plan.statements:
        session.execute(statement)


def set_aside(
    session: Session, catalog: str, entity: Entity, suffix: str, *, is_view: bool = False
) -> str | None:
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
