"""One value at a time: taken exactly, or refused with the reason; nothing is rounded, cut or guessed."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.batches.values import NotANumber, convert, json_depth
from sync_pipelines.errors import RecordError
from sync_pipelines.model.types import parse_type

TAKEN: list[tuple[str, Any, str]] = [
    ("NUMERIC(17,3)", Decimal("12345678901234.567"), "12345678901234.567"),
    ("NUMERIC(10,3)", Decimal("1.5000000"), "1.500"),
    ("NUMERIC(10,3)", Decimal("1E+2"), "100"),
    ("NUMERIC(10,3)", Decimal("0E-100"), "0.000"),
    ("NUMERIC(10,3)", "0.1", "0.1"),
    ("NUMERIC(38,0)", 10**38 - 1, "9" * 38),
    ("NUMERIC(50,2)", Decimal("1." + "0" * 70), "1.00"),
    ("NUMBER", Decimal("1E-7"), "0.0000001"),
    ("NUMBER", "007", "7"),
    ("NUMBER", Decimal("-0.00"), "0.00"),
    ("NUMBER", Decimal("1E+1000"), "1E+1000"),
    ("SMALLINT", -32768, "-32768"),
    ("INTEGER", Decimal("7.000"), "7"),
    ("INTEGER", Decimal("1E+3"), "1000"),
    ("INTEGER", "-0", "0"),
    ("BIGINT", "9223372036854775807", "9223372036854775807"),
    ("DOUBLE", 7, "7.0"),
    ("DOUBLE", "1e5", "100000.0"),
    ("REAL", Decimal("0.1"), "0.1"),
    ("BOOLEAN", True, "true"),
    ("DATE", "2024-02-29", "2024-02-29"),
    ("DATE", "2024-02-29T00:00:00.000Z", "2024-02-29"),
    ("TIMESTAMPTZ", "2024-06-30T12:00:00", "2024-06-30 12:00:00.000000"),
    ("TIMESTAMPTZ", "2024-06-30T12:00:00+14:00", "2024-06-29 22:00:00.000000"),
    ("TIMESTAMPTZ", "2024-06-30 12:00:00.5 -0330", "2024-06-30 15:30:00.500000"),
    ("TIMESTAMPTZ", "2024-03-31T02:30:00", "2024-03-31 02:30:00.000000"),
    ("TIMESTAMPTZ", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00.000000"),
    ("TIMESTAMPTZ", "9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"),
    ("TIMESTAMP", "2024-06-30", "2024-06-30 00:00:00.000000"),
    ("TIMESTAMP", "2024-06-30T10", "2024-06-30 10:00:00.000000"),
    ("TIMESTAMP(3)", "2024-06-30T10:00:00.120000000", "2024-06-30 10:00:00.120000"),
    ("TIME", "10:00", "10:00:00"),
    ("TIME", "10:00:00.50", "10:00:00.500000"),
    ("UUID", "12345678123456781234567812345678", "12345678-1234-5678-1234-567812345678"),
    ("UUID", "{12345678-1234-5678-1234-56781234ABCD}", "12345678-1234-5678-1234-56781234abcd"),
    ("JSON", ' {"a": 0.10000000000000000000000001} ', '{"a": 0.10000000000000000000000001}'),
    ("JSON", '{"a": ' + "9" * 5000 + "}", '{"a": ' + "9" * 5000 + "}"),
    ("RAW(2)", "00FF", "\\x00ff"),
    ("BYTEA", "\\x00ff", "\\x00ff"),
    ("BLOB", "AP8=", "\\x00ff"),
    ("TEXT", "", ""),
    ("TEXT", " é😀\x1f\x85\u2028 ", " é😀\x1f\x85\u2028 "),
]
REFUSED: list[tuple[str, Any, str]] = [
    ("TEXT", 5, "a number"),
    ("TEXT", True, "a boolean"),
    ("TEXT", {"a": 1}, "an object"),
    ("TEXT", [1], "a list"),
    ("TEXT", "a\x00b", "NUL"),
    ("TEXT", "a\ud800", "lone surrogate"),
    ("TEXT", "a\udcff", "invalid UTF-8"),
    ("NUMBER", NotANumber("NaN"), "NaN is not a JSON value"),
    ("DOUBLE", NotANumber("-Infinity"), "-Infinity is not a JSON value"),
    ("NUMBER", "NaN", "is not a numeric"),
    ("NUMBER", "Infinity", "is not a numeric"),
    ("NUMBER", True, "a boolean"),
    ("NUMBER", "1,5", "is not a numeric"),
    ("NUMBER", " 1", "is not a numeric"),
    ("NUMBER", "1\n", "is not a numeric"),
    ("NUMBER", "1_000", "is not a numeric"),
    ("NUMBER", "٣", "is not a numeric"),
    ("NUMBER", "+1", "is not a numeric"),
    ("NUMBER", "", "is not a numeric"),
    ("NUMBER", Decimal("1E+131072"), "beyond what NUMERIC holds"),
    ("NUMBER", Decimal("1E-20000"), "beyond what NUMERIC holds"),
    ("NUMERIC(10,3)", Decimal("0.0001"), "more than 3 digits"),
    ("NUMERIC(50,2)", Decimal("0.005"), "more than 2 digits"),
    ("NUMERIC(10,3)", 10_000_000, "too large"),
    ("INTEGER", Decimal("1.5"), "not a whole number"),
    ("INTEGER", Decimal("1E+99"), "not a whole number that fits"),
    ("INTEGER", 2**31, "32 bits"),
    ("SMALLINT", -32769, "16 bits"),
    ("BIGINT", 2**63, "64 bits"),
    ("INTEGER", "1.0", "is not a integer"),
    ("INTEGER", "007", "is not a integer"),
    ("INTEGER", True, "a boolean"),
    ("DOUBLE", Decimal("1E+400"), "beyond what double precision holds"),
    ("DOUBLE", Decimal("1E-400"), "beyond what double precision holds"),
    ("REAL", Decimal("1E+39"), "beyond what real holds"),
    ("REAL", Decimal("1E-50"), "beyond what real holds"),
    ("BOOLEAN", 1, "a number"),
    ("BOOLEAN", "true", "a text"),
    ("DATE", "2023-02-29", "is not a date"),
    ("DATE", "2024-02-29T10:00:00", "time of day"),
    ("DATE", "2024-02-29T00:00:00+02:00", "time of day"),
    ("DATE", 19782, "a number"),
    ("DATE", "2024-02-29\n", "is not a date"),
    ("TIMESTAMPTZ", "2024-06-30T23:59:60Z", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "2024-06-30T24:00:00Z", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "0000-01-01T00:00:00Z", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "10000-01-01T00:00:00Z", "is not a timestamp"),
    ("TIMESTAMPTZ", "0001-01-01T00:00:00+14:00", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "9999-12-31T23:59:59-01:00", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "2024-06-30T12:00:00+24:00", "not a moment of the calendar"),
    ("TIMESTAMPTZ", "2024-06-30T12:00:00.1234567Z", "finer than the 6 digits"),
    ("TIMESTAMP(3)", "2024-06-30T12:00:00.1234", "finer than the 3 digits"),
    ("TIMESTAMPTZ", 1719748800, "a number"),
    ("TIMESTAMPTZ", "1719748800", "is not a timestamp"),
    ("TIMESTAMPTZ", "30.06.2024", "is not a timestamp"),
    ("TIME", "24:00:00", "is not a time"),
    ("TIME(2)", "10:00:00.123", "finer than the 2 digits"),
    ("TIME", "10:00:00Z", "is not a time"),
    ("UUID", "1234567812345678_234567812345678", "is not a uuid"),
    ("UUID", " 2345678123456781234567812345678", "is not a uuid"),
    ("UUID", "x", "is not a uuid"),
    ("UUID", 5, "a number"),
    ("JSON", '{"a": NaN}', "NaN"),
    ("JSON", '{"a": "\\u0000"}', "NUL"),
    ("JSON", '{"\\ud800": 1}', "lone surrogate"),
    ("JSON", "[" * 101 + "]" * 101, "deeper than 100"),
    ("RAW(2)", "00ff00", "3 bytes are more than the 2"),
    ("RAW(2)", "0g", "hexadecimal"),
    ("RAW(2)", "0", "hexadecimal"),
    ("BLOB", "AP8", "neither base64"),
    ("BLOB", "AP 8=", "neither base64"),
    ("BYTEA", "\\x0", "hexadecimal"),
    ("BYTEA", 5, "a number"),
]


@pytest.mark.parametrize(("declared", "value", "canonical"), TAKEN)
def test_a_value_is_taken_exactly(declared: str, value: Any, canonical: str) -> None:
    column_type = parse_type(declared)
    assert convert(value, column_type) == canonical
    assert len(from_canonical([canonical], column_type)) == 1


@pytest.mark.parametrize(("declared", "value", "reason"), REFUSED)
def test_a_value_that_is_not_of_the_type_is_refused_with_the_reason(
    declared: str, value: Any, reason: str
) -> None:
    with pytest.raises(RecordError) as caught:
        convert(value, parse_type(declared))
    assert reason in caught.value.what


@pytest.mark.parametrize(
    "declared",
    [
        "TEXT",
        "NUMBER",
        "INTEGER",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "TIMESTAMPTZ",
        "UUID",
        "JSON",
        "BLOB",
    ],
)
def test_null_stays_null_in_every_type(declared: str) -> None:
    assert convert(None, parse_type(declared)) is None


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(1, 38), st.integers(0, 38))
def test_a_decimal_is_kept_to_the_last_digit_or_refused(
    number: Decimal, precision: int, scale: int
) -> None:
    if scale > precision:
        return
    column_type = parse_type(f"NUMERIC({precision},{scale})")
    try:
        text = convert(number, column_type)
    except RecordError:
        shifted = number.scaleb(scale, Context(prec=100))
        assert shifted != shifted.to_integral_value() or abs(number) >= Decimal(10) ** (
            precision - scale
        )
    else:
        assert Decimal(str(text)) == number
        assert from_canonical([text], column_type)[0].as_py() == number


@given(st.integers())
def test_a_whole_number_is_kept_or_refused_at_the_border_of_its_bits(number: int) -> None:
    for declared, bits in (("SMALLINT", 16), ("INTEGER", 32), ("BIGINT", 64)):
        fits = -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)
        for value in (number, str(number)):
            try:
                assert convert(value, parse_type(declared)) == str(number)
                assert fits
            except RecordError:
                assert not fits


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_survives_its_own_shortest_spelling(number: float) -> None:
    assert float(str(convert(Decimal(repr(number)), parse_type("DOUBLE")))) == number


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_real_survives_its_own_spelling(number: float) -> None:
    stored = from_canonical(
        [convert(Decimal(repr(number)), parse_type("REAL"))], parse_type("REAL")
    )[0].as_py()
    assert struct.pack("f", stored) == struct.pack("f", number) or stored == number == 0


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_a_moment_with_a_zone_is_stored_as_its_utc_instant(
    moment: datetime, offset: int, separator: str
) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = convert(local.isoformat(sep=separator), parse_type("TIMESTAMPTZ"))
    assert datetime.fromisoformat(str(text)).replace(tzinfo=UTC) == local
    assert from_canonical([text], parse_type("TIMESTAMPTZ"))[0].as_py() == local


@given(st.binary(max_size=50))
def test_bytes_arrive_as_they_were_in_each_notation(value: bytes) -> None:
    import base64

    expected = "\\x" + value.hex()
    assert convert(value.hex().upper(), parse_type("LONG RAW")) == expected
    assert convert("\\x" + value.hex(), parse_type("BLOB")) == expected
    assert convert(base64.b64encode(value).decode(), parse_type("BLOB")) == expected


@pytest.mark.parametrize(
    ("raw", "depth"),
    [
        ("1", 0),
        ("[]", 1),
        ('{"a": [{"b": 1}]}', 3),
        ('"[[["', 0),
        ('["\\"[[", [1]]', 2),
        ('{"[": "]"}', 1),
    ],
)
def test_depth_counts_brackets_outside_of_texts(raw: str, depth: int) -> None:
    assert json_depth(raw) == depth


def test_a_reason_shows_the_value_short_and_without_secrets() -> None:
    with pytest.raises(RecordError) as caught:
        convert("Bearer abcdefgh12345678 \x1b[31m" + "x" * 500, parse_type("INTEGER"))
    assert "abcdefgh" not in caught.value.what
    assert "\x1b" not in caught.value.what
    assert len(caught.value.what) < 150
