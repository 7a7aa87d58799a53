"""The columns of a table as PostgreSQL has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StoredColumn:
    """A column as the database has it; `sql_type` as `format_type()` spells it; one with a default fills itself."""

    name: str
    sql_type: str
    is_not_null: bool
    fills_itself: bool = False


def read_columns(
    cursor: Any,
    schema: str,
    table: str,
) -> dict[str, StoredColumn]:
    """The columns of a table by name; empty when there is no such table."""
    cursor.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> ''
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        (schema, table),
    )
    return {row[0]: StoredColumn(*row) for row in cursor.fetchall()}
