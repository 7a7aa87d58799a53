"""Discovery while Dagster runs: a change at the source shows in the UI without a restart or an outage."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.connectors import add_connector, remove_connector
from sync_pipelines.demo.twin import Fault, TwinColumn, TwinTable
from sync_pipelines.orchestrate.reload import Outcome, reload_definitions
from sync_pipelines_tests.orchestrate.processes import RunningDagster, wait_for
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item


@pytest.fixture(autouse=True)
def quiet_source(module_world: World):
    """A source without faults, whatever the test before did."""
    module_world.faults.clear()
    module_world.server.latency_seconds = 0
    yield
    module_world.faults.clear()
    module_world.server.latency_seconds = 0


def offer(world: World, slug: str, rows: int = 2, **options) -> TwinTable:
    """A new API at the source; nobody has discovered it yet."""
    table = TwinTable(slug, slug.title(), "Master data", ITEM_COLUMNS, ("item_number",), **options)
    for number in range(rows):
        table.put(item(number))
    return world.store.add(table)


def reloaded(dagster: RunningDagster) -> Outcome:
    """What every command does after a change of the catalog, without the seconds that a process takes to start."""
    settings = dagster.world.settings.model_copy(update={"home": dagster.home})
    return reload_definitions(settings, dagster.world.database).outcome


def discovered(dagster: RunningDagster) -> None:
    """A discovery that finds something, and shows it."""
    dagster.world.discover()
    assert reloaded(dagster) is Outcome.RELOADED


def test_a_new_api_becomes_an_asset_by_the_command_line_and_syncs(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "items", rows=3)
    assert ("erp", "items") not in running_dagster.assets()
    found = running_dagster.command("discover", "erp")
    assert found.returncode == 0, found.stderr
    assert "has loaded the definitions again" in found.stderr
    asset = running_dagster.assets()[("erp", "items")]
    assert asset["groupName"] == "erp"
    assert "sync_erp" in running_dagster.jobs()
    assert running_dagster.finished(running_dagster.launch("sync_erp")) == "SUCCESS"
    assert len(module_world.rows("items")) == 3
    module_world.assert_equal_to_truth("items")


def test_a_new_and_a_changed_api_show_by_the_job(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "orders")
    offer(module_world, "parts")
    assert running_dagster.finished(running_dagster.launch("discover_erp")) == "SUCCESS"
    assert {("erp", "orders"), ("erp", "parts")} <= running_dagster.assets().keys()
    before = running_dagster.loaded_at()
    module_world.store["orders"].add_column(TwinColumn("colour", "TEXT"))
    run = running_dagster.launch("discover_erp")
    assert running_dagster.finished(run) == "SUCCESS"
    assert any("loaded the definitions again" in message for message in running_dagster.events(run))
    assert running_dagster.loaded_at() > before


def test_a_discovery_without_change_reloads_nothing(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "steady")
    discovered(running_dagster)
    before = running_dagster.loaded_at()
    again = running_dagster.command("discover", "erp")
    assert "nothing was reloaded" in again.stderr
    run = running_dagster.launch("discover_erp")
    assert running_dagster.finished(run) == "SUCCESS"
    assert any("nothing was reloaded" in message for message in running_dagster.events(run))
    assert running_dagster.loaded_at() == before


def test_a_vanished_api_keeps_asset_and_table_and_is_marked(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "passing")
    discovered(running_dagster)
    module_world.sync("passing")
    module_world.store.remove("passing")
    discovered(running_dagster)
    asset = running_dagster.assets()[("erp", "passing")]
    assert {"key": "sync_pipelines/status", "value": "vanished"} in asset["tags"]
    assert "does not list it any more" in asset["description"]
    assert len(module_world.rows("passing")) == 2


def questions(world: World) -> int:
    """How often the source was asked what it offers; the sensor's syncs ask for data beside that."""
    return sum(request.kind == "apis" for request in world.server.requests_log)


def test_an_unreachable_source_leaves_everything_up_and_a_new_load_asks_it_nothing(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "lasting")
    discovered(running_dagster)
    shown = running_dagster.assets().keys()
    module_world.faults.add(Fault("gone", status=503, times=None))
    asked = questions(module_world)
    failed = running_dagster.command("discover", "erp")
    assert failed.returncode == 1
    assert running_dagster.finished(running_dagster.launch("discover_erp")) == "FAILURE"
    asked_by_discovery = questions(module_world)
    assert asked_by_discovery > asked
    # A change of the catalog loads everything anew while the source is still down.
    module_world.set("lasting", sync_interval_seconds=77)
    assert reloaded(running_dagster) is Outcome.RELOADED
    assert questions(module_world) == asked_by_discovery
    assert running_dagster.loads()
    assert running_dagster.assets().keys() == shown


def test_settings_of_entities_and_connectors_show_at_once(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "timed")
    discovered(running_dagster)
    assert (
        running_dagster.command("entity", "set", "erp/timed", "--interval", "4321").returncode == 0
    )
    entries = {
        entry["label"]: entry.get("intValue")
        for entry in running_dagster.assets()[("erp", "timed")]["metadataEntries"]
    }
    assert entries["sync_interval_seconds"] == 4321
    add = running_dagster.command(
        "connector", "add", "crm", module_world.server.url, "--token", "env:TWIN_TOKEN"
    )
    assert add.returncode == 0, add.stderr
    assert "discover_crm" in running_dagster.jobs()
    assert running_dagster.command("connector", "remove", "crm", "--yes").returncode == 0
    assert "discover_crm" not in running_dagster.jobs()


def test_a_run_in_progress_survives_a_reload(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "slow", rows=800)
    discovered(running_dagster)
    module_world.server.latency_seconds = 1
    run = running_dagster.launch("sync_erp")
    wait_for(
        lambda: running_dagster.status(run) == "STARTED" and module_world.runs("slow"),
        "the run reads",
    )
    offer(module_world, "meanwhile")
    discovered(running_dagster)
    wait_for(lambda: ("erp", "meanwhile") in running_dagster.assets(), "the new asset shows")
    assert running_dagster.status(run) == "STARTED", (
        "the reload is meant to come while the run reads"
    )
    module_world.server.latency_seconds = 0
    assert running_dagster.finished(run) == "SUCCESS"
    assert len(module_world.rows("slow")) == 800


def test_the_daemon_launches_a_job_that_came_while_it_ran(
    running_dagster: RunningDagster, module_world: World
) -> None:
    add_connector(module_world.database, "fresh", module_world.server.url, "env:TWIN_TOKEN")
    assert reloaded(running_dagster) is Outcome.RELOADED
    assert running_dagster.finished(running_dagster.launch("discover_fresh")) == "SUCCESS"
    # Other reloads, by syncs and discoveries of the sensors, may be under way beside ours.
    wait_for(
        lambda: ("fresh", "items") in running_dagster.assets(), "the new connector's asset shows"
    )
    assert "Traceback" not in running_dagster.child("daemon").log.read_text()
    remove_connector(module_world.database, "fresh")
    assert reloaded(running_dagster) is Outcome.RELOADED


def test_a_web_server_that_is_gone_does_not_fail_the_discovery(
    running_dagster: RunningDagster, module_world: World
) -> None:
    offer(module_world, "unseen")
    away = running_dagster.command(
        "discover", "erp", DAGSTER_WEBSERVER_URL="http://somebody:canary-pw@127.0.0.1:9"
    )
    assert away.returncode == 0
    assert "could not load the definitions again" in away.stderr
    assert "canary-pw" not in away.stdout + away.stderr
    # The next discovery finds nothing new, but makes up for it.
    assert ("erp", "unseen") not in running_dagster.assets()
    discovered(running_dagster)
    assert ("erp", "unseen") in running_dagster.assets()
