"""What processes share through the database: turns of a rate limit and places of writers."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import change_connector, get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.slots import SharedRateLimiter, writer_place
from sync_pipelines.errors import DatabaseUnavailableError, InterruptedRunError
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.world import World

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["sync_pipelines_tests.catalog.test_slots"])


def take_turns(url: str, count: int, answers: Any) -> None:
    limiter = SharedRateLimiter(Database(url), "http://erp", 20)
    for _ in range(count):
        limiter.wait()
        answers.put(time.time())


def test_a_rate_limit_holds_over_processes_and_threads(database: Database) -> None:
    answers = _context.Queue()
    children = [
        _context.Process(target=take_turns, args=(database.url, 6, answers)) for _ in range(3)
    ]
    for child in children:
        child.start()
    moments = sorted(answers.get(timeout=60) for _ in range(18))
    for child in children:
        child.join(60)
    assert moments[-1] - moments[0] >= 17 / 20 - 0.06, "a turn may be used late, never early"


def test_sources_do_not_wait_for_each_other_and_nobody_beyond_his_patience(
    database: Database,
) -> None:
    slow, other = (
        SharedRateLimiter(database, "http://slow", 0.01),
        SharedRateLimiter(database, "http://other", 0.01),
    )
    assert slow.wait()
    assert not slow.wait(patience_seconds=1)
    assert not SharedRateLimiter(database, "http://slow", 0.01).wait(patience_seconds=0)
    assert other.wait(patience_seconds=0)


def test_a_limiter_outlives_its_connection_and_tells_when_there_is_no_database(
    database: Database,
) -> None:
    limiter = SharedRateLimiter(database, "http://erp", 1000)
    assert limiter.wait()
    assert limiter._connection is not None
    pid = limiter._connection.info.backend_pid
    with database.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert limiter.wait()
    with pytest.raises(DatabaseUnavailableError):
        SharedRateLimiter(Database("postgresql://nobody@127.0.0.1:9/none"), "http://erp", 1).wait()


def test_syncs_of_a_limited_connector_ask_no_faster_than_it_allows(world: World) -> None:
    for number in range(3):
        world.add_items(1, slug=f"e{number}")
    connector = get_connector(world.database, "erp")
    change_connector(world.database, connector, settings={"requests_per_second": 5})
    with ThreadPoolExecutor(3) as pool:
        list(
            pool.map(
                lambda number: sync_entity(
                    world.database, "erp", f"e{number}", settings=world.settings
                ),
                range(3),
            )
        )
    moments = sorted(request.at for request in world.server.requests_log if request.kind == "data")
    assert len(moments) >= 6
    assert moments[-1] - moments[0] >= (len(moments) - 1) / 5 - 0.25
    assert len(world.sql("SELECT source FROM bridge.request_slots")) == 1


def test_no_more_writers_than_places_over_all_connections(database: Database) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def write(_: int) -> None:
        nonlocal inside, most
        with (
            database.connect(autocommit=True) as connection,
            writer_place(connection, "bridge", 2, lambda: None),
        ):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    assert most == 2
    with database.connect() as connection:
        assert connection.execute(
            "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory'"
        ).fetchone() == {"n": 0}


def test_a_writer_that_is_killed_frees_its_place_and_waiting_can_be_cancelled(
    database: Database,
) -> None:
    def cancelled() -> None:
        raise InterruptedRunError("cancelled")

    with database.connect(autocommit=True) as dying, database.connect(autocommit=True) as next_one:
        with writer_place(dying, "bridge", 1, lambda: None):
            with pytest.raises(InterruptedRunError), writer_place(next_one, "bridge", 1, cancelled):
                pass
            dying.close()
        with writer_place(next_one, "bridge", 1, lambda: None):
            pass


def test_syncs_share_the_places_of_writers(world: World) -> None:
    for number in range(4):
        world.add_items(3, slug=f"e{number}")
    world.settings = world.settings.model_copy(update={"max_destination_writers": 1})
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: sync_entity(
                    world.database, "erp", f"e{number}", settings=world.settings
                ),
                range(4),
            )
        )
    for number in range(4):
        world.assert_equal_to_truth(f"e{number}")
        world.assert_nothing_left_behind(f"e{number}")
