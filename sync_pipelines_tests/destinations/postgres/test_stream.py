"""Records stream into PostgreSQL while the source is read: none shows early, none waits, none is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sync_pipelines.demo.twin import Fault, IntegerRowversions, TwinColumn, TwinTable
from sync_pipelines.destinations.postgres import adapter as route
from sync_pipelines.destinations.postgres.fill import take_off_constraints
from sync_pipelines.errors import DatabaseRefusedError, InterruptedRunError, RetriableError
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

CONSTRAINTS = {"items_pkey", "items_business_key", "idx_items_rowversion"}


@pytest.fixture
def bulk(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Pages and batches of ten records, each of them enough to fill a table in bulk."""
    monkeypatch.setattr(route, "BULK_ROWS", 1)
    world.settings = world.settings.model_copy(update={"batch_rows": 10})
    return world


def many_items(world: World, count: int = 60, **options: Any) -> TwinTable:
    return world.add_items(
        count, rowversions=IntegerRowversions(1), comparator="integer", **options
    )


def at_page(world: World, number: int, action: Callable[[], None]) -> None:
    """Do something once, when the source is asked for data for the n-th time."""
    asked: list[int] = []

    def hook(request: Any) -> None:
        asked.append(1)
        if len(asked) == number:
            action()

    world.faults.on_request = hook


def indexes(world: World) -> set[str]:
    return {
        name
        for (name,) in world.sql(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'erp' AND tablename = 'items'"
        )
    }


def test_a_table_that_is_being_filled_looks_empty_and_nobody_waits_for_it(bulk: World) -> None:
    many_items(bulk)
    seen: list[Any] = []

    def look() -> None:
        with psycopg.connect(bulk.database.url, options="-c lock_timeout=2s") as connection:
            seen.extend(connection.execute("SELECT count(*) FROM erp.items"))

    at_page(bulk, 5, look)
    assert bulk.sync().ledger.inserted == 60
    assert seen == [(0,)]
    assert indexes(bulk) == CONSTRAINTS
    bulk.assert_equal_to_truth()
    bulk.assert_nothing_left_behind()


def test_a_fill_whose_source_fails_leaves_an_empty_table_that_the_next_run_fills(
    bulk: World,
) -> None:
    many_items(bulk)
    broken = bulk.faults.add(Fault(kind="data", nth=5, times=None, body=b"nonsense"))
    with pytest.raises(RetriableError):
        bulk.sync()
    assert bulk.faults.fired(broken) > 0
    assert bulk.sql("SELECT count(*) FROM erp.items") == [(0,)]
    bulk.assert_nothing_left_behind()
    bulk.faults.clear()
    assert bulk.sync().ledger.inserted == 60
    assert indexes(bulk) == CONSTRAINTS


def test_constraints_that_a_dead_run_took_off_are_built_by_the_next_fill(
    bulk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_items(bulk, 0)
    bulk.sync()
    with psycopg.connect(bulk.database.url) as connection:
        take_off_constraints(connection.cursor(), bulk.entity())
    assert indexes(bulk) == set()
    monkeypatch.undo()
    monkeypatch.setenv("TWIN_TOKEN", "twin-token")
    bulk.store["items"].put(item(1))
    assert bulk.sync().ledger.inserted == 1
    assert indexes(bulk) == CONSTRAINTS


@pytest.mark.parametrize("is_bulk", [True, False])
def test_a_key_that_is_there_twice_sends_the_records_through_staging(
    bulk: World, monkeypatch: pytest.MonkeyPatch, is_bulk: bool
) -> None:
    if not is_bulk:
        monkeypatch.setattr(route, "BULK_ROWS", 1000)
    table = many_items(bulk)
    at_page(bulk, 4, lambda: table.put(item(3, base_uom="KG")))
    ledger = bulk.sync().ledger
    assert (ledger.inserted, bulk.rows()[("A00003",)]["base_uom"]) == (60, "KG")
    assert ledger.superseded >= 1
    assert indexes(bulk) == CONSTRAINTS
    bulk.assert_equal_to_truth()
    bulk.assert_nothing_left_behind()


def test_a_record_that_postgresql_refuses_late_spoils_no_other(bulk: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("notes", "JSON"))
    table = many_items(bulk, 40, columns=columns)
    table.put_raw(("BAD",), b'{"item_number": "BAD", "notes": 1e999999}')
    for number in range(40, 60):
        table.put(item(number))
    ledger = bulk.sync().ledger
    assert (ledger.inserted, ledger.quarantined) == (60, 1)
    assert [row["business_key"] for row in bulk.quarantine()] == [["BAD"]]
    assert indexes(bulk) == CONSTRAINTS
    bulk.assert_equal_to_truth()
    bulk.assert_nothing_left_behind()


def test_a_failing_postgresql_ends_the_read_and_not_only_the_load(bulk: World) -> None:
    table = many_items(bulk, 300)
    bulk.sync()
    for number in range(300):
        table.put(item(number, base_uom="KG"))
    asked = len(bulk.faults.requests_log)
    at_page(bulk, 2, lambda: bulk.sql("DROP TABLE erp_staging.items__records"))
    bulk.fails(DatabaseRefusedError)
    bulk.faults.on_request = None
    assert len(bulk.faults.requests_log) - asked < 20
    assert bulk.sync().ledger.updated == 300
    bulk.assert_equal_to_truth()


def test_a_run_that_fails_ends_its_copy_although_that_waits_for_a_lock(bulk: World) -> None:
    many_items(bulk)
    bulk.sync()
    for number in range(60):
        bulk.store["items"].put(item(number, base_uom="KG"))
    with psycopg.connect(bulk.database.url) as other:

        def lock_staging() -> None:
            other.execute("LOCK TABLE erp_staging.items__records IN ACCESS EXCLUSIVE MODE")

        asked_before = -1

        def is_copy_waiting() -> bool:
            """COPY waits for the lock, and has kept the run from the next page since the last look."""
            nonlocal asked_before
            asked, known = len(bulk.faults.requests_log), asked_before
            asked_before = asked
            return asked == known and bulk.sql(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
            ) != [(0,)]

        at_page(bulk, 1, lock_staging)
        with pytest.raises(InterruptedRunError):
            bulk.sync(interrupted=is_copy_waiting)
        other.rollback()
    bulk.faults.on_request = None
    assert bulk.sync().ledger.updated == 60
    bulk.assert_nothing_left_behind()
