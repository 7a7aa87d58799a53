"""Many runs at once: an entity has one writer, first runs do not trip over each other, discoveries neither."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import Fault, IntegerRowversions, RequestInfo, TwinColumn, TwinTable
from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import EntityBusyError, SyncError
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import ITEM_COLUMNS, TOKEN, World, item

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["sync_pipelines_tests.test_concurrency", "sync_pipelines.destinations.postgres.adapter"]
)


def attempt(world: World, slug: str, **options: Any) -> Any:
    try:
        return sync_entity(world.database, "erp", slug, settings=world.settings, **options)
    except SyncError as error:
        return error


def test_two_threads_on_one_entity_never_double_anything(world: World) -> None:
    world.add_items(25)
    world.settings = world.settings.model_copy(update={"entity_wait_seconds": 30})
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: attempt(world, "items"), range(4)))
    assert not [result for result in results if isinstance(result, Exception)]
    assert sum(result.ledger.inserted for result in results) == 25
    assert len(world.runs()) == 4
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


def test_the_second_run_is_refused_when_the_first_takes_too_long(world: World) -> None:
    world.add_items(5)
    inside, done = threading.Event(), threading.Event()

    def hook(request: RequestInfo) -> None:
        inside.set()
        done.wait(30)

    world.faults.on_request = hook
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(attempt, world, "items")
        assert inside.wait(30)
        second = attempt(world, "items")
        done.set()
        assert first.result().ledger.inserted == 5
    assert isinstance(second, EntityBusyError)
    assert "That run goes on" in str(second)
    assert len(world.runs()) == 1
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


def sync_in_child(url: str, home: str, answers: Any) -> None:
    os.environ["TWIN_TOKEN"] = TOKEN
    settings = Settings(_env_file=None, home=Path(home), max_page_size=10, entity_wait_seconds=60)
    try:
        answers.put(sync_entity(Database(url), "erp", "items", settings=settings).ledger.as_dict())
    except SyncError as error:
        answers.put(str(error))


def test_two_processes_on_one_entity_never_double_anything(world: World, tmp_path: Path) -> None:
    world.add_items(25)
    answers = _context.Queue()
    arguments = (world.database.url, str(tmp_path), answers)
    children = [_context.Process(target=sync_in_child, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    ledgers = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert sorted(ledger["inserted"] for ledger in ledgers) == [0, 25]
    assert [run["status"] for run in world.runs()] == ["success", "success"]
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


@pytest.mark.parametrize("time", [1, 2, 3])
def test_eight_entities_synced_first_at_the_same_moment_all_succeed(
    world: World, time: int
) -> None:
    slugs = [f"items-{number}" for number in range(8)]
    for slug in slugs:
        world.add_items(6, slug)
    together = threading.Barrier(8)

    def together_sync(slug: str) -> Any:
        together.wait(30)
        return attempt(world, slug)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(together_sync, slugs))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert {result.ledger.inserted for result in results} == {6}
    for slug in slugs:
        world.assert_equal_to_truth(slug)
        world.assert_nothing_left_behind(slug)


def test_two_first_discoveries_at_once_both_succeed(world: World) -> None:
    for number in range(3):
        world.store.add(TwinTable(f"api{number}", columns=ITEM_COLUMNS))
    together = threading.Barrier(2)
    world.faults.on_request = lambda request: together.wait(30) and None

    def one(_: int) -> Any:
        return discover(world.database, "erp", settings=world.settings)

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(one, range(2)))
    assert [report.invalid for report in reports] == [{}, {}]
    assert sorted(len(report.added) for report in reports) == [0, 3]


def test_a_column_discovered_during_a_run_is_still_read_for_every_row(world: World) -> None:
    table = world.add_items(5, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    changed = []

    def hook(request: RequestInfo) -> None:
        if request.kind == "data" and not changed:
            changed.append(1)
            table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
            world.discover()

    world.faults.on_request = hook
    world.sync()
    world.faults.on_request = None
    world.sync()
    assert {row["colour"] for row in world.rows().values()} == {"red"}
    world.assert_equal_to_truth()


def test_a_table_set_aside_during_a_run_is_not_written_to(world: World) -> None:
    table = world.add_items(5)
    world.sync()
    table.put(item(9))
    accepted = []

    def hook(request: RequestInfo) -> None:
        if request.kind == "data" and not accepted:
            accepted.append(1)
            world.discover("items")

    world.faults.on_request = hook
    # The delta goes into the new table, which is read whole by the next run, since the delta does not settle that.
    assert attempt(world, "items").mode is Mode.DELTA
    world.faults.on_request = None
    [(old,)] = world.sql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'erp'::regnamespace AND"
        " relname LIKE 'items\\_\\_%%'"
    )
    assert world.sql(f"SELECT count(*) FROM erp.{old}") == [(5,)]
    assert world.entity().position.full_refresh_pending
    assert world.sync().mode is Mode.FULL
    world.assert_equal_to_truth()


def test_a_slow_source_holds_up_only_its_own_entity(world: World) -> None:
    world.add_items(3)
    world.add_items(3, "other")
    world.faults.add(Fault(slug="items", delay_seconds=0.5))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda slug: attempt(world, slug), ["items", "other"]))
    assert [result.ledger.inserted for result in results] == [3, 3]
