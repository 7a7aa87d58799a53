"""The Iceberg table of an entity: what it must look like, how it differs, and how to bring it there without loss.

The rules are those of `destinations.drift`; Iceberg widens less (docs/trino.md), and what it cannot is
refused.
"""

from __future__ import annotations

import re

from sync_pipelines.destinations.aside import free_name
from sync_pipelines.destinations.drift import Alterations, TablePlan, own_definitions
from sync_pipelines.destinations.drift import plan_table as plan_any_table
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.quoting import quote
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


def plan_table(place: Place, stored: dict[str, str], *, rebuild: bool) -> TablePlan:
    """Compare an entity with its table; see `destinations.drift.plan_table`.

    Args:
        place: with the columns that the API declares now.
        stored: types of the table's columns by name.
        rebuild: True when everything is read again, so that a missing table may be made anew.

    Raises:
        SchemaDriftError: the table is gone or cannot follow.
    """
    return plan_any_table(
        place.entity,
        stored,
        _alterations(place),
        rebuild=rebuild,
        creation=lambda: _creation(place),
    )


def _creation(place: Place) -> TablePlan:
    """How the table is made."""
    entity = place.entity
    columns = [_definition(column) for column in entity.columns]
    for name, kind in BRIDGE_TYPES.items():
        may_be_null = name == "_bridge_rowversion"
        columns.append(f"{name} {kind}{'' if may_be_null else ' NOT NULL'}")
    columns += own_definitions(entity, OPTIONAL_TYPES)
    definitions = ",\n  ".join(columns)
    statement = f"CREATE TABLE IF NOT EXISTS {place.table} (\n  {definitions}\n)"
    return TablePlan((statement,), (f"create table {place.catalog}.{entity.table}",))


def _definition(column: Column) -> str:
    is_required = " NOT NULL" if column.is_business_key else ""
    return f"{quote(column.target_name)} {iceberg_type(column.type)}{is_required}"


def _alterations(place: Place) -> Alterations:
    """How Trino changes an Iceberg table, which widens less than PostgreSQL does."""

    def widening(column: Column, have: str) -> str | None:
        wanted = iceberg_type(column.type)
        if not widens_in_iceberg(have, wanted):
            return None
        return f"ALTER COLUMN {quote(column.target_name)} SET DATA TYPE {wanted}"

    return Alterations(
        table=place.table,
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


def set_aside(place: Place, suffix: str, *, is_view: bool = False) -> str | None:
    """Rename the table, so that a new one can take the name; nothing is dropped.

    Args:
        place: whose table.
        suffix: of the new name; numbered when that is taken.
        is_view: the table of a Hive catalog, whose table of rows stays with it.

    Returns:
        The new name, or None when there was no table.
    """
    if not place.columns():
        return None
    table = place.entity.target_table.lower()
    old = free_name(table, suffix, is_taken=lambda name: bool(place.columns(name)))
    what = "VIEW" if is_view else "TABLE"
    place.session.execute(f"ALTER {what} {place.table} RENAME TO {place.beside(old)}")
    return f"{place.entity.target_schema.lower()}.{old}"
