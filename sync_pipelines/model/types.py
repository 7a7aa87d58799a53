"""Declared column types: parsing, the exact image in PostgreSQL and Arrow, and which type widens which.

Sources: SyncFlow's column metadata (PostgreSQL names) and the Oracle names that its APIs come from
(Oracle Database SQL Language Reference, "Data Types"; PostgreSQL documentation, chapter 8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from sync_pipelines.errors import UnknownTypeError

MAX_TEXT_LENGTH = 10_485_760
MAX_NUMERIC_PRECISION = 1000
MAX_ARROW_PRECISION = 38


class Kind(StrEnum):
    """What a value of the column is, whatever the source calls it."""

    TEXT = "text"
    NUMERIC = "numeric"
    SMALLINT = "smallint"
    INTEGER = "integer"
    BIGINT = "bigint"
    REAL = "real"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIME = "time"
    UUID = "uuid"
    JSON = "json"
    BYTES = "bytes"


INTEGER_BITS = {Kind.SMALLINT: 16, Kind.INTEGER: 32, Kind.BIGINT: 64}
INTEGER_DIGITS = {Kind.SMALLINT: 5, Kind.INTEGER: 10, Kind.BIGINT: 19}

_NAMES: dict[str, Kind] = {
    **dict.fromkeys(
        [
            "varchar",
            "varchar2",
            "nvarchar",
            "nvarchar2",
            "character varying",
            "char",
            "nchar",
            "character",
            "bpchar",
        ]
        + ["text", "string", "clob", "nclob", "long"],
        Kind.TEXT,
    ),
    **dict.fromkeys(["numeric", "decimal", "dec", "number"], Kind.NUMERIC),
    **dict.fromkeys(["smallint", "int2"], Kind.SMALLINT),
    **dict.fromkeys(["integer", "int", "int4"], Kind.INTEGER),
    **dict.fromkeys(["bigint", "int8"], Kind.BIGINT),
    **dict.fromkeys(["real", "float4", "binary_float"], Kind.REAL),
    **dict.fromkeys(
        ["double", "double precision", "float", "float8", "binary_double"],
        Kind.DOUBLE,
    ),
    **dict.fromkeys(["boolean", "bool"], Kind.BOOLEAN),
    "date": Kind.DATE,
    **dict.fromkeys(["timestamp", "datetime", "timestamp without time zone"], Kind.TIMESTAMP),
    **dict.fromkeys(
        ["timestamptz", "timestamp with time zone", "timestamp with local time zone"],
        Kind.TIMESTAMPTZ,
    ),
    **dict.fromkeys(["time", "time without time zone"], Kind.TIME),
    "uuid": Kind.UUID,
    **dict.fromkeys(["json", "jsonb"], Kind.JSON),
    **dict.fromkeys(["bytea", "raw", "long raw", "blob", "binary", "varbinary"], Kind.BYTES),
}
_UNBOUNDED_TEXT = {"text", "string", "clob", "nclob", "long"}
_SINGLE_CHARACTER = {"char", "nchar", "character", "bpchar"}
_DECLARED = re.compile(
    r"^(?P<name>[a-z][a-z0-9_ ]*?)\s*(?:\(\s*(?P<first>\d+|\*)\s*(?:char|byte)?\s*(?:,\s*(?P<second>-?\d+)\s*)?\))?"
    r"(?P<zone>\s+with(?:out)?(?:\s+local)?\s+time\s+zone)?$"
)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A parsed column type.

    Attributes:
        kind: what a value is.
        length: most characters of a text or most bytes of a byte string; None = unbounded.
        precision: decimal digits in all (numeric), or fractional second digits (timestamps, time).
        scale: decimal digits after the point (numeric).
        hexadecimal: bytes come as hexadecimal digits (Oracle RAW), otherwise as base64 or PostgreSQL's `\\x` form.
    """

    kind: Kind
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    hexadecimal: bool = field(default=False, compare=False)

    @property
    def sql(self) -> str:
        """The exact PostgreSQL type, as `format_type()` spells it."""
        return _sql(self)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which a page carries it; text where Arrow has no exact image."""
        return _arrow(self)

    @property
    def is_number_text(self) -> bool:
        """Numeric without declared precision, or wider than Arrow's decimals: travels as text."""
        if self.kind is not Kind.NUMERIC:
            return False
        return self.precision is None or self.precision > MAX_ARROW_PRECISION

    def __str__(self) -> str:
        return self.sql


def parse_type(declared: str) -> ColumnType:
    """Parse a declared type such as `VARCHAR2(50 CHAR)`, `NUMBER(10,3)` or `TIMESTAMP(6) WITH TIME ZONE`.

    Oracle's DATE is taken as a date: a value with a time of day that is not midnight is refused by the gate.

    Raises:
        UnknownTypeError: no exact image is known; names the declared type.
    """
    text = re.sub(r"\s+", " ", declared.strip().lower())
    match = _DECLARED.match(text)
    name = match["name"].strip() if match else text
    if match and match["zone"]:
        name = f"{name} {match['zone'].strip()}"
    kind = _NAMES.get(name)
    if match is None or kind is None:
        names = sorted(name.upper() for name in _NAMES)
        raise UnknownTypeError(
            f"The declared type {declared!r} is unknown; known are {', '.join(names)}."
        )
    first = None if match["first"] in (None, "*") else int(match["first"])
    second = None if match["second"] is None else int(match["second"])
    return _checked(declared, name, kind, first, second)


def _checked(
    declared: str,
    name: str,
    kind: Kind,
    first: int | None,
    second: int | None,
) -> ColumnType:
    if name == "float" and (first or 0) > 53:
        # Oracle's binary precision, up to 126: more than a double holds.
        return ColumnType(Kind.NUMERIC)
    if kind is Kind.TEXT:
        return _checked_text(declared, name, first)
    if kind is Kind.NUMERIC:
        return _checked_numeric(declared, first, second)
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME):
        if first is not None and first > 6:
            why = "PostgreSQL keeps microseconds, so at most 6 fractional digits"
            raise _inexact(declared, why)
        return ColumnType(kind, precision=6 if first is None else first)
    if kind is Kind.BYTES:
        return ColumnType(kind, length=first, hexadecimal="raw" in name)
    may_have_width = kind in (Kind.DOUBLE, Kind.REAL, *INTEGER_BITS)
    if second is not None or (first is not None and not may_have_width):
        raise _inexact(declared, "this type takes no length")
    return ColumnType(kind)


def _checked_text(
    declared: str,
    name: str,
    first: int | None,
) -> ColumnType:
    length = first or (1 if name in _SINGLE_CHARACTER else None)
    if name in _UNBOUNDED_TEXT:
        length = None
    if first == 0 or (length or 0) > MAX_TEXT_LENGTH:
        raise _inexact(declared, f"a length must be 1 to {MAX_TEXT_LENGTH}")
    return ColumnType(Kind.TEXT, length=length)


def _checked_numeric(
    declared: str,
    first: int | None,
    second: int | None,
) -> ColumnType:
    if first is None:
        if second is None:
            return ColumnType(Kind.NUMERIC)
        return ColumnType(Kind.NUMERIC, precision=38, scale=second)
    scale = second or 0
    if not 1 <= first <= MAX_NUMERIC_PRECISION or not 0 <= scale <= first:
        raise _inexact(declared, "precision must be 1 to 1000 and scale 0 to the precision")
    return ColumnType(Kind.NUMERIC, precision=first, scale=scale)


def _inexact(declared: str, why: str) -> UnknownTypeError:
    return UnknownTypeError(f"The declared type {declared!r} cannot be kept exactly: {why}.")


def _sql(column_type: ColumnType) -> str:
    match column_type.kind:
        case Kind.TEXT:
            length = column_type.length
            return "text" if length is None else f"character varying({length})"
        case Kind.NUMERIC if column_type.precision is None:
            return "numeric"
        case Kind.NUMERIC:
            return f"numeric({column_type.precision},{column_type.scale})"
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ | Kind.TIME:
            base = "time" if column_type.kind is Kind.TIME else "timestamp"
            digits = "" if column_type.precision == 6 else f"({column_type.precision})"
            zone = "with" if column_type.kind is Kind.TIMESTAMPTZ else "without"
            return f"{base}{digits} {zone} time zone"
        case Kind.DOUBLE:
            return "double precision"
        case Kind.JSON:
            return "jsonb"
        case Kind.BYTES:
            return "bytea"
        case kind:
            return str(kind)


def _arrow(column_type: ColumnType) -> pa.DataType:
    match column_type.kind:
        case Kind.SMALLINT:
            return pa.int16()
        case Kind.INTEGER:
            return pa.int32()
        case Kind.BIGINT:
            return pa.int64()
        case Kind.REAL:
            return pa.float32()
        case Kind.DOUBLE:
            return pa.float64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.DATE:
            return pa.date32()
        case Kind.TIMESTAMP:
            return pa.timestamp("us")
        case Kind.TIMESTAMPTZ:
            return pa.timestamp("us", tz="UTC")
        case Kind.NUMERIC if not column_type.is_number_text:
            precision = column_type.precision or 38
            scale = column_type.scale or 0
            return pa.decimal128(precision, scale)
        case _:
            return pa.string()


def _widens_to_numeric(old: ColumnType, new: ColumnType) -> bool:
    if new.precision is None:
        # A float's shortest text is a number that NUMERIC keeps.
        return old.kind in (Kind.NUMERIC, Kind.REAL, Kind.DOUBLE, *INTEGER_BITS)
    new_scale = new.scale or 0
    whole_digits = new.precision - new_scale
    if old.kind in INTEGER_BITS:
        return whole_digits >= INTEGER_DIGITS[old.kind]
    if old.kind is not Kind.NUMERIC or old.precision is None:
        return False
    old_scale = old.scale or 0
    return new_scale >= old_scale and whole_digits >= old.precision - old_scale


def widens(old: ColumnType, new: ColumnType) -> bool:
    """True when every value of `old` is the same value in `new` and PostgreSQL can cast it in place.

    Equal types count. Anything becomes unbounded text only from text: a number that turns into text
    is another meaning, not a wider number.
    """
    if old == new:
        return True
    if old.kind is Kind.TEXT and new.kind is Kind.TEXT:
        return _at_least(new.length, old.length)
    if old.kind in INTEGER_BITS and new.kind in INTEGER_BITS:
        return INTEGER_BITS[new.kind] >= INTEGER_BITS[old.kind]
    if new.kind is Kind.NUMERIC:
        return _widens_to_numeric(old, new)
    if (old.kind, new.kind) in ((Kind.REAL, Kind.DOUBLE), (Kind.DATE, Kind.TIMESTAMP)):
        return True
    if old.kind is new.kind and old.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME):
        return (new.precision or 0) >= (old.precision or 0)
    if old.kind is Kind.BYTES and new.kind is Kind.BYTES:
        return _at_least(new.length, old.length)
    return False


def _at_least(new: int | None, old: int | None) -> bool:
    return new is None or (old is not None and new >= old)
