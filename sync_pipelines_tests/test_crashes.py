"""SIGKILL at every step of a run: data and cursor move together or not at all, and nothing is done twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import IntegerRowversions, TwinTable
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import TOKEN, World, item

# Children fork from a server that has imported everything and used nothing: no thread is copied in mid-air.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "sync_pipelines_tests.test_crashes",
        "sync_pipelines.destinations.postgres.adapter",
        "sync_pipelines.destinations.trino.adapter",
    ]
)

# Where the child dies: object to patch, how many calls it survives, and whether it dies before or after the call.
POINTS: dict[str, tuple[str, str, int, str]] = {
    "before the run's row": ("sync_pipelines.runs.sync", "start_run", 0, "before"),
    "after the run's row": ("sync_pipelines.runs.sync", "start_run", 0, "after"),
    "during table DDL": ("sync_pipelines.destinations.postgres.adapter", "apply_table", 0, "after"),
    "during staging DDL": (
        "sync_pipelines.destinations.postgres.adapter",
        "prepare_staging",
        0,
        "after",
    ),
    "before page 1": ("sync_pipelines.sources.apismith.adapter", "fetch_data", 0, "before"),
    "after page 2": ("sync_pipelines.sources.apismith.adapter", "fetch_data", 1, "after"),
    "while records are copied": (
        "sync_pipelines.destinations.postgres.stream:RecordStream",
        "feed",
        1,
        "after",
    ),
    "after the records were read": ("sync_pipelines.destinations.load", "_read", 0, "after"),
    "before the copy ends": (
        "sync_pipelines.destinations.postgres.stream:RecordStream",
        "finish",
        0,
        "before",
    ),
    "after the records were copied": (
        "sync_pipelines.destinations.postgres.stream:RecordStream",
        "finish",
        0,
        "after",
    ),
    "before publish": ("sync_pipelines.destinations.postgres.adapter", "publish", 0, "before"),
    "after the rejects were copied": (
        "sync_pipelines.destinations.postgres.publish",
        "stage_rejects",
        0,
        "after",
    ),
    "between rows and books": ("sync_pipelines.destinations.publish", "close_books", 0, "before"),
    "between books and staging": ("sync_pipelines.destinations.publish", "close_books", 0, "after"),
    "before COMMIT": ("sync_pipelines.destinations.postgres.adapter", "publish", 0, "after"),
    "after COMMIT": (
        "sync_pipelines.destinations.postgres.adapter:PostgresDestination",
        "publish",
        0,
        "after",
    ),
    "before the result": ("sync_pipelines.runs.sync", "result_of", 0, "before"),
}
PUBLISHED = {"after COMMIT", "before the result"}


def die_at(point: tuple[str, str, int, str]) -> None:
    """Replace the function of a point by one that kills this process."""
    place, name, survived, moment = point
    module, _, owner = place.partition(":")
    target: Any = __import__(module, fromlist=["x"])
    target = getattr(target, owner) if owner else target
    original: Callable[..., Any] = getattr(target, name)
    calls = [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        due = calls[0] > survived
        if due and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*args, **kwargs)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(target, name, dying)


def doomed_sync(url: str, home: str, point: tuple[str, str, int, str], full_refresh: bool) -> None:
    """The child: syncs erp/items until it dies."""
    import sync_pipelines.destinations.postgres.adapter
    import sync_pipelines.destinations.trino.adapter  # noqa: F401
    from sync_pipelines.runs.sync import sync_entity

    os.environ.update(TWIN_TOKEN=TOKEN, TMPDIR=home)
    settings = Settings(
        _env_file=None, home=Path(home), max_page_size=10, batch_rows=10, entity_wait_seconds=5
    )
    die_at(point)
    sync_entity(Database(url), "erp", "items", settings=settings, full_refresh=full_refresh)


def kill_a_sync(
    world: World, point: str | tuple[str, str, int, str], *, full_refresh: bool = False
) -> None:
    place = POINTS[point] if isinstance(point, str) else point
    arguments = (world.database.url, str(world.settings.home.parent), place, full_refresh)
    child = _context.Process(target=doomed_sync, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def changed_items(world: World) -> TwinTable:
    table = world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    world.sync()
    for number in range(12):
        table.put(item(number, base_uom="KG"))
    table.put(item(50))
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "x"}')
    table.put(item(51))
    return table


def assert_recovered(world: World, point: str, expected: dict[str, int]) -> None:
    """One clean sync later everything is as if nothing had happened, and was counted once."""
    killed = world.runs()[0]
    was_published = point in PUBLISHED
    result = world.sync()
    counted = {name: killed[f"records_{name}"] + getattr(result.ledger, name) for name in expected}
    assert counted == expected
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()
    if point != "before the run's row":
        (again,) = [run for run in world.runs() if run["uid"] == killed["uid"]]
        assert again["status"] == ("success" if was_published else "failed")
        assert was_published or "process ended" in again["error_message"]
    assert world.sync().ledger.written == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_delta_killed_there_is_finished_by_the_next_run(world: World, point: str) -> None:
    changed_items(world)
    before = world.state()
    runs = len(world.runs())
    kill_a_sync(world, point)
    if point == "before the run's row":
        assert len(world.runs()) == runs
        assert world.sync().ledger.written == 14
        world.assert_equal_to_truth()
        return
    assert (world.state() == before) is (point not in PUBLISHED)
    assert world.runs()[0]["status"] == ("success" if point in PUBLISHED else "running")
    assert_recovered(world, point, {"inserted": 2, "updated": 12})
    (poison,) = world.quarantine()
    assert poison["business_key"] == ["BAD"]


@pytest.mark.parametrize(
    "point",
    [
        "during table DDL",
        "after page 2",
        "while records are copied",
        "after the records were copied",
        "before COMMIT",
        "after COMMIT",
    ],
)
def test_a_first_sync_killed_there_is_finished_by_the_next_run(world: World, point: str) -> None:
    world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    kill_a_sync(world, point)
    assert_recovered(world, point, {"inserted": 25, "updated": 0})


@pytest.mark.parametrize("point", ["during table DDL", "before COMMIT", "after COMMIT"])
def test_a_change_of_columns_killed_there_is_finished_by_the_next_run(
    world: World, point: str
) -> None:
    table = changed_items(world)
    world.sync()
    from sync_pipelines.demo.twin import TwinColumn

    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.change_column("weight_per_unit", "NUMERIC(12, 4)")
    world.discover()
    kill_a_sync(world, point)
    world.sync()
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()
    assert not world.entity().position.full_refresh_pending
    assert {row["colour"] for row in world.rows().values()} == {"red"}


def test_a_full_refresh_killed_before_commit_deletes_nothing(world: World) -> None:
    table = world.add_items(25)
    world.sync()
    table.delete(("A00001",))
    kill_a_sync(world, "before COMMIT", full_refresh=True)
    assert len(world.rows()) == 25
    assert world.sync(full_refresh=True).ledger.deleted == 1
    world.assert_equal_to_truth()


def test_a_run_that_never_ended_is_closed_by_the_next_one(world: World) -> None:
    world.add_items(3)
    uid = uuid.uuid4()
    world.sql(
        "INSERT INTO bridge.sync_runs (uid, entity_uid, status, mode) VALUES (%s, %s, 'running', 'full')",
        uid,
        world.entity().uid,
    )
    world.sync()
    assert {run["uid"]: run["status"] for run in world.runs()}[uid] == "failed"
    world.assert_nothing_left_behind()
