"""Connections that are kept: few are opened, none carries anything over, and a lost one is no error."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from sync_pipelines.catalog import pool
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.pool import POOL
from sync_pipelines.errors import DatabaseRefusedError, DatabaseUnavailableError
from sync_pipelines_tests.conftest import with_database
from sync_pipelines_tests.world import World, item

ALLOWED = 3
SESSIONS = "SELECT sessions, numbackends FROM pg_stat_database WHERE datname = %s"


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    POOL.close()
    yield
    POOL.close()


def backend(database: Database) -> int:
    with database.connect() as connection:
        return connection.info.backend_pid


def test_one_after_the_other_uses_the_same_connection(database: Database) -> None:
    assert len({backend(database) for _ in range(5)}) == 1
    with database.connect() as outer:
        assert backend(database) != outer.info.backend_pid


def test_nothing_of_one_user_reaches_the_next(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        before = connection.info.backend_pid
        connection.execute(
            "SET lock_timeout = '5s'; SET search_path = pg_catalog; SET ROLE pg_monitor"
        )
        connection.execute(
            "CREATE TEMP TABLE left_over (a int); LISTEN news; PREPARE mine AS SELECT 1"
        )
        connection.execute("SELECT pg_advisory_lock(7)")
    with database.connect() as connection:
        assert connection.info.backend_pid == before
        assert not connection.autocommit
        for query, expected in (
            ("SHOW lock_timeout", "0"),
            ("SHOW search_path", "bridge,public"),
            ("SHOW timezone", "UTC"),
            ("SHOW transaction_timeout", "0"),
            ("SELECT current_user = session_user", True),
            ("SELECT to_regclass('left_over') IS NULL", True),
            ("SELECT count(*) FROM pg_listening_channels()", 0),
            ("SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'", 0),
            (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
                0,
            ),
        ):
            row = connection.execute(query).fetchone()
            assert row is not None and next(iter(row.values())) == expected, query


def test_a_failed_transaction_is_rolled_back_and_its_connection_used_again(
    database: Database,
) -> None:
    before = backend(database)
    with pytest.raises(DatabaseRefusedError), database.connect() as connection:
        connection.execute("CREATE TABLE half_done (a int)")
        connection.execute("SELECT no_such_column")
    with database.connect() as connection:
        assert connection.info.backend_pid == before
        row = connection.execute("SELECT to_regclass('half_done') AS found").fetchone()
        assert row == {"found": None}


def test_an_interrupted_user_leaves_no_connection_to_others(database: Database) -> None:
    before = backend(database)
    with pytest.raises(KeyboardInterrupt), database.connect() as connection:
        connection.execute("CREATE TABLE half_done (a int)")
        raise KeyboardInterrupt
    with database.connect() as connection:
        assert connection.info.backend_pid != before
        assert connection.execute("SELECT to_regclass('half_done') AS found").fetchone() == {
            "found": None
        }


def test_connections_that_the_server_ended_are_replaced_without_an_error(
    database: Database, server_url: str
) -> None:
    before = backend(database)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [before])
    assert backend(database) != before


def test_an_old_connection_and_one_too_many_are_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(database, kept_connections=1)
    with few.connect() as outer, few.connect() as inner:
        pids = {outer.info.backend_pid, inner.info.backend_pid}
    assert len(pids) == 2
    first = backend(few)
    assert first in pids
    monkeypatch.setattr(pool, "MAX_AGE_SECONDS", -1)
    backend(few)
    assert backend(few) != first
    assert backend(replace(database, kept_connections=0)) != backend(
        replace(database, kept_connections=0)
    )


def test_idle_connections_are_closed_after_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "KEEP_SECONDS", 0.05)
    before = backend(database)
    deadline = time.monotonic() + 30
    while any(POOL._idle.values()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert backend(database) != before


def test_a_child_process_does_not_use_the_connections_of_its_parent(database: Database) -> None:
    before = backend(database)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(backend(database)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    of_child = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    assert of_child != before
    assert backend(database) == before


def test_more_users_than_kept_connections_never_wait_for_each_other(database: Database) -> None:
    together = threading.Barrier(12, timeout=60)

    def work(number: int) -> int:
        with database.connect() as connection:
            together.wait()
            return connection.info.backend_pid

    with ThreadPoolExecutor(12) as threads:
        assert len(set(threads.map(work, range(12)))) == 12


def test_a_server_that_refuses_says_why_at_once(server_url: str) -> None:
    with (
        pytest.raises(DatabaseUnavailableError, match="does not exist"),
        Database(with_database(server_url, "no_such_database")).connect(),
    ):
        pass


def test_a_lock_that_lives_as_long_as_its_session_has_a_connection_of_its_own(
    database: Database,
) -> None:
    kept = backend(database)
    with database.connect(autocommit=True, alone=True) as connection:
        alone = connection.info.backend_pid
        connection.execute("SELECT pg_advisory_lock(7)")
    assert alone != kept
    assert backend(database) == kept


@pytest.mark.parametrize("changes", [0, 1, 30])
def test_a_sync_opens_at_most_three_connections(
    world: World, server_url: str, changes: int
) -> None:
    table = world.add_items(40)
    world.sync()
    for number in range(changes):
        table.put(item(number, base_uom="NEW"))
    before = sessions(world.database, server_url)
    world_sync_alone(world)
    assert sessions(world.database, server_url) - before <= ALLOWED
    world.assert_equal_to_truth()


def world_sync_alone(world: World) -> None:
    """The run and nothing of the test beside it."""
    from sync_pipelines.runs.sync import sync_entity

    sync_entity(world.database, "erp", "items", settings=world.settings)


def sessions(database: Database, server_url: str) -> int:
    """How many sessions of a database there have been, by the server's own count; all are ended first."""
    POOL.close()
    deadline = time.monotonic() + 30
    with psycopg.connect(server_url, autocommit=True) as admin:
        while time.monotonic() < deadline:
            row = admin.execute(SESSIONS, [database.name]).fetchone()
            assert row is not None
            if row[1] == 0:
                return int(row[0])
            time.sleep(0.02)
    raise AssertionError(f"{row[1]} sessions are still open")


def test_a_borrowed_connection_goes_back_when_it_is_closed(database: Database) -> None:
    before = backend(database)
    borrowed = database.borrow()
    assert borrowed.info.backend_pid == before
    assert borrowed.execute("SHOW search_path").fetchone() == ("public",)
    borrowed.execute("CREATE TABLE half_done (a int)")
    borrowed.close()
    with database.connect() as connection:
        assert connection.info.backend_pid == before
        assert connection.execute("SELECT to_regclass('half_done') AS found").fetchone() == {
            "found": None
        }
        assert connection.execute("SHOW search_path").fetchone() == {"search_path": "bridge,public"}


def test_a_kept_connection_that_does_not_answer_in_time_counts_as_broken(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "ANSWER_SECONDS", 0.2)
    with database.connect(alone=True, autocommit=True) as connection:
        assert pool._done_in_time(connection, "SELECT 1")
        assert not pool._done_in_time(connection, "SELECT pg_sleep(30)")
        assert connection.closed


def test_a_process_that_may_start_no_thread_keeps_no_connection_and_fails_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    fresh = pool.Pool()
    monkeypatch.setattr(threading.Timer, "start", refuse)
    session = fresh.take("address", database._opened)
    fresh.give("address", session, 4)
    assert session.closed
    monkeypatch.undo()
    session = fresh.take("address", database._opened)
    fresh.give("address", session, 4)
    assert not session.closed, "the next one is kept and looked after again"
    fresh.close()
