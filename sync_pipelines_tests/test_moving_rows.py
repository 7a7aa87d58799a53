"""Rows that move, double or disappear while they are read: none is lost and the newest counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from sync_pipelines.demo.twin import Fault, IntegerRowversions, RequestInfo, TwinTable
from sync_pipelines.model.run import Mode
from sync_pipelines_tests.world import World, item


def at_request(world: World, number: int, change: Callable[[], None]) -> None:
    """Run `change` at the source just before it answers the nth request for data from now on."""
    counter, lock = [0], threading.Lock()

    def hook(request: RequestInfo) -> None:
        with lock:
            counter[0] += request.kind == "data"
            due = request.kind == "data" and counter[0] == number
        if due:
            change()

    world.faults.on_request = hook


def counted_items(world: World, count: int, **options: object) -> TwinTable:
    table = world.add_items(
        count, rowversions=IntegerRowversions(1), comparator="integer", **options
    )
    world.set(lookback_seconds=0)
    return table


@pytest.mark.parametrize("request_number", [2, 4])
def test_an_update_between_pages_loses_no_neighbour(world: World, request_number: int) -> None:
    table = counted_items(world, 35)

    def change() -> None:
        table.put_many([item(number, base_uom="KG") for number in range(0, 20, 2)])

    at_request(world, request_number, change)
    world.sync()
    world.faults.on_request = None
    world.sync()
    world.assert_equal_to_truth()


@pytest.mark.parametrize("strategy", ["rowversion", "full"])
def test_deletes_between_pages_delete_no_neighbour(world: World, strategy: str) -> None:
    table = counted_items(world, 35, delta_strategy=strategy)
    world.sync()
    at_request(
        world, 2, lambda: [table.delete((f"A{number:05d}",)) for number in range(5)] and None
    )
    world.sync(full_refresh=True)
    assert len(world.rows()) >= len(table.truth())
    world.faults.on_request = None
    world.sync(full_refresh=True)
    world.sync(full_refresh=True)
    world.assert_equal_to_truth()


def test_inserts_while_reading_by_page_number_are_there_after_the_next_read(world: World) -> None:
    table = counted_items(world, 25, delta_strategy="full", sorted_pages=False)
    at_request(
        world, 2, lambda: table.put_many([item(number) for number in range(100, 110)]) and None
    )
    world.sync()
    world.faults.on_request = None
    world.sync()
    world.assert_equal_to_truth()


def test_a_source_that_never_rests_is_read_to_an_end(world: World) -> None:
    table = counted_items(world, 25)
    versions = iter(range(1000))

    def hook(request: RequestInfo) -> None:
        number = next(versions)
        if number < 12:
            table.put(item(number % 5, item_description=f"change {number}"))

    world.faults.on_request = hook
    first = world.sync()
    world.faults.on_request = None
    second = world.sync()
    assert (first.mode, second.mode) == (Mode.FULL, Mode.DELTA)
    world.assert_equal_to_truth()


def test_the_newest_of_two_records_in_one_page_wins_and_the_other_is_superseded(
    world: World,
) -> None:
    table = counted_items(world, 4)
    for rowversion, uom in (("9", "NINE"), ("10", "TEN"), ("8", "EIGHT")):
        body = b'{"item_number": "A00001", "base_uom": "%s"}' % uom.encode()
        table.put_raw(("A00001",), body, rowversion, duplicate=True, poison=False)
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.superseded) == (4, 3)
    assert world.rows()[("A00001",)]["base_uom"] == "TEN"


def test_the_newest_of_two_records_in_two_pages_wins(world: World) -> None:
    table = counted_items(world, 25)
    table.put_raw(
        ("A00001",),
        b'{"item_number": "A00001", "base_uom": "NEW"}',
        "99",
        duplicate=True,
        poison=False,
    )
    result = world.sync()
    assert result.ledger.inserted == 25
    assert world.rows()[("A00001",)]["base_uom"] == "NEW"
    assert world.sync().ledger.written == 0


def test_of_equal_rowversions_the_record_read_last_wins(world: World) -> None:
    table = counted_items(world, 3)
    table.put_raw(
        ("A00001",),
        b'{"item_number": "A00001", "base_uom": "NEW"}',
        "2",
        duplicate=True,
        poison=False,
    )
    world.sync()
    assert world.rows()[("A00001",)]["base_uom"] == "NEW"
    world.assert_equal_to_truth()


def test_duplicates_in_a_delta_are_superseded_too(world: World) -> None:
    table = counted_items(world, 3)
    world.sync()
    table.put(item(1, base_uom="OLD"))
    table.put_raw(
        ("A00001",), b'{"item_number": "A00001", "base_uom": "NEW"}', duplicate=True, poison=False
    )
    result = world.sync()
    assert (result.mode, result.ledger.updated, result.ledger.superseded) == (
        Mode.DELTA,
        1,
        result.ledger.fetched - 1 - result.ledger.unchanged,
    )
    assert world.rows()[("A00001",)]["base_uom"] == "NEW"


def test_identical_duplicates_do_no_harm(world: World) -> None:
    table = counted_items(world, 3)
    for _ in range(3):
        table.put_raw(("A00009",), b'{"item_number": "A00009"}', "9", duplicate=True, poison=False)
    world.sync()
    assert world.sync().ledger.written == 0
    assert len(world.rows()) == 4


def test_a_source_that_caps_its_pages_is_read_whole(world: World) -> None:
    counted_items(world, 25, page_cap=4)
    assert world.sync().ledger.inserted == 25
    world.assert_equal_to_truth()


def test_a_row_that_a_late_commit_moves_behind_a_full_read_is_not_deleted(world: World) -> None:
    table = world.add_items(0)
    for number in range(35):
        table.put(item(number), f"202601010000{number:02d}")
    world.sync()
    # Its old place is not read yet, its new one is passed already.
    at_request(world, 3, lambda: table.put(item(33, base_uom="KG"), "20260101000003") and None)
    result = world.sync(full_refresh=True)
    assert (result.ledger.deleted, result.ledger.updated) == (0, 1)
    world.assert_equal_to_truth()


def test_records_without_rowversion_at_the_end_of_a_full_page_are_not_skipped(world: World) -> None:
    table = world.add_items(0)
    for number in range(8):
        table.put(item(number), f"202601010000{number:02d}")
    page = json.loads(table.page())
    page["rows"] += [
        {"oracle_keys": {}, "row_version": None, "data": item(number)} for number in (90, 91)
    ]
    world.faults.add(
        Fault("nulls last", kind="data", page=1, body=json.dumps(page).encode(), times=1)
    )
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (10, 0)
    assert {("A00090",), ("A00091",)} < set(world.rows())


def test_an_answer_that_came_whole_but_is_no_page_is_fetched_again(world: World) -> None:
    world.add_items(15)
    world.faults.add(Fault("cut json", kind="data", truncate_at_byte=100, times=1))
    world.sync()
    assert world.runs()[0]["details"]["retries"] == 1
    world.assert_equal_to_truth()


def test_a_server_that_caps_its_pages_but_counts_offsets_by_the_size_asked_for_is_read_whole(
    world: World,
) -> None:
    table = world.add_items(0)
    for number in range(14):
        table.put(item(number), f"202601010000{number:02d}")
    original = table.page

    def capped(rowversion_gt: str | None = None, page: int = 1, page_size: int = 1000) -> bytes:
        everything = json.loads(original(rowversion_gt, 1, 1000))["rows"]
        start = (page - 1) * page_size
        return json.dumps({"rows": everything[start : start + min(page_size, 4)]}).encode()

    table.page = capped  # type: ignore[method-assign]
    world.sync()
    world.assert_equal_to_truth()
