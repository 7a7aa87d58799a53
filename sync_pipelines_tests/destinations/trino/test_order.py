"""Trino orders rowversions as `order_key` does."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.order import order_of
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.trino.dialect import TRINO
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.notations import NOTATIONS
from sync_pipelines.model.quoting import literal
from sync_pipelines_tests.trino import TrinoWorld

SPELLINGS = {
    Codec.INTEGER: ["0", "7", "10", "-1", "-10", "9" * 50, "1" + "0" * 50, "-" + "9" * 50, "007"],
    Codec.HEX: [
        "0x0",
        "0xFF",
        "0xff",
        "100",
        "0x" + "f" * 40,
        "0X1A",
        "1b",
        "0x1" + "0" * 120,
        "2" + "0" * 119,
    ],
    Codec.DIGITS: ["20240101000000", "20240101000001", "20231231235959"],
    Codec.TEXT: ["aa", "aB", "Aa", "é1", "zz"],
    Codec.TIMESTAMP: [
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01 00:00:00.000000001",
        "2024-01-01T00:30:00+02:00",
        "2024-01-01T00:30+0200",
        "2024-01-01T05:00:00,25-05:30",
        "2024-01-01t00:00:00z",
        "2023-12-31 23:59:59.999999999",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
    ],
    Codec.HTTP_DATE: [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Tue, 08 Nov 1994 00:00:00 GMT",
        "Sat, 31 Dec 1994 00:00:00 GMT",
        "Wed, 04 Jan 1995 00:00:01 GMT",
    ],
    Codec.CTIME: [
        "Sun Nov 06 08:49:37 +0000 1994",
        "Sun Nov  6 08:49:38 1994",
        "Sat Dec 31 00:00:00 +0000 1994",
        "Wed Jan 04 00:00:01 GMT 1995",
    ],
    Codec.US_DATE: [
        "12/17/2024",
        "1/2/2025",
        "01/02/2025 12:00:00 AM",
        "1/2/2025, 12:30 PM",
        "1/2/2025 1:00 am",
        "1/2/2025 13:00:00.5",
        "1/2/2025 13:00:00.25",
    ],
    Codec.EU_DATE: ["17.12.2024", "2.1.2025", "02/01/2025 00:00:01", "3-1-2025 9:00 PM"],
}


def wrongly_ordered(codec: Codec, rows: list[list[object]]) -> list[object]:
    pairs = list(itertools.product(SPELLINGS[codec], repeat=2))
    expected = [order_key(codec, left) < order_key(codec, right) for left, right in pairs]
    return [
        (*pair, row[0])
        for pair, row, want in zip(pairs, rows, expected, strict=True)
        if row[0] is not want
    ]


@pytest.mark.parametrize("codec", [*NOTATIONS, Codec.HEX])
def test_postgresql_orders_as_the_codec_says_and_what_is_not_of_it_not_at_all(
    database: Database, codec: str
) -> None:
    left, right = (order_of(POSTGRES, Codec(codec), side) for side in "lr")
    pairs = itertools.product(SPELLINGS[Codec(codec)], repeat=2)
    values = ", ".join(
        f"({place}, {literal(one)}, {literal(other)})" for place, (one, other) in enumerate(pairs)
    )
    with psycopg.connect(database.url) as connection:
        rows = connection.execute(
            f"SELECT {left} < {right} FROM (VALUES {values}) AS v (place, l, r) ORDER BY place"
        ).fetchall()
        assert (
            connection.execute(
                f"SELECT {left} FROM (VALUES ('x'), (''), ('2024-01-01')) AS v (l)"
            ).fetchall()
            == [(None,)] * 3
        )
    assert wrongly_ordered(Codec(codec), [list(row) for row in rows]) == []


@pytest.mark.parametrize("codec", SPELLINGS)
def test_every_pair_is_ordered_as_the_codec_says(trino_world: TrinoWorld, codec: Codec) -> None:
    pairs = list(itertools.product(SPELLINGS[codec], repeat=2))
    values = ", ".join(
        f"({place}, {literal(left)}, {literal(right)})" for place, (left, right) in enumerate(pairs)
    )
    left, right = (order_of(TRINO, codec, side) for side in "lr")
    rows = trino_world.trino.query(
        f"SELECT {left} < {right} FROM (VALUES {values}) AS v (place, l, r) ORDER BY place"
    )
    assert wrongly_ordered(codec, rows) == []


@pytest.mark.parametrize("codec", [Codec.INTEGER, Codec.TIMESTAMP, *map(Codec, NOTATIONS)])
def test_what_is_not_of_the_codec_has_no_place_in_the_order(
    trino_world: TrinoWorld, codec: Codec
) -> None:
    odd = ", ".join(
        f"({literal(text)})" for text in ("x", "", "12:00", "2024-13-01T00:00:00Z", "--1", "1.5")
    )
    assert trino_world.trino.query(
        f"SELECT DISTINCT {order_of(TRINO, codec, 'v')} FROM (VALUES {odd}) AS t (v)"
    ) == [[None]]


def test_an_opaque_rowversion_has_no_order() -> None:
    for dialect in (POSTGRES, TRINO):
        assert order_of(dialect, Codec.OPAQUE, "v") is order_of(dialect, None, "v") is None
