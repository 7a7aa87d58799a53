"""Column types in Iceberg, in Hive and in staged Parquet, and which change of a type loses nothing."""

from __future__ import annotations

import re

from sync_pipelines.model.types import ColumnType, Kind

_ICEBERG = {
    Kind.TEXT: "varchar",
    Kind.SMALLINT: "integer",  # Iceberg has no smaller one
    Kind.INTEGER: "integer",
    Kind.BIGINT: "bigint",
    Kind.REAL: "real",
    Kind.DOUBLE: "double",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp(6)",
    Kind.TIMESTAMPTZ: "timestamp(6) with time zone",
    Kind.TIME: "time(6)",
    Kind.UUID: "uuid",
    Kind.JSON: "varchar",
    Kind.BYTES: "varbinary",
}
# Hive knows neither zones nor times nor uuids: moments are kept in UTC, the others as their text.
_HIVE = {
    **_ICEBERG,
    Kind.TIMESTAMPTZ: "timestamp(6)",
    Kind.TIME: "varchar",
    Kind.UUID: "varchar",
    Kind.SMALLINT: "smallint",
}
# As the pages' Arrow types arrive in Parquet; see `model.types`.
_STAGED = {**_HIVE, Kind.BYTES: "varchar"}
_WIDENINGS = {("integer", "bigint"), ("real", "double")}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def iceberg_type(column: ColumnType) -> str:
    """The type of a column in an Iceberg table, as Trino spells it."""
    return _decimal(column) or _ICEBERG[column.kind]


def hive_type(column: ColumnType) -> str:
    """The type of a column in a Hive table."""
    return _decimal(column) or _HIVE[column.kind]


def staged_type(column: ColumnType) -> str:
    """The type under which Hive reads a staged Parquet column."""
    return _decimal(column) or _STAGED[column.kind]


def _decimal(column: ColumnType) -> str | None:
    if column.kind is not Kind.NUMERIC:
        return None
    # What no decimal of Trino holds is kept as its exact text.
    return "varchar" if column.is_number_text else f"decimal({column.precision},{column.scale})"


def from_staged(expression: str, column: ColumnType, *, hive: bool = False) -> str:
    """SQL that turns a staged value into the table's type."""
    match column.kind:
        case Kind.BYTES:
            return f"from_hex(substr({expression}, 3))"
        case Kind.SMALLINT if not hive:
            return f"cast({expression} AS integer)"
        case Kind.TIMESTAMPTZ if not hive:
            return f"with_timezone({expression}, 'UTC')"
        case Kind.TIME | Kind.UUID if not hive:
            return f"cast({expression} AS {_ICEBERG[column.kind]})"
    return expression


def widens_in_iceberg(old: str, new: str) -> bool:
    """True when Iceberg can change the type in place: int to bigint, real to double, more digits before the point."""
    if (old, new) in _WIDENINGS:
        return True
    before = _DECIMAL.fullmatch(old)
    after = _DECIMAL.fullmatch(new)
    if before is None or after is None:
        return False
    has_room = int(after[1]) >= int(before[1])
    return has_room and before[2] == after[2]
