"""Rows of a destination elsewhere, copied next to the catalog for as long as somebody compares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from sync_pipelines.model.quoting import quote

COPY = "mirrored"
OWN_TYPES = {
    "_bridge_id": "uuid",
    "_bridge_hash": "text",
    "_bridge_deleted": "boolean",
    "_bridge_rowversion": "text",
}
"""Columns of ours that an audit asks for, and their types in the copy."""


def copy_rows(
    connection: psycopg.Connection[Any],
    types: Mapping[str, str],
    rows: Iterable[Sequence[Any]],
    *,
    is_transient: bool,
) -> str:
    """Copy rows into a temporary table of a connection.

    Args:
        connection: of the catalog.
        types: of the columns, by name.
        rows: with a value of each column.
        is_transient: the copy ends with the transaction, else with the connection.

    Returns:
        The name of the table.
    """
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
    ending = " ON COMMIT DROP" if is_transient else ""
    names = ", ".join(map(quote, types))
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {COPY} ({columns}){ending}")
        with cursor.copy(f"COPY {COPY} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"ANALYZE {COPY}")
    return COPY
