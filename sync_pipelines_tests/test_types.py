"""Every declared type from JSON to PostgreSQL: the stored value is the sent one, whichever path decoded it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.demo.twin import IntegerRowversions, TwinColumn, TwinTable
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.world import World

MANY_DIGITS = "1234567890" * 3 + "12345678"
# Declared type, type in PostgreSQL, values as sent, the same values as PostgreSQL prints them.
CASES: list[tuple[str, str, list[Any], list[str]]] = [
    (
        "VARCHAR(50)",
        "character varying(50)",
        ["", "äöü€😀", "a\nb\"c,d'\\"],
        ["", "äöü€😀", "a\nb\"c,d'\\"],
    ),
    (
        "VARCHAR2(50 CHAR)",
        "character varying(50)",
        [" both ends ", "\\N", "\\."],
        [" both ends ", "\\N", "\\."],
    ),
    (
        "NVARCHAR2(5)",
        "character varying(5)",
        ["😀😀😀😀😀", "ß", "\x1f\x1e"],
        ["😀😀😀😀😀", "ß", "\x1f\x1e"],
    ),
    ("CHAR(3)", "character varying(3)", ["a", "abc", "a  "], ["a", "abc", "a  "]),
    ("CHAR", "character varying(1)", ["Y", "N", "é"], ["Y", "N", "é"]),
    ("CLOB", "text", ["x" * 100_000, "NULL", "\r\n"], ["x" * 100_000, "NULL", "\r\n"]),
    ("LONG", "text", ["null", "\t", "e\u0301"], ["null", "\t", "e\u0301"]),
    (
        "NUMBER",
        "numeric",
        [Decimal("0.1"), Decimal("12345678901234.567"), -5],
        ["0.1", "12345678901234.567", "-5"],
    ),
    (
        "NUMBER(10,3)",
        "numeric(10,3)",
        [Decimal("1.5"), "9999999.999", 0],
        ["1.500", "9999999.999", "0.000"],
    ),
    (
        "NUMBER(38)",
        "numeric(38,0)",
        [int(MANY_DIGITS), -int(MANY_DIGITS), 10**37],
        [MANY_DIGITS, "-" + MANY_DIGITS, str(10**37)],
    ),
    (
        "NUMBER(*,2)",
        "numeric(38,2)",
        [Decimal("0.01"), 1, Decimal("-2.5")],
        ["0.01", "1.00", "-2.50"],
    ),
    ("DECIMAL(5)", "numeric(5,0)", [99999, -99999, "7"], ["99999", "-99999", "7"]),
    (
        "NUMERIC(60,10)",
        "numeric(60,10)",
        [Decimal("0.1234567891"), 10**49, -1],
        ["0.1234567891", f"{10**49}.0000000000", "-1.0000000000"],
    ),
    ("SMALLINT", "smallint", [32767, -32768, 0], ["32767", "-32768", "0"]),
    ("INTEGER", "integer", [2147483647, -2147483648, 1], ["2147483647", "-2147483648", "1"]),
    ("BIGINT", "bigint", [2**63 - 1, -(2**63), 0], [str(2**63 - 1), str(-(2**63)), "0"]),
    ("INT8", "bigint", [1, 2, 3], ["1", "2", "3"]),
    ("REAL", "real", [0.1, 3.4028235e38, -1.5], ["0.1", "3.4028235e+38", "-1.5"]),
    ("BINARY_FLOAT", "real", [1e-37, 16777216, 0], ["1e-37", "1.6777216e+07", "0"]),
    (
        "DOUBLE PRECISION",
        "double precision",
        [0.1, 1.7976931348623157e308, 5e-324],
        ["0.1", "1.7976931348623157e+308", "5e-324"],
    ),
    (
        "BINARY_DOUBLE",
        "double precision",
        [-1e-7, 2**53, 1e22],
        ["-1e-07", "9.007199254740992e+15", "1e+22"],
    ),
    ("BOOLEAN", "boolean", [True, False, True], ["true", "false", "true"]),
    (
        "DATE",
        "date",
        ["2024-02-29", "0001-01-01", "9999-12-31"],
        ["2024-02-29", "0001-01-01", "9999-12-31"],
    ),
    (
        "date",
        "date",
        ["2024-02-29T00:00:00", "1582-10-10", "1970-01-01"],
        ["2024-02-29", "1582-10-10", "1970-01-01"],
    ),
    (
        "TIMESTAMP",
        "timestamp without time zone",
        ["2024-02-29T12:34:56.123456", "0001-01-01 00:00:00", "9999-12-31T23:59:59.999999"],
        ["2024-02-29 12:34:56.123456", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
    ),
    (
        "TIMESTAMP(3)",
        "timestamp(3) without time zone",
        ["2024-02-29T12:34:56.123", "2024-02-29T12:34:56", "1969-12-31T23:59:59.001"],
        ["2024-02-29 12:34:56.123", "2024-02-29 12:34:56", "1969-12-31 23:59:59.001"],
    ),
    (
        "TIMESTAMP WITH TIME ZONE",
        "timestamp with time zone",
        ["2024-03-31T02:30:00+02:00", "2024-01-01T00:00:00+14:00", "2024-06-30T12:00:00Z"],
        ["2024-03-31 00:30:00+00", "2023-12-31 10:00:00+00", "2024-06-30 12:00:00+00"],
    ),
    (
        "TIMESTAMP(0) WITH LOCAL TIME ZONE",
        "timestamp(0) with time zone",
        ["2024-01-01T00:00:00", "2024-01-01T00:00:00-05:30", "1900-01-01T00:00:00Z"],
        ["2024-01-01 00:00:00+00", "2024-01-01 05:30:00+00", "1900-01-01 00:00:00+00"],
    ),
    (
        "TIME",
        "time without time zone",
        ["23:59:59.999999", "00:00:00", "10:00:00.5"],
        ["23:59:59.999999", "00:00:00", "10:00:00.5"],
    ),
    (
        "UUID",
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        ],
        [
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    (
        "JSONB",
        "jsonb",
        [{"b": [1, None, "x"]}, [], "text"],
        ['{"b": [1, null, "x"]}', "[]", '"text"'],
    ),
    (
        "JSON",
        "jsonb",
        [Decimal("12345678901234.5678901"), True, {}],
        ["12345678901234.5678901", "true", "{}"],
    ),
    ("BYTEA", "bytea", ["AP8=", "", "\\x00ff"], ["\\x00ff", "\\x", "\\x00ff"]),
    ("RAW(4)", "bytea", ["00FF", "", "deadBEEF"], ["\\x00ff", "\\x", "\\xdeadbeef"]),
    ("BLOB", "bytea", ["aGVsbG8=", "AA==", "////"], ["\\x68656c6c6f", "\\x00", "\\xffffff"]),
]


def typed_table() -> TwinTable:
    columns = [TwinColumn("id", "INTEGER", is_nullable=False, is_business_key=True)]
    columns += [TwinColumn(f"v{place}", declared) for place, (declared, *_) in enumerate(CASES)]
    table = TwinTable(
        "typed", columns=columns, rowversions=IntegerRowversions(), comparator="integer"
    )
    for row in range(3):
        table.put({"id": row, **{f"v{place}": case[2][row] for place, case in enumerate(CASES)}})
    table.put({"id": 3, **{f"v{place}": None for place in range(len(CASES))}})
    table.put({"id": 4})
    return table


def wrong_values(world: World) -> list[str]:
    texts = ", ".join(f"v{place}::text AS v{place}" for place in range(len(CASES)))
    with world.database.connect() as connection:
        stored = connection.execute(f"SELECT id, {texts} FROM erp.typed ORDER BY id").fetchall()
    expected = [
        {"id": row, **{f"v{place}": case[3][row] for place, case in enumerate(CASES)}}
        for row in range(3)
    ]
    expected += [
        {"id": row, **{f"v{place}": None for place in range(len(CASES))}} for row in (3, 4)
    ]
    return [
        f"{CASES[int(name[1:])][0]} row {want['id']}: {str(have[name])[:80]!r} instead of {str(value)[:80]!r}"
        for want, have in zip(expected, stored, strict=True)
        for name, value in want.items()
        if have[name] != value
    ]


def test_every_type_is_stored_as_sent(world: World) -> None:
    world.add(typed_table())
    result = world.sync("typed")
    assert (result.ledger.inserted, result.quarantine_sample) == (5, ())
    assert wrong_values(world) == []


def test_every_type_gets_its_exact_column_type(world: World) -> None:
    world.add(typed_table())
    world.sync("typed")
    types = dict(
        world.sql(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'erp.typed'::regclass"
        )
    )
    assert [types[f"v{place}"] for place in range(len(CASES))] == [case[1] for case in CASES]


def test_a_bad_neighbour_changes_nothing_about_the_good_records(world: World) -> None:
    table = world.add(typed_table())
    table.put_raw((9,), b'{"id": "nine"}')
    result = world.sync("typed")
    assert (result.ledger.inserted, result.ledger.quarantined) == (5, 1)
    assert wrong_values(world) == []


def test_records_read_again_beside_a_bad_one_are_unchanged(world: World) -> None:
    table = world.add(typed_table())
    world.sync("typed")
    table.put_raw((9,), b'{"id": "nine"}')
    result = world.sync("typed", full_refresh=True)
    assert (result.ledger.updated, result.ledger.quarantined) == (0, 1)


def test_every_type_can_be_a_business_key(world: World) -> None:
    keys = [
        place
        for place, case in enumerate(CASES)
        if not case[0].startswith("JSON") and case[0] != "CLOB"
    ]
    for place in keys:
        declared, _, values, _ = CASES[place]
        columns = (
            TwinColumn("key", declared, is_nullable=False, is_business_key=True),
            TwinColumn("v", "TEXT"),
        )
        table = TwinTable(f"key{place}", columns=columns, rowversions=IntegerRowversions(width=5))
        for value in values[:2]:
            table.put({"key": value, "v": "x"})
        world.store.add(table)
    assert not world.discover().needs_action
    for place in keys[::9]:
        slug = f"key{place}"
        world.set(slug, lookback_seconds=0)
        assert world.sync(slug).ledger.inserted == 2, CASES[place][0]
        again = world.sync(slug)
        assert (again.ledger.written, again.ledger.unchanged) == (0, again.ledger.fetched), CASES[
            place
        ][0]
        assert world.sync(slug, full_refresh=True).ledger.unchanged == 2, CASES[place][0]


@pytest.mark.parametrize("literal", ["1e3", '"7.0"'])
def test_a_number_keeps_its_hash_whichever_path_decoded_it(world: World, literal: str) -> None:
    columns = (
        TwinColumn("id", "INTEGER", is_business_key=True),
        TwinColumn("v", "NUMBER"),
        TwinColumn("t", "TIME"),
    )
    table = world.add(TwinTable("numbers", columns=columns))
    table.put_raw((1,), f'{{"id": 1, "v": {literal}, "t": "10:00:00.50"}}'.encode(), poison=False)
    world.sync("numbers")
    table.put_raw((2,), b'{"id": "two"}')
    result = world.sync("numbers", full_refresh=True)
    assert (result.ledger.updated, result.ledger.unchanged) == (0, 1)


@pytest.mark.parametrize(
    ("literal", "status"),
    [("1.005", RunStatus.REJECTED), ("123.45600", RunStatus.REJECTED), ("1e3", RunStatus.SUCCESS)],
)
def test_numbers_beyond_the_declared_digits_are_never_rounded(
    world: World, literal: str, status: RunStatus
) -> None:
    columns = (TwinColumn("id", "INTEGER", is_business_key=True), TwinColumn("v", "NUMERIC(50,2)"))
    table = world.add(TwinTable("numbers", columns=columns))
    table.put_raw((1,), f'{{"id": 1, "v": {literal}}}'.encode(), poison=False)
    result = world.sync("numbers", status=status)
    stored = [row["v"] for row in world.rows("numbers").values()]
    assert stored == [Decimal(literal)] or (stored == [] and result.ledger.quarantined == 1)


def test_a_json_value_is_stored_digit_by_digit(world: World) -> None:
    columns = (TwinColumn("id", "INTEGER", is_business_key=True), TwinColumn("v", "JSON"))
    table = world.add(TwinTable("documents", columns=columns))
    sent = '{"a": 0.10000000000000000000001, "b": "\\u00e9", "a b": [1, 2]}'
    table.put_raw((1,), f'{{"id": 1, "v": {sent}}}'.encode(), poison=False)
    world.sync("documents")
    assert json.loads(
        world.sql("SELECT v::text FROM erp.documents")[0][0], parse_float=Decimal
    ) == json.loads(sent, parse_float=Decimal)
