"""Real daemons against the twin: nobody starts anything, and the tables follow their source."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.catalog.connectors import change_connector, get_connector
from sync_pipelines.cli.shell.processes import Children
from sync_pipelines.demo.twin import IsoRowversions, TwinTable
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

pytestmark = pytest.mark.timeout(900)
DEADLINE_SECONDS = 240
SENSOR = "sync_erp_when_due"


@pytest.fixture
def quick(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Ticks and probes as often as the daemon allows, and Dagster's files in the test's folder."""
    return {
        **environment,
        "DUE_SENSOR_SECONDS": "1",
        "PROBE_INTERVAL_SECONDS": "1",
        "SYNC_WORKER_THREADS": "10",
    }


@contextmanager
def daemon(environment: dict[str, str], logs: Path, name: str = "daemon") -> Iterator[Children]:
    """A daemon with its own code server; all of it is gone afterwards."""
    with Children(environment, logs) as children:
        command = [
            sys.executable,
            "-m",
            "dagster._daemon",
            "run",
            "-w",
            str(PROJECT / "workspace.yaml"),
        ]
        children.start(name, command)
        yield children


def wait_until(what: str, condition: Callable[[], object], children: Children) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        children.check()
        assert time.monotonic() < deadline, (
            f"not within {DEADLINE_SECONDS} s: {what}\n" + "\n".join(children.all[0].last_lines(60))
        )
        time.sleep(0.3)


def equal(world: World, slug: str = "items") -> bool:
    if not world.runs(slug) or world.runs(slug)[0]["status"] != "success":
        return False
    rows = world.rows(slug)
    return rows.keys() == world.store[slug].truth().keys() and all(
        rows[key]["base_uom"] == record["base_uom"]
        for key, record in world.store[slug].truth().items()
    )


def ticks(home: str, monkeypatch: pytest.MonkeyPatch) -> list[dg.InstigatorTick]:  # type: ignore[name-defined]
    """The finished ticks of the sensor, oldest first."""
    monkeypatch.setenv("DAGSTER_HOME", home)
    with dg.DagsterInstance.get() as instance:
        states = [
            state
            for state in instance.all_instigator_state()
            if state.origin.instigator_name == SENSOR
        ]
        found = [
            tick
            for state in states
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]
    return sorted(
        (tick for tick in found if tick.status.value != "STARTED"), key=lambda tick: tick.timestamp
    )


def test_what_is_due_runs_a_change_comes_within_two_ticks_and_a_dead_source_recovers(
    world: World, quick: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.add_items(5, rowversions=IsoRowversions())
    world.set(sync_interval_seconds=86_400, lookback_seconds=3600)
    home = quick["DAGSTER_HOME"]
    with daemon(quick, tmp_path) as children:
        wait_until("the first sync", lambda: equal(world), children)
        assert world.runs()[-1]["triggered_by"].startswith("first sync")
        changed_at = time.time()
        table.put(item(1, base_uom="NEW"))
        wait_until("the change", lambda: equal(world), children)
        assert "source changed" in {run["triggered_by"].split(",")[0] for run in world.runs()}
        after = [tick for tick in ticks(home, monkeypatch) if tick.timestamp >= changed_at]
        assert any(tick.run_ids for tick in after[:2]), (
            "one of the first two ticks after the change started a run"
        )

        world.set(sync_interval_seconds=1)
        world.sql("UPDATE bridge.entities SET next_due_at = now()")
        world.server.stop()
        died_at = time.monotonic()
        wait_until(
            "two failures in a row",
            lambda: world.entity().timeline.consecutive_failures >= 2,
            children,
        )
        wait_until("ten intervals", lambda: time.monotonic() > died_at + 10, children)
        table.put(item(2, base_uom="BACK"))
        world.server.start()
        wait_until("the recovery", lambda: equal(world), children)
        wait_until(
            "the end of the failures",
            lambda: world.entity().timeline.consecutive_failures == 0,
            children,
        )
    world.sql("UPDATE bridge.sync_runs SET status = 'failed' WHERE status = 'running'")
    world.assert_equal_to_truth()


def test_two_daemons_of_two_instances_never_double_a_run(
    world: World, quick: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_connector(world.database, get_connector(world.database, "erp"), probe_changes=False)
    slugs = [f"e{number}" for number in range(6)]
    for slug in slugs:
        world.add_items(3, slug=slug)
        world.set(slug, sync_interval_seconds=86_400)
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    with (
        daemon({**quick, "DAGSTER_HOME": str(homes[0])}, tmp_path, "one") as first,
        daemon({**quick, "DAGSTER_HOME": str(homes[1])}, tmp_path, "two") as second,
    ):
        wait_until("all syncs", lambda: all(equal(world, slug) for slug in slugs), first)
        for home, children in zip(homes, (first, second), strict=True):
            seen = len(ticks(str(home), monkeypatch))
            wait_until(
                "two more ticks of both daemons",
                lambda home=home, seen=seen: len(ticks(str(home), monkeypatch)) >= seen + 2,
                children,
            )
    assert {slug: len(world.runs(slug)) for slug in slugs} == dict.fromkeys(slugs, 1)
    for slug in slugs:
        world.assert_equal_to_truth(slug)


def test_fifty_due_entities_behind_a_slow_source_share_one_run(
    world: World, quick: dict[str, str], tmp_path: Path
) -> None:
    slugs = [f"e{number:02d}" for number in range(50)]
    for slug in slugs:
        table = TwinTable(slug, columns=ITEM_COLUMNS)
        table.put(item(1))
        world.store.add(table)
    world.discover()
    world.server.latency_seconds = 0.2
    with daemon(quick, tmp_path) as children:
        wait_until(
            "all fifty", lambda: all(entity == "success" for (entity,) in states(world)), children
        )
    runs = {
        run["triggered_by"].rpartition(" ")[2] for slug in slugs for run in world.runs(slug)[-1:]
    }
    assert len(runs) == 1


def states(world: World) -> list[tuple[str]]:
    return world.sql("SELECT last_sync_status FROM bridge.entities WHERE status = 'active'")
