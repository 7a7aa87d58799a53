"""Cursors of every kind over several syncs: widths change, commits come late, sources go back in time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipelines.demo.twin import (
    HexRowversions,
    IntegerRowversions,
    IsoRowversions,
    TimestampRowversions,
)
from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.model.run import Mode
from sync_pipelines_tests.world import World, item


class Clock:
    """A clock of the source that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2024, 3, 31, 0, 59, 50, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=300)
        return self.now

    def skip(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def prefixed_hex() -> Callable[[], str]:
    numbers = itertools.count(9)
    return lambda: f"0x{next(numbers):06X}"


# Codec as the catalog must know it, and the options of a table whose rowversions are of that kind.
KINDS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "integers of growing width": (
        "integer",
        lambda: {"rowversions": IntegerRowversions(1), "comparator": "integer"},
    ),
    "integers around nine digits": (
        "integer",
        lambda: {"rowversions": IntegerRowversions(999_999_990), "comparator": "integer"},
    ),
    "padded numbers": ("text", lambda: {"rowversions": IntegerRowversions(1, width=8)}),
    "declared hex": (
        "hex",
        lambda: {"rowversions": HexRowversions(start=250), "extra": {"rowversion_codec": "hex"}},
    ),
    "prefixed hex": ("hex", lambda: {"rowversions": prefixed_hex()}),
    "fourteen digits": ("digits", lambda: {"rowversions": TimestampRowversions(clock=Clock())}),
    "twenty digits": (
        "digits",
        lambda: {"rowversions": TimestampRowversions("%Y%m%d%H%M%S%f", clock=Clock())},
    ),
    "iso": ("timestamp", lambda: {"rowversions": IsoRowversions(Clock())}),
    "opaque": (
        "opaque",
        lambda: {
            "rowversions": IntegerRowversions(1),
            "comparator": "integer",
            "extra": {"rowversion_codec": "opaque"},
        },
    ),
}


@pytest.mark.parametrize("lookback_seconds", [0, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_no_change_is_missed_over_several_syncs(
    world: World, kind: str, lookback_seconds: int
) -> None:
    codec, options = KINDS[kind]
    table = world.add_items(12, **options())
    world.set(lookback_seconds=lookback_seconds)
    world.sync()
    assert world.entity().position.cursor_codec == codec
    modes = []
    for number in range(2):
        world.pass_time()
        table.put(item(number, base_uom="KG"))
        table.put(item(100 + number))
        result = world.sync()
        modes.append(result.mode)
        assert (result.ledger.inserted, result.ledger.updated) == (1, 1)
        world.assert_equal_to_truth()
    assert modes[-1] is Mode.DELTA
    world.pass_time()
    assert world.sync().ledger.written == 0


@pytest.mark.parametrize("kind", ["integers of growing width", "fourteen digits", "opaque"])
def test_a_late_commit_within_the_lookback_is_not_lost(world: World, kind: str) -> None:
    table = world.add_items(12, **KINDS[kind][1]())
    world.sync()
    late = table.begin(item(3, base_uom="LATE"))
    table.put(item(50))
    world.sync()
    table.put(item(51))
    world.sync()
    late.commit()
    table.put(item(52))
    world.sync()
    assert world.rows()[("A00003",)]["base_uom"] == "LATE"
    world.assert_equal_to_truth()


def test_a_late_commit_beyond_the_lookback_is_found_by_a_full_refresh(world: World) -> None:
    table = world.add_items(12, **KINDS["integers of growing width"][1]())
    world.set(lookback_seconds=0)
    late = table.begin(item(3, base_uom="LATE"))
    for number in range(50, 53):
        table.put(item(number))
    world.sync()
    late.commit()
    assert world.sync().ledger.written == 0
    assert world.sync(full_refresh=True).ledger.updated == 1
    world.assert_equal_to_truth()


def test_the_cursor_never_passes_a_write_that_is_still_open(world: World) -> None:
    table = world.add_items(5, **KINDS["integers of growing width"][1]())
    late = table.begin(item(77))
    for number in range(3):
        table.put(item(number, base_uom=f"U{number}"))
        world.sync()
        cursor = world.entity().position.cursor
        assert cursor is None or int(cursor) < int(late.rowversion)
    late.commit()
    world.sync()
    world.assert_equal_to_truth()


@pytest.mark.parametrize("lookback_seconds", [0, 60])
def test_ties_over_page_boundaries_arrive_whole(world: World, lookback_seconds: int) -> None:
    table = world.add_items(60, rowversions=IntegerRowversions(1, burst=17), comparator="integer")
    world.set(lookback_seconds=lookback_seconds)
    first = world.sync()
    assert first.ledger.inserted == 60
    table.put_many([item(number, base_uom="KG") for number in range(20)])
    world.pass_time()
    assert world.sync().ledger.updated == 20
    world.assert_equal_to_truth()


def test_ties_in_an_order_that_changes_with_every_request_arrive_whole(world: World) -> None:
    world.add_items(
        300,
        rowversions=IntegerRowversions(1, burst=30),
        comparator="integer",
        order_ties="unstable",
    )
    result = world.sync()
    assert result.ledger.inserted == 300 or any("rest" in warning for warning in result.warnings)


def test_everything_under_one_rowversion_arrives(world: World) -> None:
    world.add_items(35, rowversions=lambda: "20240101000000")
    assert world.sync().ledger.inserted == 35
    assert world.sync().ledger.written == 0
    world.assert_equal_to_truth()


def test_numbers_sent_as_json_numbers_are_followed(world: World) -> None:
    table = world.add_items(0, comparator="integer")
    for number in range(8, 12):
        table.put(item(number), number)
    world.set(lookback_seconds=0)
    world.sync()
    table.put(item(8, base_uom="KG"), 100)
    assert world.sync().ledger.updated == 1
    world.assert_equal_to_truth()


def test_a_width_that_changes_under_text_stops_the_delta_and_a_full_refresh_follows(
    world: World,
) -> None:
    table = world.add_items(0, extra={"rowversion_codec": "text"})
    for number in range(3):
        table.put(item(number), f"v{number}")
    world.set(lookback_seconds=0)
    world.sync()
    table.put(item(9), "v10")
    table.put(item(8), "v9")
    error = world.fails(CursorProtocolError)
    assert "--full-refresh" in str(error)
    result = world.sync(full_refresh=True)
    assert any("read by page number" in warning for warning in result.warnings)
    world.assert_equal_to_truth()


def test_a_restored_source_is_followed_by_a_full_refresh_with_a_warning(world: World) -> None:
    table = world.add_items(0, comparator="integer")
    for number in range(6):
        table.put(item(number), str(1000 + number))
    world.set(lookback_seconds=0)
    world.sync()
    for number in range(6):
        table.put(item(number, base_uom="OLD"), str(10 + number))
    assert world.sync().ledger.fetched == 0
    result = world.sync(full_refresh=True)
    assert any("went back" in warning for warning in result.warnings)
    assert world.runs()[0]["details"]["warnings"] == list(result.warnings)
    assert result.ledger.updated == 6
    world.assert_equal_to_truth()
    table.put(item(2, base_uom="NEW"), "30")
    delta = world.sync()
    assert (delta.mode, delta.ledger.updated) == (Mode.DELTA, 1)
    world.assert_equal_to_truth()


def test_an_older_record_never_overwrites_a_newer_row_and_stops_the_run_instead_of_being_thrown_away(
    world: World,
) -> None:
    table = world.add_items(0)
    for number in range(4):
        table.put(item(number), f"2024010112000{number}")
    world.sync()
    before = world.entity()
    table.put(item(3, base_uom="OLD"), "20240101115959")
    error = world.fails(CursorProtocolError)
    assert "'20240101115959' where the row has '20240101120003'" in error.what
    assert "codec" in str(error.next_command)
    assert "--full-refresh" in str(error.next_command)
    assert world.rows()[("A00003",)]["base_uom"] == "PCS"
    assert (world.entity().position.cursor, world.entity().position.cursor_marks) == (
        before.position.cursor,
        before.position.cursor_marks,
    )
    assert world.sync(full_refresh=True).ledger.updated == 1
    world.assert_equal_to_truth()


def test_an_older_rowversion_with_the_content_of_its_row_is_no_contradiction(world: World) -> None:
    table = world.add_items(0)
    for number in range(4):
        table.put(item(number), f"2024010112000{number}")
    world.sync()
    table.put(item(3), "20240101115959")
    result = world.sync()
    assert (result.mode, result.ledger.superseded, result.ledger.written) == (Mode.DELTA, 1, 0)


def test_a_deleted_row_comes_back_whatever_its_rowversion(world: World) -> None:
    table = world.add_items(0)
    for number in range(4):
        table.put(item(number), f"2024010112000{number}")
    world.sync()
    table.delete(("A00003",))
    assert world.sync(full_refresh=True).ledger.deleted == 1
    table.put(item(3, base_uom="BACK"), "20240101120002")
    result = world.sync()
    assert (result.mode, result.ledger.updated) == (Mode.DELTA, 1)
    world.assert_equal_to_truth()


@pytest.mark.parametrize("lookback_seconds", [0, 60])
@pytest.mark.parametrize("kind", ["integers of growing width", "fourteen digits", "opaque"])
def test_records_that_join_the_last_group_long_after_the_lookback_are_not_missed(
    world: World, kind: str, lookback_seconds: int
) -> None:
    table = world.add_items(12, **KINDS[kind][1]())
    world.set(lookback_seconds=lookback_seconds)
    for _ in range(4):
        world.sync()
        world.pass_time(seconds=86_400)
    last = max((row["_bridge_rowversion"] for row in world.rows().values()), key=int)
    for number in range(173):
        table.put(item(1000 + number), last)
    result = world.sync()
    assert (result.mode, result.ledger.inserted) == (Mode.DELTA, 173)
    world.assert_equal_to_truth()


def test_a_touch_counts_as_unchanged_but_moves_the_rowversion(world: World) -> None:
    clock = Clock()
    table = world.add_items(5, rowversions=TimestampRowversions(clock=clock))
    world.sync()
    before = world.rows()[("A00002",)]
    clock.skip(30)
    touched = table.touch(("A00002",))
    result = world.sync()
    after = world.rows()[("A00002",)]
    assert result.ledger.written == 0
    assert result.ledger.unchanged == result.ledger.fetched > 0
    assert after["_bridge_rowversion"] == touched > before["_bridge_rowversion"]
    assert after["_bridge_updated_at"] == before["_bridge_updated_at"]
    world.assert_equal_to_truth()


@pytest.mark.parametrize("fraction", [",5", ""])
def test_iso_rowversions_order_in_the_database_as_they_do_in_the_cursor(
    world: World, fraction: str
) -> None:
    table = world.add_items(0)
    for number in range(4):
        table.put(item(number), f"2024-01-01T12:00:0{number}{fraction}Z")
    world.sync()
    table.put_raw(
        ("A00001",),
        b'{"item_number": "A00001", "base_uom": "NEW"}',
        f"2024-01-01T12:00:09{fraction}Z",
        duplicate=True,
        poison=False,
    )
    result = world.sync(full_refresh=True)
    # The older record of the key, and what the full read read again at its close.
    assert (result.ledger.updated, result.ledger.superseded) == (1, 1 + 5)
    assert world.sync().ledger.written == 0
    assert world.rows()[("A00001",)]["base_uom"] == "NEW"


def test_a_read_by_page_number_survives_rowversions_of_another_kind(world: World) -> None:
    table = world.add_items(0)
    for number in range(4):
        table.put(item(number), str(10 + number))
    world.set(lookback_seconds=0)
    world.sync()
    assert world.entity().position.cursor_codec == "integer"
    table.put_raw(
        ("A00001",),
        b'{"item_number": "A00001", "base_uom": "NEW"}',
        "x9",
        duplicate=True,
        poison=False,
    )
    result = world.sync(full_refresh=True)
    assert result.ledger.superseded == 1
    assert world.rows()[("A00001",)]["base_uom"] == "NEW"


@pytest.mark.parametrize("lookback_seconds", [0, 60])
def test_a_source_that_filters_by_rowversion_and_sorts_by_key_is_read_by_number_under_the_filter(
    world: World, lookback_seconds: int
) -> None:
    table = world.add_items(
        60, rowversions=IntegerRowversions(1), comparator="integer", sorted_pages=False
    )
    world.set(lookback_seconds=lookback_seconds)
    first = world.sync()
    assert first.ledger.inserted == 60
    for _ in range(2):
        world.pass_time()
        world.sync()
    for number in range(30):
        table.put(item(number, base_uom="KG"))
    world.pass_time()
    world.faults.forget_requests()
    result = world.sync()
    assert (result.mode, result.ledger.updated) == (Mode.DELTA, 30)
    assert result.ledger.fetched <= 32
    for one in (first, result):
        assert any(
            "does not sort its pages" in warning and "same filter" in warning
            for warning in one.warnings
        )
    requests = [one for one in world.server.requests_log if one.kind == "data"]
    assert all(one.rowversion_gt for one in requests)
    world.assert_equal_to_truth()


def test_a_list_by_key_that_looks_sorted_on_every_page_loses_no_row(world: World) -> None:
    """Two updated rows at the end of a page look as if nothing but higher rowversions could follow."""
    table = world.add_items(0, comparator="integer")
    rows = {number: str(number) for number in range(1, 41)} | {19: "500", 20: "501"}
    for number, rowversion in rows.items():
        table.put(item(number), rowversion)
    honest = table.page

    def by_key(rowversion_gt: str | None = None, page: int = 1, page_size: int = 1000) -> bytes:
        everything = json.loads(honest(rowversion_gt, 1, 1000))["rows"]
        everything.sort(key=lambda row: json.dumps(row.get("data", row), sort_keys=True))
        return json.dumps({"rows": everything[(page - 1) * page_size : page * page_size]}).encode()

    table.page = by_key  # type: ignore[method-assign]
    result = world.sync()
    assert result.ledger.inserted == 40
    assert any("does not sort its pages" in warning for warning in result.warnings)
    assert world.sync(full_refresh=True).ledger.deleted == 0
    world.assert_equal_to_truth()
