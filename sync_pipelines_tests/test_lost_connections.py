"""The database goes away, refuses or deadlocks in the middle of a publish: the truth is what COMMIT said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from sync_pipelines.demo.twin import IntegerRowversions, TwinTable
from sync_pipelines.destinations import publish as sequence
from sync_pipelines.destinations.postgres import adapter as destination
from sync_pipelines.destinations.postgres import publish as publishing
from sync_pipelines.destinations.postgres.adapter import PostgresDestination
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    SupersededRunError,
    SyncError,
)
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.world import World, item


def changed_items(world: World) -> TwinTable:
    table = world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    world.sync()
    for number in range(12):
        table.put(item(number, base_uom="KG"))
    table.put(item(50))
    return table


def terminate_all(world: World) -> None:
    """End every connection to the database but this one, as an operator would."""
    world.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def run_at(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    action: Callable[[], None],
    *,
    after: bool,
) -> None:
    """Call `action` at the first call of a function of the publish step."""
    original, done = getattr(owner, name), []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        first = not done
        done.append(1)
        if first and not after:
            action()
        answer = original(*args, **kwargs)
        if first and after:
            action()
        return answer

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (RecordStream, "feed", False),
        (RecordStream, "finish", False),
        (destination, "publish", False),
        (sequence, "close_books", False),
        (destination, "publish", True),
    ],
)
def test_a_connection_lost_before_commit_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: bool
) -> None:
    changed_items(world)
    run_at(monkeypatch, owner, name, lambda: terminate_all(world), after=after)
    world.fails(DatabaseUnavailableError)
    assert world.runs()[0]["status"] == "failed"
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.updated) == (1, 12)
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


def test_a_commit_whose_answer_was_lost_is_recognised_as_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(world)
    original = PostgresDestination.publish

    def lost(self: PostgresDestination, *arguments: Any) -> Any:
        original(self, *arguments)
        raise DatabaseUnavailableError("the answer to COMMIT was lost")

    monkeypatch.setattr(PostgresDestination, "publish", lost)
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.updated, result.row_count) == (1, 12, 26)
    monkeypatch.undo()
    monkeypatch.setenv("TWIN_TOKEN", "twin-token")
    assert [run["status"] for run in world.runs()] == ["success", "success"]
    assert world.entity().timeline.consecutive_failures == 0
    assert world.sync().ledger.written == 0
    world.assert_equal_to_truth()


def test_a_quiet_run_whose_commit_answer_was_lost_is_recognised_as_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sync_pipelines.runs.attempt as module

    world.add_items(3)
    world.sync()
    original = module.finish_without_load

    def lost(cursor: Any, *arguments: Any) -> Any:
        original(cursor, *arguments)
        cursor.connection.commit()
        raise DatabaseUnavailableError("the answer to COMMIT was lost")

    monkeypatch.setattr(module, "finish_without_load", lost)
    result = world.sync()
    assert (result.ledger.unchanged, result.ledger.written) == (result.ledger.fetched, 0)
    assert [run["status"] for run in world.runs()] == ["success", "success"]


@pytest.mark.parametrize("batch_rows", [5, 20_000])
def test_losing_the_lock_connection_while_reading_is_a_passing_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    changed_items(world)
    monkeypatch.setattr("sync_pipelines.runs.run.HEARTBEAT_SECONDS", 0)
    world.settings = world.settings.model_copy(
        update={"batch_rows": batch_rows, "max_page_size": 3}
    )
    count = []

    def hook(request: Any) -> None:
        count.append(1)
        if len(count) == 4:
            terminate_all(world)

    world.faults.on_request = hook
    world.fails(DatabaseUnavailableError)
    assert world.runs()[0]["status"] == "failed"
    world.faults.on_request = None
    world.sync()
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


@contextmanager
def second_session(world: World, *statements: str) -> Iterator[psycopg.Connection[Any]]:
    """A person's session with an open transaction."""
    with psycopg.connect(world.database.url) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]
        yield connection
        connection.rollback()


def test_a_lock_that_is_not_released_in_time_is_retriable(world: World) -> None:
    changed_items(world)
    with (
        world.session_with("-c lock_timeout=100ms"),
        second_session(world, "LOCK TABLE erp.items IN SHARE MODE"),
    ):
        world.fails(DatabaseUnavailableError)
    assert world.sync().ledger.written == 13
    world.assert_equal_to_truth()


def test_a_deadlock_is_retriable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_items(world)
    world.sql(f"ALTER DATABASE {world.database.name} SET deadlock_timeout = '20ms'")
    with second_session(
        world, "SET deadlock_timeout = '60s'", "UPDATE erp.items SET base_uom = base_uom"
    ) as other:

        def wait_for_the_run() -> None:
            other.execute("UPDATE bridge.sync_runs SET triggered_by = triggered_by")
            other.rollback()

        waiting = threading.Thread(target=wait_for_the_run)
        run_at(monkeypatch, publishing, "fence", waiting.start, after=True)
        error = world.fails(DatabaseUnavailableError)
        waiting.join(30)
    assert "40P01" in str(error)
    assert world.sync().ledger.written == 13
    world.assert_equal_to_truth()


def test_a_serialization_trouble_or_cancelled_statement_is_retriable(world: World) -> None:
    changed_items(world)
    with (
        world.session_with("-c statement_timeout=300ms"),
        second_session(world, "SET statement_timeout = 0", "LOCK TABLE erp.items IN SHARE MODE"),
    ):
        world.fails(DatabaseUnavailableError)
    assert world.sync().ledger.written == 13


def test_a_unique_index_of_a_person_refuses_the_run_and_says_so(world: World) -> None:
    changed_items(world)
    world.sql("CREATE UNIQUE INDEX one_kilo ON erp.items ((1)) WHERE base_uom = 'KG'")
    error = world.fails(DatabaseRefusedError)
    assert "one_kilo" in str(error)
    world.sql("DROP INDEX erp.one_kilo")
    assert world.sync().ledger.written == 13
    world.assert_equal_to_truth()


def test_a_read_only_database_is_refused_for_good(world: World) -> None:
    changed_items(world)
    with (
        world.session_with("-c default_transaction_read_only=on"),
        pytest.raises(SyncError) as caught,
    ):
        sync_entity(world.database, "erp", "items", settings=world.settings)
    assert isinstance(caught.value, DatabaseRefusedError)
    assert world.sync().ledger.written == 13


@pytest.mark.parametrize("changes", [True, False])
def test_a_run_that_another_one_closed_cannot_publish(world: World, changes: bool) -> None:
    changed_items(world)
    if not changes:
        world.sync()

    def close(request: Any) -> None:
        world.sql(
            "UPDATE bridge.sync_runs SET status = 'failed', completed_at = now() WHERE status = 'running'"
        )

    world.faults.on_request = close
    world.fails(SupersededRunError)
    world.faults.on_request = None
    result = world.sync()
    assert (result.mode, result.ledger.written) == (Mode.DELTA, 13 if changes else 0)
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


def test_a_run_whose_lock_is_lost_is_one_attempt_of_several_and_names_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(25)
    monkeypatch.setattr("sync_pipelines.runs.run.HEARTBEAT_SECONDS", 0.0)
    asked: list[int] = []

    def operator_restarts() -> bool:
        asked.append(1)
        if len(asked) == 2:
            terminate_all(world)
        return False

    with pytest.raises(DatabaseUnavailableError):
        sync_entity(
            world.database,
            "erp",
            "items",
            settings=world.settings,
            interrupted=operator_restarts,
            will_try_again=True,
        )
    details = world.runs()[0]["error_details"]
    assert (details["error"], details["category"], details["tried_again"]) == (
        "DatabaseUnavailableError",
        "database",
        True,
    )
    assert world.entity().timeline.consecutive_failures == 0


def test_an_unexpected_error_that_the_step_repeats_is_one_attempt_of_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(5)
    monkeypatch.setattr("sync_pipelines.runs.attempt.load_batches", lambda *_, **__: 1 / 0)
    for again in (True, True, False):
        with pytest.raises(ZeroDivisionError):
            sync_entity(
                world.database, "erp", "items", settings=world.settings, will_try_again=again
            )
    assert [bool(run["error_details"].get("tried_again")) for run in world.runs()] == [
        False,
        True,
        True,
    ]
    assert world.entity().timeline.consecutive_failures == 1


def test_a_database_that_goes_away_right_after_the_publish_fails_no_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(5)

    def gone(*_: Any) -> int:
        raise DatabaseUnavailableError("PostgreSQL cannot be reached")

    monkeypatch.setattr(PostgresDestination, "duplicate_keys", gone)
    result = world.sync()
    assert result.ledger.inserted == 5
    assert any("could not be looked up" in warning for warning in result.warnings)
