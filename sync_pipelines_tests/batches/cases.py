"""Column types and JSON literals near their borders, for the tests of both decoding paths."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from sync_pipelines.model.types import ColumnType, Kind, parse_type

TYPES = [
    parse_type(declared)
    for declared in (
        "TEXT",
        "VARCHAR(5)",
        "NUMBER",
        "NUMERIC(10,3)",
        "NUMERIC(38,0)",
        "NUMERIC(50,2)",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "REAL",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP(3)",
        "TIMESTAMPTZ",
        "TIMESTAMPTZ(0)",
        "TIME",
        "TIME(2)",
        "UUID",
        "JSON",
        "BYTEA",
        "RAW(4)",
        "LONG RAW",
    )
]

_SIGNS = st.sampled_from(["", "", "-"])
_WHOLE = st.sampled_from(
    [
        "0",
        "1",
        "7",
        "32767",
        "32768",
        "2147483648",
        "9223372036854775808",
        "12345678901234",
        "9" * 40,
    ]
)
_FRACTIONS = st.sampled_from(
    ["", "", ".0", ".5", ".10", ".567", ".5670", ".0004", "." + "0" * 60, "." + "3" * 45]
)
_EXPONENTS = st.sampled_from(
    ["", "", "", "e2", "E-3", "e+10", "e-50", "e400", "e-400", "e99999999999999999999"]
)
NUMBERS = st.builds("".join, st.tuples(_SIGNS, _WHOLE, _FRACTIONS, _EXPONENTS))

_DATES = st.sampled_from(
    [
        "2024-02-29",
        "2023-02-29",
        "0001-01-01",
        "0000-01-01",
        "9999-12-31",
        "10000-01-01",
        "2024-1-1",
        "20240101",
        "-2024-01-01",
    ]
)
_TIMES = st.sampled_from(
    [
        "",
        "T10",
        " 10:00",
        "T00:00:00",
        "T10:00:00",
        "t10:00:00",
        " 23:59:60",
        "T24:00:00",
        "T02:30:00",
        "  10:00:00",
        "T25:00",
    ]
)
_SECONDS = st.sampled_from(
    ["", "", ".5", ".120", ".123456", ".1234560", ".1234567", ",5", ".", ".000"]
)
_ZONES = st.sampled_from(
    [
        "",
        "",
        "Z",
        "z",
        "+00:00",
        "+14:00",
        "-1200",
        "+02",
        " +02:00",
        "+24:00",
        "+01:60",
        "-00:00",
        " ",
    ]
)
MOMENTS = st.builds("".join, st.tuples(_DATES, _TIMES, _SECONDS, _ZONES))
TIMES_OF_DAY = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["10:00", "23:59:59", "00:00:00", "24:00:00", "1:00", "10:00:60"]), _SECONDS
    ),
)

_TEXTS = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
    NUMBERS,
    MOMENTS,
    TIMES_OF_DAY,
    st.uuids().map(str),
    st.uuids().map(lambda value: value.hex),
    st.uuids().map(lambda value: str(value).upper()),
    st.binary(max_size=6).map(bytes.hex),
    st.binary(max_size=6).map(lambda value: "\\x" + value.hex()),
    st.sampled_from(
        [
            "",
            "true",
            "null",
            "NaN",
            "Infinity",
            "AQID",
            "AQI=",
            "AQ==\n",
            "1_000",
            " 1",
            "1 ",
            "٣",
            "0x10",
            "+5",
            "1\n",
        ]
    ),
)
QUOTED = _TEXTS.map(json.dumps) | _TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False))
_ODD = st.sampled_from(
    [
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "-0",
        "-0.0",
        "0e5",
        '{"a":[1,{"b":null}]}',
        '[1.50,"x"]',
        "[" * 101 + "]" * 101,
    ]
    + [
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u00e9"',
        "1E400",
        "NaN",
        "-Infinity",
        '{"a":"\\u0000"}',
        '{"\\ud800":1}',
    ]
    + ["9" * 5000, '{"a":' + "9" * 5000 + "}", '{"a":NaN}', '{"a":1,"a":2}']
)
LITERALS = st.one_of(NUMBERS, QUOTED, _ODD)


# Values of each kind that the fast path takes.
PLAIN = {
    Kind.TEXT: ['"é😀"', '""', '"a\\u001fb\\n"'],
    Kind.NUMERIC: ["12", "0", "-7", '"8"'],
    Kind.SMALLINT: ["-7", "32767"],
    Kind.INTEGER: ["-7", "2147483647"],
    Kind.BIGINT: ["-7", "9223372036854775807"],
    Kind.REAL: ["0.1", "0", "1e38"],
    Kind.DOUBLE: ["0.1", "0", "-1e308"],
    Kind.BOOLEAN: ["true", "false"],
    Kind.DATE: ['"2024-02-29"', '"9999-12-31"'],
    Kind.TIMESTAMP: ['"2024-02-29T10:00:00"', '"2024-02-29 10:00:00.000"', '"2024-02-29"'],
    Kind.TIMESTAMPTZ: ['"2024-02-29T10:00:00+02:00"', '"2024-02-29T10:00:00Z"'],
    Kind.TIME: ['"10:00:00"', '"23:59:59"'],
    Kind.UUID: ['"12345678-1234-5678-1234-567812345678"'],
    Kind.JSON: ['{"a": 1.50}', '[ 1, "x" ]', '"text"', "1e5"],
    Kind.BYTES: ['"00ff"', '"AB"', '""'],
}


def plain_literals(column_type: ColumnType) -> st.SearchStrategy[str]:
    """JSON literals that the fast path takes, and null."""
    return st.sampled_from(["null", *PLAIN[column_type.kind]])


def likely_literals(column_type: ColumnType) -> st.SearchStrategy[str]:
    """JSON literals that mostly are of the type, so that the fast path is taken often enough."""
    match column_type.kind:
        case Kind.NUMERIC | Kind.REAL | Kind.DOUBLE:
            return NUMBERS
        case Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return st.integers(-(2**15), 2**15 - 1).map(str)
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return MOMENTS.map(json.dumps)
        case Kind.TIME:
            return TIMES_OF_DAY.map(json.dumps)
        case Kind.UUID:
            return st.uuids().map(lambda value: json.dumps(str(value)))
        case Kind.BOOLEAN:
            return st.sampled_from(["true", "false"])
        case Kind.BYTES:
            return st.binary(max_size=4).map(lambda value: json.dumps(value.hex()))
        case Kind.JSON:
            return st.recursive(
                NUMBERS | QUOTED,
                lambda inner: st.lists(inner, max_size=3).map(
                    lambda parts: f"[ {', '.join(parts)}]"
                ),
                max_leaves=4,
            )
    return QUOTED
