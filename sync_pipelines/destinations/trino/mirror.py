"""Rows of a Trino table brought here: keys and hashes for the audit, whole records for a proof or for another gate."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import psycopg

from sync_pipelines.books.keys import Key
from sync_pipelines.destinations.copied import OWN_TYPES, copy_rows
from sync_pipelines.destinations.hashes import covers_columns
from sync_pipelines.destinations.trino.keys import keys_table
from sync_pipelines.destinations.trino.merge import match_keys
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.staging import inline_relation
from sync_pipelines.destinations.values import as_python, row_as_python
from sync_pipelines.model.entity import REVIEW_COLUMN, Column
from sync_pipelines.model.types import ColumnType, Kind

_BATCH_ROWS = 20_000


def live_rows(place: Place) -> Iterator[tuple[Any, ...]]:
    """Live rows: a value of each declared column, as psycopg would give it."""
    columns = place.entity.columns
    types = [column.type for column in columns]
    names = [quote(column.target_name) for column in columns]
    for row in _read(place, names, "NOT _bridge_deleted"):
        yield row_as_python(row, types)


def mirror_keys(place: Place, connection: psycopg.Connection[Any]) -> str:
    """Copy keys, hashes and rowversions of all rows into a temporary table of the connection; returns its name.

    The other columns come along for rows whose hash covers other columns, since those are compared by their content.
    """
    columns = _columns(place, place.columns())
    is_by_hash = covers_columns(place.entity, "_bridge_hash")
    values = []
    for column in columns:
        value = quote(column.target_name)
        if not column.is_business_key:
            value = f"if({is_by_hash}, NULL, {value})"
        values.append(value)
    values += OWN_TYPES
    rows = _read(place, values, "true")
    return copy_rows(
        connection,
        _types(columns) | OWN_TYPES,
        _for_copy(rows, columns),
        is_transient=False,
    )


def mirror_rows(
    place: Place,
    connection: psycopg.Connection[Any],
    key: Key | None = None,
    *,
    is_hive: bool,
) -> str:
    """Copy the live rows, or the row of a key, into a temporary table of the connection; returns its name.

    Columns that the table in Trino does not have are not in the temporary one either.
    """
    there = place.columns()
    columns = _columns(place, there)
    types = _types(columns)
    types["_bridge_deleted"] = "boolean"
    if REVIEW_COLUMN in there:
        types[REVIEW_COLUMN] = "text"
    condition = "NOT t._bridge_deleted"
    if key is not None:
        table, fields = keys_table(place.entity, [key])
        relation = inline_relation(table, fields, hive=is_hive)
        match = match_keys(place.entity)
        condition = f"EXISTS (SELECT 1 FROM {relation} s WHERE {match})"
    names = [quote(name) for name in types]
    rows = _read(place, names, condition)
    return copy_rows(
        connection,
        types,
        _for_copy(rows, columns),
        is_transient=True,
    )


def _columns(place: Place, there: Collection[str]) -> list[Column]:
    """The declared columns that the table has.

    Args:
        place: whose columns.
        there: names of the table's columns.
    """
    columns = place.entity.columns
    return [column for column in columns if column.target_name.lower() in there]


def _types(columns: list[Column]) -> dict[str, str]:
    return {column.target_name: column.type.sql for column in columns}


def _for_copy(rows: Iterator[list[Any]], columns: list[Column]) -> Iterator[list[Any]]:
    """Rows as COPY takes them: columns of the source first, then those of ours as they are."""
    types = [column.type for column in columns]
    count = len(types)
    for row in rows:
        values = zip(row[:count], types, strict=True)
        content = [_copied(value, column_type) for value, column_type in values]
        yield [*content, *row[count:]]


def _copied(value: Any, column_type: ColumnType) -> Any:
    if column_type.kind is Kind.JSON:
        return value
    return as_python(value, column_type)


def _read(
    place: Place,
    values: list[str],
    condition: str,
) -> Iterator[list[Any]]:
    cursor = place.session.connection().cursor()
    cursor.execute(f"SELECT {', '.join(values)} FROM {place.table} t WHERE {condition}")
    while rows := cursor.fetchmany(_BATCH_ROWS):
        yield from rows
