"""Declared types: every name that a source may use, the exact image, and what may be widened in place."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.destinations.postgres.target import stored_type
from sync_pipelines.errors import UnknownTypeError
from sync_pipelines.model.types import ColumnType, Kind, parse_type, widens

# Declared by a source, and the type that PostgreSQL's format_type() must then show.
DECLARED = {
    "VARCHAR(50)": "character varying(50)",
    "VARCHAR2(50 CHAR)": "character varying(50)",
    "VARCHAR2(50 BYTE)": "character varying(50)",
    "nvarchar2( 50 )": "character varying(50)",
    "NVARCHAR(7)": "character varying(7)",
    "character varying(20)": "character varying(20)",
    "character varying": "text",
    "VARCHAR": "text",
    "CHAR": "character varying(1)",
    "NCHAR(3)": "character varying(3)",
    "CHARACTER(3)": "character varying(3)",
    "BPCHAR": "character varying(1)",
    "TEXT": "text",
    "STRING": "text",
    "CLOB": "text",
    "NCLOB": "text",
    "LONG": "text",
    "NUMBER": "numeric",
    "NUMBER(*)": "numeric",
    "NUMBER(*,2)": "numeric(38,2)",
    "NUMBER(10)": "numeric(10,0)",
    "NUMERIC(10, 3)": "numeric(10,3)",
    "DECIMAL(38,38)": "numeric(38,38)",
    "DEC(5,2)": "numeric(5,2)",
    "NUMERIC(1000,1000)": "numeric(1000,1000)",
    "SMALLINT": "smallint",
    "INT2": "smallint",
    "INT": "integer",
    "INTEGER": "integer",
    "INT4": "integer",
    "BIGINT": "bigint",
    "INT8": "bigint",
    "REAL": "real",
    "FLOAT4": "real",
    "BINARY_FLOAT": "real",
    "DOUBLE": "double precision",
    "DOUBLE PRECISION": "double precision",
    "FLOAT": "double precision",
    "FLOAT(53)": "double precision",
    "FLOAT(126)": "numeric",
    "FLOAT8": "double precision",
    "BINARY_DOUBLE": "double precision",
    "BOOLEAN": "boolean",
    "BOOL": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp without time zone",
    "DATETIME": "timestamp without time zone",
    "TIMESTAMP(3)": "timestamp(3) without time zone",
    "timestamp(0) without time zone": "timestamp(0) without time zone",
    "TIMESTAMPTZ": "timestamp with time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "TIMESTAMP(3) WITH TIME ZONE": "timestamp(3) with time zone",
    "TIMESTAMP (6)  WITH LOCAL TIME ZONE": "timestamp with time zone",
    "TIME": "time without time zone",
    "TIME(2)": "time(2) without time zone",
    "UUID": "uuid",
    "JSON": "jsonb",
    "JSONB": "jsonb",
    "BYTEA": "bytea",
    "RAW(16)": "bytea",
    "LONG RAW": "bytea",
    "BLOB": "bytea",
    "VARBINARY(8)": "bytea",
    "BINARY": "bytea",
}
REFUSED = [
    "",
    "VARCHAR(0)",
    "VARCHAR(99999999)",
    "NUMBER(0)",
    "NUMBER(1001)",
    "NUMBER(10,-2)",
    "NUMBER(3,5)",
    "TIMESTAMP(9)",
    "TIME WITH TIME ZONE",
    "DATE(3)",
    "UUID(16)",
    "BOOLEAN(1)",
    "XMLTYPE",
    "ROWID",
    "INTERVAL YEAR TO MONTH",
    "VARCHAR(50",
    "VARCHAR(50); DROP TABLE x",
    "INTEGER[]",
    "VARCHAR(٣)x",
]
LATTICE = [
    ColumnType(Kind.TEXT),
    *[ColumnType(Kind.TEXT, length=length) for length in (1, 5, 50)],
    *[
        ColumnType(kind)
        for kind in (Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.REAL, Kind.DOUBLE)
    ],
    ColumnType(Kind.NUMERIC),
    *[
        ColumnType(Kind.NUMERIC, precision=precision, scale=scale)
        for precision, scale in (
            (5, 0),
            (10, 0),
            (10, 3),
            (12, 3),
            (19, 0),
            (22, 3),
            (38, 10),
            (50, 2),
        )
    ],
    *[
        ColumnType(kind, precision=digits)
        for kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME)
        for digits in (0, 3, 6)
    ],
    *[ColumnType(kind) for kind in (Kind.DATE, Kind.BOOLEAN, Kind.UUID, Kind.JSON)],
    *[ColumnType(Kind.BYTES, length=length) for length in (None, 8, 16)],
]
WIDENINGS = [(old, new) for old, new in itertools.permutations(LATTICE, 2) if widens(old, new)]
# Extreme values of a type, as PostgreSQL literals.
SAMPLES: dict[Kind, list[str]] = {
    Kind.SMALLINT: ["-32768", "32767"],
    Kind.INTEGER: ["-2147483648", "2147483647"],
    Kind.BIGINT: ["-9223372036854775808", "9223372036854775807"],
    Kind.REAL: ["0.5", "3.4028235e38", "-1.17549435e-38"],
    Kind.DOUBLE: ["0.1", "1.7976931348623157e308"],
    Kind.DATE: ["0001-01-01", "9999-12-31"],
    Kind.TIMESTAMP: ["0001-01-01 00:00:00", "9999-12-31 23:59:59"],
    Kind.TIMESTAMPTZ: ["0001-01-01 00:00:00+00", "2024-03-31 02:30:00+01"],
    Kind.TIME: ["00:00:00", "23:59:59"],
    Kind.BYTES: ["\\x", "\\x00ff00ff00ff00ff"],
}


@pytest.mark.parametrize("declared", DECLARED)
def test_every_known_name_has_its_exact_image(declared: str) -> None:
    assert parse_type(declared).sql == DECLARED[declared]


@pytest.mark.parametrize("declared", DECLARED)
def test_a_name_may_be_written_in_any_case_and_with_blanks_around(declared: str) -> None:
    assert parse_type(f"  {declared.lower()} ") == parse_type(declared)


@pytest.mark.parametrize("declared", REFUSED)
def test_a_type_without_exact_image_is_refused_by_name(declared: str) -> None:
    with pytest.raises(UnknownTypeError) as caught:
        parse_type(declared)
    assert repr(declared) in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_type_or_an_unknown_type(declared: str) -> None:
    with contextlib.suppress(UnknownTypeError):
        assert parse_type(declared).sql


@pytest.mark.parametrize("declared", DECLARED)
def test_the_spelling_of_postgresql_reads_back_as_the_same_sql_and_arrow_type(
    declared: str,
) -> None:
    column_type = parse_type(declared)
    back = stored_type(column_type.sql)
    assert back is not None
    assert (back.sql, back.arrow) == (column_type.sql, column_type.arrow)


def test_raw_is_hexadecimal_and_blob_is_not() -> None:
    assert parse_type("RAW(16)").hexadecimal
    assert parse_type("LONG RAW").hexadecimal
    assert not parse_type("BLOB").hexadecimal


@pytest.mark.parametrize("declared", ["NUMBER", "NUMERIC(39,2)"])
def test_numbers_beyond_arrows_decimals_travel_as_text(declared: str) -> None:
    assert parse_type(declared).is_number_text
    assert parse_type(declared).arrow == pa.string()


@pytest.mark.parametrize("column_type", LATTICE, ids=str)
def test_widening_is_reflexive(column_type: ColumnType) -> None:
    assert widens(column_type, column_type)


def test_widening_is_transitive() -> None:
    broken = [
        (str(first), str(second), str(third))
        for first, second, third in itertools.product(LATTICE, repeat=3)
        if widens(first, second) and widens(second, third) and not widens(first, third)
    ]
    assert broken == []


def test_widening_never_goes_both_ways_between_different_types() -> None:
    assert [(str(old), str(new)) for old, new in WIDENINGS if widens(new, old)] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("INTEGER", "TEXT"),
        ("TEXT", "VARCHAR(10)"),
        ("VARCHAR(50)", "VARCHAR(49)"),
        ("NUMERIC(10,3)", "NUMERIC(10,4)"),
        ("NUMERIC(10,3)", "NUMERIC(12,2)"),
        ("NUMERIC", "NUMERIC(1000,0)"),
        ("BIGINT", "INTEGER"),
        ("BIGINT", "DOUBLE"),
        ("BIGINT", "NUMERIC(18,0)"),
        ("DOUBLE", "NUMERIC(38,10)"),
        ("NUMERIC", "DOUBLE"),
        ("TIMESTAMP", "TIMESTAMPTZ"),
        ("TIMESTAMP", "DATE"),
        ("TIMESTAMP(6)", "TIMESTAMP(3)"),
        ("BOOLEAN", "INTEGER"),
        ("JSON", "TEXT"),
        ("UUID", "TEXT"),
        ("BYTEA", "RAW(16)"),
    ],
)
def test_what_would_cut_or_reinterpret_is_not_wider(old: str, new: str) -> None:
    assert not widens(parse_type(old), parse_type(new))


@pytest.fixture(scope="module")
def connection(server_url: str) -> Any:
    with psycopg.connect(server_url, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
        yield opened


@pytest.mark.parametrize("declared", DECLARED)
def test_postgresql_spells_the_type_as_we_do(
    connection: psycopg.Connection[Any], declared: str
) -> None:
    column_type = parse_type(declared)
    connection.execute(
        f"DROP TABLE IF EXISTS pg_temp.spelling; CREATE TEMP TABLE spelling (v {column_type.sql})"
    )
    found = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid ="
        " 'pg_temp.spelling'::regclass AND attnum = 1"
    ).fetchone()
    assert found == (column_type.sql,)


@pytest.mark.parametrize(("old", "new"), WIDENINGS, ids=lambda column_type: str(column_type))
def test_postgresql_widens_in_place_and_keeps_every_value(
    connection: psycopg.Connection[Any], old: ColumnType, new: ColumnType
) -> None:
    connection.execute(
        f"DROP TABLE IF EXISTS pg_temp.wide; CREATE TEMP TABLE wide (v {old.sql}, before text)"
    )
    for sample in samples_of(old):
        connection.execute(f"INSERT INTO wide (v) VALUES (%s::text::{old.sql})", [sample])
    connection.execute(f"ALTER TABLE wide ALTER COLUMN v TYPE {new.sql}")
    for (value,), sample in zip(
        connection.execute("SELECT v::text FROM wide"), samples_of(old), strict=True
    ):
        same = connection.execute(
            f"SELECT %s::text::{new.sql} IS NOT DISTINCT FROM %s::text::{old.sql}::{new.sql}",
            [value, sample],
        ).fetchone()
        assert same == (True,), (value, sample)


def samples_of(column_type: ColumnType) -> list[str]:
    if column_type.kind is Kind.TEXT:
        return ["é" * (column_type.length or 100), ""]
    if column_type.kind is Kind.NUMERIC:
        precision, scale = column_type.precision or 60, column_type.scale or 0
        whole = "9" * (precision - scale) or "0"
        return [f"-{whole}.{'9' * scale}".rstrip("."), "0"]
    return SAMPLES[column_type.kind]
