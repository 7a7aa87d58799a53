"""Death of our process or of Trino at every step of a run: no row is lost or doubled, and the count is right."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.trino_server import ServerOptions, TrinoProcess
from sync_pipelines.demo.twin import IntegerRowversions, TwinTable
from sync_pipelines.destinations.trino import commit as commit_module
from sync_pipelines.destinations.trino.publish import TrinoTable
from sync_pipelines.destinations.trino.session import (
    Answer,
    LostAnswerError,
    QueryFailedError,
    Session,
)
from sync_pipelines.errors import DatabaseUnavailableError, LedgerError
from sync_pipelines.settings import Settings
from sync_pipelines_tests.test_crashes import kill_a_sync
from sync_pipelines_tests.trino import TrinoPlace, TrinoWorld
from sync_pipelines_tests.world import item

TRINO_POINTS: dict[str, tuple[str, str, int, str]] = {
    "after the table's DDL": (
        "sync_pipelines.destinations.trino.adapter",
        "apply_table",
        0,
        "after",
    ),
    "after staging": ("sync_pipelines.destinations.trino.publish", "_staged_relation", 0, "after"),
    "before the commit": ("sync_pipelines.destinations.trino.publish", "commit", 0, "before"),
    "after the commit, before the books": (
        "sync_pipelines.destinations.trino.publish",
        "commit",
        0,
        "after",
    ),
    "after the books, before COMMIT": (
        "sync_pipelines.destinations.trino.adapter",
        "publish",
        0,
        "after",
    ),
    "after COMMIT": (
        "sync_pipelines.destinations.trino.adapter:TrinoDestination",
        "publish",
        0,
        "after",
    ),
}
IN_THE_TABLE = {
    "after the commit, before the books",
    "after the books, before COMMIT",
    "after COMMIT",
}


def changed_items(world: TrinoWorld, count: int = 70) -> TwinTable:
    """A synced table, and at the source 12 changes, 2 new records and a bad one."""
    table = world.add_items(count, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    world.sync()
    change(table)
    return table


def change(table: TwinTable) -> None:
    for number in range(12):
        table.put(item(number, base_uom="KG"))
    table.put_many([item(500), item(501)])
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "x"}')


def assert_recovered(world: TrinoWorld, point: str, inserted: int, updated: int) -> None:
    """One clean sync later the table is right, and what died after its commit is counted as unchanged."""
    killed = world.runs()[0]
    snapshots = world.snapshots() if world.has_table() else 0
    result = world.sync()
    expected = (0, 0) if point in IN_THE_TABLE else (inserted, updated)
    assert (result.ledger.inserted, result.ledger.updated) == expected
    (again,) = [run for run in world.runs() if run["uid"] == killed["uid"]]
    assert again["status"] == ("success" if point == "after COMMIT" else "failed")
    assert point == "after COMMIT" or "counted as unchanged" in again["error_message"]
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()
    assert result.row_count == len(world.rows())
    if point in IN_THE_TABLE:
        assert world.snapshots() == snapshots
    assert world.sync().ledger.written == 0


@pytest.mark.parametrize("point", TRINO_POINTS)
def test_a_delta_killed_there_is_finished_by_the_next_run(
    trino_world: TrinoWorld, point: str
) -> None:
    if point == "after the table's DDL":
        trino_world.add_items(70, rowversions=IntegerRowversions(1), comparator="integer")
        trino_world.set(lookback_seconds=0)
        kill_a_sync(trino_world, TRINO_POINTS[point])
        assert_recovered(trino_world, point, 70, 0)
        return
    changed_items(trino_world)
    before = trino_world.entity()
    kill_a_sync(trino_world, TRINO_POINTS[point])
    # The cursor strictly follows the snapshot.
    assert (trino_world.entity().position.cursor == before.position.cursor) is (
        point != "after COMMIT"
    )
    assert (len(trino_world.rows()) == 72) is (point in IN_THE_TABLE)
    assert_recovered(trino_world, point, 2, 12)
    assert [row["business_key"] for row in trino_world.quarantine()] == [["BAD"]]


@pytest.mark.parametrize("point", ["before the commit", "after the commit, before the books"])
def test_a_first_sync_killed_there_is_finished_by_the_next_run(
    trino_world: TrinoWorld, point: str
) -> None:
    trino_world.add_items(70, rowversions=IntegerRowversions(1), comparator="integer")
    trino_world.set(lookback_seconds=0)
    kill_a_sync(trino_world, TRINO_POINTS[point])
    assert_recovered(trino_world, point, 70, 0)


def test_a_lost_answer_of_a_merge_is_looked_up_and_not_merged_again(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(trino_world)
    before = trino_world.snapshots()
    lost = lose_answers(monkeypatch, after=True, query_id_known=True)
    result = trino_world.sync()
    assert lost == ["MERGE"]
    assert (result.ledger.inserted, result.ledger.updated) == (2, 12)
    assert trino_world.snapshots() == before + 1
    assert result.storage["snapshot_id"]
    trino_world.assert_equal_to_truth()
    trino_world.assert_nothing_left_behind()


def test_a_lost_answer_is_found_without_its_query_id_too(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(trino_world)
    before = trino_world.snapshots()
    lose_answers(monkeypatch, after=True, query_id_known=False)
    result = trino_world.sync()
    assert (result.ledger.inserted, result.ledger.updated) == (2, 12)
    assert trino_world.snapshots() == before + 1
    trino_world.assert_equal_to_truth()


@pytest.mark.parametrize("first", [True, False])
def test_a_statement_that_never_arrived_is_sent_again(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    if first:
        trino_world.add_items(70)
    else:
        changed_items(trino_world)
    lost = lose_answers(monkeypatch, after=False, query_id_known=False)
    result = trino_world.sync()
    assert lost == ["INSERT" if first else "MERGE"]
    assert result.ledger.inserted == (70 if first else 2)
    trino_world.assert_equal_to_truth()


def lose_answers(
    monkeypatch: pytest.MonkeyPatch, *, after: bool, query_id_known: bool
) -> list[str]:
    """Break the connection of the next write, before or after Trino did it; returns what was lost."""
    original, lost = Session.execute, []

    def execute(self: Session, statement: str) -> Answer:
        if lost or not statement.startswith("/* sync_pipelines"):
            return original(self, statement)
        lost.append(statement.split("*/ ")[1].split()[0])
        answer = original(self, statement) if after else None
        raise LostAnswerError(
            "the cable was pulled", answer.query_id if answer and query_id_known else None
        )

    monkeypatch.setattr(Session, "execute", execute)
    return lost


def test_a_conflicting_writer_makes_the_whole_merge_be_tried_again(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(trino_world)
    table = trino_world.table()
    stop, conflicts = threading.Event(), []

    def interfere() -> None:
        while not conflicts and not stop.is_set():
            trino_world.trino.execute(
                f"UPDATE {table} SET base_uom = 'XX' WHERE item_number = 'A00060'"
            )

    monkeypatch.setattr(commit_module.logger, "warning", lambda *warning: conflicts.append(warning))
    writer = threading.Thread(target=interfere)
    writer.start()
    try:
        result = trino_world.sync()
    finally:
        stop.set()
        writer.join()
    assert (result.ledger.inserted, result.ledger.updated) == (2, 12)
    assert result.duplicate_keys == 0
    assert conflicts
    assert all(
        "ICEBERG_COMMIT_ERROR" in str(warning) or "TRANSACTION_CONFLICT" in str(warning)
        for warning in conflicts
    )


def test_conflicts_are_tried_so_often_and_no_more(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(trino_world)
    original, tries = Session.execute, []

    def execute(self: Session, statement: str) -> Answer:
        if statement.startswith("/* sync_pipelines"):
            tries.append(statement)
            raise QueryFailedError(
                "Trino failed for now (ICEBERG_COMMIT_ERROR)", "ICEBERG_COMMIT_ERROR"
            )
        return original(self, statement)

    monkeypatch.setattr(Session, "execute", execute)
    monkeypatch.setattr(commit_module, "_PAUSE_SECONDS", 0.001)
    error = trino_world.fails(DatabaseUnavailableError)
    assert len(tries) == 8
    assert "ICEBERG_COMMIT_ERROR" in str(error)
    monkeypatch.undo()
    monkeypatch.setenv("TWIN_TOKEN", "twin-token")
    assert trino_world.sync().ledger.updated == 12
    trino_world.assert_equal_to_truth()


def test_a_write_of_a_killed_run_that_still_runs_is_ended_before_the_next_one(
    trino_world: TrinoWorld,
) -> None:
    changed_items(trino_world)
    entity = trino_world.entity()
    slow = (
        f"/* sync_pipelines entity {entity.uid} run x */ SELECT count(*) FROM UNNEST(sequence(1, 10000)) a"
        " CROSS JOIN UNNEST(sequence(1, 10000)) b CROSS JOIN UNNEST(sequence(1, 10000)) c"
    )
    outcome: list[str] = []

    def leftover() -> None:
        try:
            trino_world.trino.execute(slow)
            outcome.append("finished")
        except Exception as error:  # noqa: BLE001 - looked at below
            outcome.append(str(error))

    thread = threading.Thread(target=leftover)
    thread.start()
    deadline = time.monotonic() + 60
    while not commit_module.running_queries(trino_world.trino, f"entity {entity.uid}"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert trino_world.sync().ledger.updated == 12
    thread.join(60)
    assert "its run has ended" in outcome[0]
    trino_world.assert_equal_to_truth()


def test_a_count_that_differs_after_the_commit_says_that_the_rows_are_in_the_table(
    trino_world: TrinoWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer added a row between the comparison and the second count."""
    changed_items(trino_world, 3)
    before = trino_world.entity().position.cursor
    with monkeypatch.context() as patched:
        patched.setattr(TrinoTable, "count_rows", lambda table: 1000)
        with pytest.raises(LedgerError, match="The rows are in the table, the cursor is where"):
            trino_world.sync(full_refresh=True)
    assert trino_world.entity().position.cursor == before
    assert trino_world.sync(full_refresh=True).ledger.written == 0
    trino_world.assert_equal_to_truth()


@pytest.fixture
def own_trino(trino_place: TrinoPlace, tmp_path: Path) -> Iterator[TrinoProcess]:
    """A Trino that a test may kill; asked for after `trino_place`, so that it is skipped where there is none."""
    process = TrinoProcess(tmp_path / "trino", ServerOptions(heap_mb=512, quick_start=True))
    with process.serving():
        yield process


@pytest.mark.timeout(900)
def test_a_coordinator_that_is_restarted_in_the_middle_of_a_merge_loses_and_doubles_nothing(
    database: Database, settings: Settings, own_trino: TrinoProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = TrinoPlace(own_trino.running.port, own_trino.running.lake)
    with TrinoWorld.open_in(database, settings, place) as world:
        table = changed_items(world, 600)
        for number in range(600):
            table.put(item(number, base_uom="KG"))
        original, restarted = Session.execute, []

        def execute(self: Session, statement: str) -> Answer:
            if statement.startswith("/* sync_pipelines") and not restarted:
                restarted.append(statement)
                killer = threading.Timer(0.25, lambda: own_trino.stop(kill=True))
                killer.start()
                try:
                    return original(self, statement)
                finally:
                    killer.join()
                    own_trino.launch()
            return original(self, statement)

        monkeypatch.setattr(Session, "execute", execute)
        result = world.sync()
        assert len(restarted) == 1
        # The merge was committed before the end or is done again; either way every row is there once.
        assert (result.ledger.inserted, result.ledger.updated) in ((0, 600), (0, 0))
        assert result.row_count == 600 == len(world.rows())
        world.assert_equal_to_truth()
        assert world.sync().ledger.written == 0
