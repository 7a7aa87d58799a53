"""Values between a destination and Arrow: as its client gives them, and as PostgreSQL spells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sync_pipelines.model.types import ColumnType, Kind


def as_python(value: Any, column_type: ColumnType) -> Any:
    """A value of another client as psycopg gives it: numbers, JSON and uuids may come as texts."""
    if value is None:
        return None
    if column_type.is_number_text:
        return Decimal(value)
    match column_type.kind:
        case Kind.JSON:
            return json.loads(value)
        case Kind.UUID:
            return UUID(str(value))
        case Kind.TIMESTAMPTZ if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def row_as_python(row: Sequence[Any], types: Sequence[ColumnType]) -> tuple[Any, ...]:
    """The values of a row as psycopg gives them.

    Raises:
        ValueError: the row has not one value for each type.
    """
    values = zip(row, types, strict=True)
    return tuple([as_python(value, column_type) for value, column_type in values])


def canonical_text(expression: str, kind: Kind) -> str:
    """SQL of PostgreSQL: the canonical text of a value, which `batches.arrays.from_canonical` reads."""
    if kind not in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        return f"{expression}::text"
    in_utc = f"{expression} AT TIME ZONE 'UTC'" if kind is Kind.TIMESTAMPTZ else expression
    return f"to_char({in_utc}, 'YYYY-MM-DD HH24:MI:SS.US')"
