"""Checks that stay true between the runs."""

from __future__ import annotations

import dagster as dg
import pytest

from sync_pipelines.catalog.quarantine import expire_records
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.table_checks import table_checks_sensor
from sync_pipelines_tests.world import World, item

ITEMS = dg.AssetKey(["erp", "items"])


class Watched:
    """A sensor that keeps its cursor, on an instance of its own."""

    def __init__(self, world: World, instance: dg.DagsterInstance) -> None:
        self.sensor = table_checks_sensor(world.settings)
        self.instance = instance
        self.cursor = None

    def tick(self) -> str:
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"bridge": Bridge()}
        )
        skipped = self.sensor(context)
        self.cursor = context.cursor
        return str(skipped.skip_message)

    def check(self, name: str) -> dg.AssetCheckEvaluation:
        key = dg.AssetCheckKey(ITEMS, name)
        found = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
        return found[key].evaluation


@pytest.fixture
def watched(world: World, environment: dict[str, str]):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(world, instance)


def test_a_contract_is_green_again_when_its_records_were_worked_off(
    world: World, watched: Watched
) -> None:
    table = world.add_items(25)
    table.put(item(99, base_uom="far too long for ten"))
    world.sync()
    assert watched.tick().startswith("1 tables judged anew")
    assert not watched.check("contract").passed
    assert watched.tick().startswith("0 tables judged anew"), "nothing changed"
    expire_records(world.database, "erp", "items", days=0, author="me", reason="never fixed")
    assert watched.tick().startswith("1 tables judged anew, 0 with")
    assert watched.check("contract").passed


def test_between_the_runs_nothing_is_said_of_a_contract_that_no_read_has_judged(
    world: World, watched: Watched
) -> None:
    table = world.add_items(3)
    table.change_column("base_uom", "VARCHAR(5)")
    world.set(status="action_required", status_reason="column base_uom changes")
    watched.tick()
    assert not watched.check("schema_drift").passed
    key = dg.AssetCheckKey(ITEMS, "contract")
    assert watched.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]) == {}


def test_a_discovery_that_stops_an_entity_turns_its_drift_check_red_without_a_run(
    world: World, watched: Watched
) -> None:
    table = world.add_items(3)
    world.sync()
    watched.tick()
    table.change_column("base_uom", "VARCHAR(5)")
    world.discover()
    watched.tick()
    drift = watched.check("schema_drift")
    assert (drift.passed, drift.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "base_uom changes" in drift.metadata["plan"].value
    assert watched.check("contract").passed
    world.discover("items")
    watched.tick()
    assert watched.check("schema_drift").passed
