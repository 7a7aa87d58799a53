"""Faults 36–40: our own process dies, is stopped, or is not alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from sync_pipelines.errors import EntityBusyError
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.faults.helpers import healed, settled
from sync_pipelines_tests.test_concurrency import attempt
from sync_pipelines_tests.test_crashes import PUBLISHED, changed_items, kill_a_sync
from sync_pipelines_tests.world import TOKEN, World, item


def killed(world: World, *points: str) -> None:
    """Kill a delta at each point; it was published whole or not at all, and the next run closes it and goes on."""
    table = changed_items(world)
    for number, point in enumerate(points):
        before = world.state()
        kill_a_sync(world, point)
        dead = world.runs()[0]
        assert (world.state() != before) is (point in PUBLISHED), point
        assert dead["status"] == ("success" if point in PUBLISHED else "running"), point
        result = world.sync()
        assert dead["records_inserted"] + result.ledger.inserted == (1 if number else 2), point
        assert dead["records_updated"] + result.ledger.updated == (0 if number else 12), point
        assert [run["status"] for run in world.runs() if run["uid"] == dead["uid"]] == [
            "success" if point in PUBLISHED else "failed"
        ]
        table.put(item(100 + number))
    healed(world, 1)
    assert [row["business_key"] for row in world.quarantine()] == [["BAD"]]


def test_fault_36_killed_after_a_page(world: World) -> None:
    killed(world, "after page 2", "after the records were read")


def test_fault_37_killed_after_stage_or_before_merge(world: World) -> None:
    killed(world, "after the records were copied", "before publish")


def test_fault_38_killed_between_merge_cursor_and_run_row(world: World) -> None:
    killed(world, "between rows and books", "before COMMIT", "after COMMIT")


def test_fault_39_killed_during_ddl(world: World) -> None:
    killed(world, "during table DDL", "during staging DDL")


def test_fault_40_stopped_and_started_twice(world: World, environment: dict[str, str]) -> None:
    changed_items(world)
    before = world.state()
    world.server.latency_seconds = 0.7
    world.faults.forget_requests()
    command = [
        sys.executable,
        "-m",
        "dagster",
        "job",
        "execute",
        "-m",
        "sync_pipelines.definitions",
        "-j",
        "sync_erp",
    ]
    process = subprocess.Popen(
        command,
        env={**environment, "MAX_PAGE_SIZE": "1", "TWIN_TOKEN": TOKEN},
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(world.server.requests_log) < 2:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # The second start of the entity, wherever it comes from, is refused while the first one runs.
        assert isinstance(attempt(world, "items"), EntityBusyError)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0
    assert TOKEN not in output
    [run] = [run for run in world.runs() if run["triggered_by"] != "command line"]
    assert (run["status"], run["error_details"]["error"]) == ("cancelled", "InterruptedRunError")
    assert world.state() == before
    world.server.latency_seconds = 0
    assert world.sync().ledger.written == 14
    settled(world)


@pytest.fixture(autouse=True)
def token_for_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_TOKEN", TOKEN)
