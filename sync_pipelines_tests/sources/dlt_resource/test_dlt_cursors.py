"""A declared cursor of a dlt resource is followed in the order of its codec."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines_tests.declared_world import DeclaredWorld
from sync_pipelines_tests.sources.dlt_resource.declaring import (
    COLUMNS,
    file_of,
    moves_of,
    resource_of,
)


def test_a_declared_cursor_is_where_the_resource_begins(
    declared: DeclaredWorld, module: Any
) -> None:
    cursor = {"field": "changed", "param": "incremental", "codec": "integer"}
    declared.apply(file_of(declared, endpoints={"items": {"columns": COLUMNS, "cursor": cursor}}))
    declared.set("items", lookback_seconds=0)
    declared.sync("items")
    module.records.append({"id": 99, "name": "new", "amount": Decimal(1), "changed": 99})
    result = declared.sync("items")
    assert (result.mode, result.ledger.inserted) == ("delta", 1)
    assert module.starts[-1] is not None
    assert module.starts[-1] >= 20
    assert result.ledger.fetched < 5


@pytest.mark.parametrize(
    "codec, first, later",
    [
        ("integer", ["8", "9"], "10"),
        ("hex", ["8", "f"], "10"),
        ("text", ["08", "09"], "10"),
        ("digits", ["20240101100000", "20240101100001"], "20240101100002"),
        ("timestamp", ["2024-01-01T09:00:00Z", "2024-01-01T10:00:00Z"], "2024-01-01T10:00:00.5Z"),
        (
            "timestamp",
            ["2024-06-30T22:00:00Z", "2024-07-01T03:00:00Z"],
            "2024-06-30T23:30:00-05:00",
        ),
        (
            "http_date",
            ["Sat, 05 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"],
            "Mon, 07 Nov 1994 08:49:37 GMT",
        ),
        (
            "ctime",
            ["Sat Nov 05 08:49:37 +0000 1994", "Sun Nov 06 08:49:37 +0000 1994"],
            "Mon Nov 07 08:49:37 +0000 1994",
        ),
        ("us_date", ["09/30/2024", "10/02/2024"], "01/03/2025"),
        ("eu_date", ["30/09/2024", "02/10/2024"], "01/11/2024"),
        ("opaque", ["b", "c"], "a"),
    ],
)
def test_what_is_later_under_the_codec_comes_however_python_sorts_it(
    declared: DeclaredWorld, module: Any, codec: str, first: list[str], later: str
) -> None:
    rows = [{"id": number, "at": at} for number, at in enumerate(first)]
    resource_of(module, rows)
    declared.apply(moves_of(declared, "text", codec))
    declared.set("moves", lookback_seconds=0)
    declared.sync("moves")
    rows.append({"id": 99, "at": later})
    result = declared.sync("moves")
    # Of an order that only the source knows, there is no cursor to begin at.
    assert result.mode == ("full" if codec == "opaque" else "delta")
    assert (result.ledger.inserted, result.ledger.quarantined) == (1, 0)
    assert 99 in declared.table("moves")


@pytest.mark.parametrize("as_arrow", [True, False])
@pytest.mark.parametrize(
    "column, values, initial",
    [
        (
            "timestamptz",
            [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
            datetime(2000, 1, 1, tzinfo=UTC),
        ),
        ("timestamptz", [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)], None),
        ("numeric", [Decimal(8), Decimal(9), Decimal(10)], Decimal(0)),
        ("bigint", [8, 9, 10], 0),
    ],
)
def test_a_cursor_of_any_type_is_followed_and_a_null_one_is_a_record(
    declared: DeclaredWorld,
    module: Any,
    column: str,
    values: list[Any],
    initial: Any,
    as_arrow: bool,
) -> None:
    rows = [{"id": number, "at": at} for number, at in enumerate(values[:2])]
    rows.append({"id": 50, "at": None})
    starts = resource_of(module, rows, initial, as_arrow=as_arrow)
    declared.apply(
        moves_of(declared, column, "timestamp" if column == "timestamptz" else "integer")
    )
    declared.set("moves", lookback_seconds=0)
    assert declared.sync("moves").ledger.inserted == 3
    rows.append({"id": 99, "at": values[2]})
    result = declared.sync("moves")
    assert (result.mode, result.ledger.inserted) == ("delta", 1)
    assert starts[-1] is not None
    assert initial is None or type(starts[-1]) is type(initial)
