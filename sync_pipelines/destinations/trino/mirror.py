"""Rows of a Trino table brought here: keys and hashes for the audit, whole records for a proof or for another gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from sync_pipelines.destinations.trino.merge import match_keys
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.trino.reviews import keys_table
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import inline_relation
from sync_pipelines.destinations.trino.table import read_columns
from sync_pipelines.destinations.values import as_python
from sync_pipelines.model.entity import REVIEW_COLUMN, Entity
from sync_pipelines.model.quoting import quote as pg_quote
from sync_pipelines.model.types import ColumnType, Kind

_MIRROR = "mirrored"
_BRIDGE = {
    "_bridge_id": "uuid",
    "_bridge_hash": "text",
    "_bridge_deleted": "boolean",
    "_bridge_rowversion": "text",
}
_BATCH_ROWS = 20_000


def live_rows(session: Session, catalog: str, entity: Entity) -> Iterator[tuple[Any, ...]]:
    """Live rows: a value of each declared column, as psycopg would give it."""
    types = [column.type for column in entity.columns]
    names = [quote(column.target_name) for column in entity.columns]
    for row in _read(session, catalog, entity, names, "NOT _bridge_deleted"):
        yield tuple(as_python(value, kind) for value, kind in zip(row, types, strict=True))


def mirror_keys(
    session: Session, catalog: str, connection: psycopg.Connection[Any], entity: Entity
) -> str:
    """Copy keys, hashes and rowversions of all rows into a temporary table of the connection; returns its name.

    The other columns come along for rows whose hash covers other columns, since those are compared by their content.
    """
    there = read_columns(session, catalog, entity.target_schema, entity.target_table)
    columns = [column for column in entity.columns if column.target_name.lower() in there]
    types = {column.target_name: column.type.sql for column in columns} | _BRIDGE
    connection.execute(
        f"CREATE TEMP TABLE {_MIRROR} ({', '.join(f'{pg_quote(name)} {kind}' for name, kind in types.items())})"
    )
    is_by_hash = f"starts_with(_bridge_hash, {literal(f'{entity.columns_fingerprint}:')})"
    values = [
        quote(column.target_name)
        if column.is_business_key
        else f"if({is_by_hash}, NULL, {quote(column.target_name)})"
        for column in columns
    ]
    values += list(_BRIDGE)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {_MIRROR} ({', '.join(map(pg_quote, types))}) FROM STDIN") as copy,
    ):
        for row in _read(session, catalog, entity, values, "true"):
            own = [
                _for_copy(value, column.type) for value, column in zip(row, columns, strict=False)
            ]
            copy.write_row([*own, *row[len(columns) :]])
    connection.execute(f"ANALYZE {_MIRROR}")
    return _MIRROR


def mirror_rows(
    session: Session,
    catalog: str,
    connection: psycopg.Connection[Any],
    entity: Entity,
    key: tuple[str, ...] | None = None,
    *,
    is_hive: bool,
) -> str:
    """Copy the live rows, or the row of a key, into a temporary table of the connection; returns its name.

    Columns that the table in Trino does not have are not in the temporary one either.
    """
    there = read_columns(session, catalog, entity.target_schema, entity.target_table)
    columns = [column for column in entity.columns if column.target_name.lower() in there]
    types = {column.target_name: column.type.sql for column in columns} | {
        "_bridge_deleted": "boolean"
    }
    types |= {REVIEW_COLUMN: "text"} if REVIEW_COLUMN in there else {}
    connection.execute(
        f"CREATE TEMP TABLE {_MIRROR} ({', '.join(f'{pg_quote(name)} {kind}' for name, kind in types.items())})"
        " ON COMMIT DROP"
    )
    where = "NOT t._bridge_deleted"
    if key is not None:
        relation = inline_relation(*keys_table(entity, [key]), hive=is_hive)
        where = f"EXISTS (SELECT 1 FROM {relation} s WHERE {match_keys(entity)})"
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {_MIRROR} ({', '.join(map(pg_quote, types))}) FROM STDIN") as copy,
    ):
        for row in _read(session, catalog, entity, list(map(quote, types)), where):
            own = [
                _for_copy(value, column.type) for value, column in zip(row, columns, strict=False)
            ]
            copy.write_row([*own, *row[len(columns) :]])
    return _MIRROR


def _for_copy(value: Any, column_type: ColumnType) -> Any:
    return value if column_type.kind is Kind.JSON else as_python(value, column_type)


def _read(
    session: Session, catalog: str, entity: Entity, values: list[str], where: str
) -> Iterator[list[Any]]:
    table = quote(catalog, entity.target_schema, entity.target_table)
    cursor = session.connection().cursor()
    cursor.execute(f"SELECT {', '.join(values)} FROM {table} t WHERE {where}")
    while rows := cursor.fetchmany(_BATCH_ROWS):
        yield from rows
