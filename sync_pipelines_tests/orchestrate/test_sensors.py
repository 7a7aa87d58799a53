"""The due-sensor and the schedules, evaluated on a real instance as the daemon does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.catalog.connectors import change_connector, get_connector, remove_connector
from sync_pipelines.catalog.runs import hold_entity
from sync_pipelines.demo.twin import Fault, IsoRowversions
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG, KIND_TAG, LEASE_TAG
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.world import World, item

ITEMS, ORDERS = dg.AssetKey(["erp", "items"]), dg.AssetKey(["erp", "orders"])
Load = Callable[[], dg.Definitions]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as opened:
        yield opened


def evaluate(
    definitions: Load,
    instance: dg.DagsterInstance,
    name: str = "sync_erp_when_due",
    at: datetime = NOON,
) -> Any:
    """Evaluate a sensor or schedule with freshly loaded definitions."""
    loaded = definitions()
    repository = loaded.get_repository_def()
    if repository.has_sensor_def(name):
        context = dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"bridge": Bridge()}
        )
        return repository.get_sensor_def(name).evaluate_tick(context)
    context = dg.build_schedule_context(
        instance=instance,
        repository_def=repository,
        resources={"bridge": Bridge()},
        scheduled_execution_time=at,
    )
    return repository.get_schedule_def(name).evaluate_tick(context)


def execute(
    definitions: Load, instance: dg.DagsterInstance, request: dg.RunRequest
) -> dg.ExecuteInProcessResult:
    """Run what was requested, in this process."""
    job = definitions().resolve_job_def("sync_erp")
    return job.execute_in_process(
        instance=instance,
        asset_selection=list(request.asset_selection),
        tags=dict(request.tags),
        raise_on_error=False,
    )


def queue(definitions: Load, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    """Create the run of a request as the daemon does, and come no further."""
    job = definitions().resolve_job_def("sync_erp")
    subset = job.get_subset(asset_selection=set(request.asset_selection))
    return instance.create_run_for_job(
        subset,
        tags={**job.run_tags, **request.tags},
        asset_selection=frozenset(request.asset_selection),
        status=dg.DagsterRunStatus.STARTED,
    )


def make_due(world: World) -> None:
    world.sql("UPDATE bridge.entities SET next_due_at = now() - interval '1 second'")


def test_due_entities_share_one_run_of_their_named_job_with_two_tags_of_ours(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    world.add_items(3, slug="orders")
    [request] = evaluate(definitions, instance).run_requests
    assert set(request.asset_selection) == {ITEMS, ORDERS}
    assert {
        name: value for name, value in request.tags.items() if name.startswith("sync_pipelines/")
    } == {
        KIND_TAG: "large",
        LEASE_TAG: request.run_key,
    }
    done = execute(definitions, instance, request)
    assert done.success
    assert (done.dagster_run.job_name, done.dagster_run.tags[CONNECTOR_TAG]) == ("sync_erp", "erp")
    assert [run["triggered_by"].split(",")[0] for run in world.runs("items")] == ["first sync"]
    world.assert_equal_to_truth("orders")


def test_the_reason_to_skip_says_what_comes_next(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    world.sync()
    data = evaluate(definitions, instance)
    assert not data.run_requests
    assert "nothing is due; next: items in" in data.skip_message
    assert "probed 1, 0 with news" in data.skip_message


def test_a_waiting_run_keeps_its_entities_and_its_end_gives_them_back(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    [request] = evaluate(definitions, instance).run_requests
    run = queue(definitions, instance, request)
    world.sql("UPDATE bridge.entities SET leased_until = now() - interval '1 hour'")
    assert not evaluate(definitions, instance).run_requests
    instance.report_run_canceled(run)
    assert not evaluate(definitions, instance).run_requests, "it pauses after a cancelled run"
    make_due(world)
    assert len(evaluate(definitions, instance).run_requests) == 1


def test_a_run_that_failed_before_it_came_to_an_entity_counts_as_its_failure(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    [request] = evaluate(definitions, instance).run_requests
    instance.report_run_failed(queue(definitions, instance, request))
    assert not evaluate(definitions, instance).run_requests
    assert (world.entity().timeline.consecutive_failures, world.entity().timeline.due_reason) == (
        1,
        "retry",
    )


def test_what_a_person_asked_for_in_the_ui_is_not_started_beside_it(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    asked = queue(
        definitions,
        instance,
        dg.RunRequest(asset_selection=[ITEMS], tags={LEASE_TAG: "typed by hand", KIND_TAG: "odd"}),
    )
    assert not evaluate(definitions, instance).run_requests
    instance.report_run_canceled(asked)
    assert evaluate(definitions, instance).run_requests


def test_a_run_that_a_person_executes_again_keeps_its_entities(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    [request] = evaluate(definitions, instance).run_requests
    instance.report_run_failed(queue(definitions, instance, request))
    evaluate(definitions, instance)
    queue(definitions, instance, request)
    make_due(world)
    assert not evaluate(definitions, instance).run_requests


def test_a_removed_connector_leaves_a_sensor_that_says_so(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    loaded = definitions().get_repository_def()
    remove_connector(world.database, "erp")
    context = dg.build_sensor_context(
        instance=instance, repository_def=loaded, resources={"bridge": Bridge()}
    )
    assert "was removed" in (
        loaded.get_sensor_def("sync_erp_when_due").evaluate_tick(context).skip_message or ""
    )


def test_a_busy_entity_is_skipped_and_alarms_nobody(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    world.add_items(3, slug="orders")
    [request] = evaluate(definitions, instance).run_requests
    with hold_entity(world.database, world.entity("items"), 1):
        result = execute(definitions, instance, request)
    assert result.success
    assert [
        event.step_key
        for event in result.all_events
        if event.is_step_up_for_retry or event.is_step_failure
    ] == []
    [observation] = [
        event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"
    ]
    skipped = observation.event_specific_data.asset_observation.metadata["skipped"].value
    assert "Another run is syncing erp/items" in skipped
    assert world.runs("items") == []
    assert world.entity("items").timeline.consecutive_failures == 0
    assert len(world.rows("orders")) == 3
    [again] = evaluate(definitions, instance).run_requests
    assert set(again.asset_selection) == {ITEMS}, "it is due as before"


def test_a_failing_entity_is_retried_in_its_step_counted_once_and_due_again_later(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(3)
    world.faults.add(Fault(kind="data", status=503, times=None))
    [request] = evaluate(definitions, instance).run_requests
    result = execute(definitions, instance, request)
    assert not result.success
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 2
    assert len(world.runs()) == 3
    assert (world.entity().timeline.consecutive_failures, world.entity().timeline.due_reason) == (
        1,
        "retry",
    )
    assert not evaluate(definitions, instance).run_requests


def test_a_change_at_the_source_starts_a_run_long_before_the_interval(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    table = world.add_items(3, rowversions=IsoRowversions())
    world.set(sync_interval_seconds=86_400)
    world.sync()
    world.sync()
    table.put(item(1, base_uom="NEW"))
    [request] = evaluate(definitions, instance).run_requests
    assert KIND_TAG not in request.tags, "a regular run needs no word"
    assert execute(definitions, instance, request).success
    assert world.runs()[0]["triggered_by"].startswith("source changed, dagster run ")
    world.assert_equal_to_truth()


def test_models_run_with_the_entities_that_they_read(
    world: World,
    definitions: Load,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "models" / "erp").mkdir(parents=True)
    (tmp_path / "models" / "erp" / "item_count.sql").write_text(
        "SELECT count(*) AS n FROM erp.items\n"
    )
    monkeypatch.setenv("SYNC_PIPELINES_MODELS", str(tmp_path / "models"))
    load_settings.cache_clear()
    world.add_items(3)
    world.add_items(3, slug="orders")
    world.sync("items")
    world.sync("orders")
    world.sql("UPDATE bridge.entities SET next_due_at = now() + interval '1 hour'")
    world.sql("UPDATE bridge.entities SET next_due_at = now() WHERE slug = 'items'")
    [request] = evaluate(definitions, instance).run_requests
    assert set(request.asset_selection) == {ITEMS, dg.AssetKey(["erp", "item_count"])}
    assert execute(definitions, instance, request).success
    assert world.sql("SELECT n FROM erp.item_count") == [(3,)]
    world.sql("UPDATE bridge.entities SET next_due_at = now() WHERE slug = 'orders'")
    [request] = evaluate(definitions, instance).run_requests
    assert set(request.asset_selection) == {ORDERS}


def test_the_pool_follows_the_connector(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    evaluate(definitions, instance)
    assert [pool.name for pool in instance.event_log_storage.get_pool_limits()] == []
    connector = get_connector(world.database, "erp")
    change_connector(world.database, connector, settings={"max_concurrent_entities": 3})
    evaluate(definitions, instance)
    assert {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()} == {
        "source_erp": 3
    }


def test_every_connector_has_its_sensor_and_its_schedules_switched_on(
    world: World, definitions: Load
) -> None:
    world.add_items(1)
    loaded = definitions().get_repository_def()
    assert (
        loaded.get_sensor_def("sync_erp_when_due").default_status is dg.DefaultSensorStatus.RUNNING
    )
    schedules = {schedule.name: schedule for schedule in loaded.schedule_defs}
    assert {"full_refresh_erp", "discover_erp_by_cron"} <= set(schedules)
    assert "sync_erp_by_cron" not in schedules
    assert schedules["full_refresh_erp"].cron_schedule.split()[1] == "3"
    connector = get_connector(world.database, "erp")
    change_connector(
        world.database,
        connector,
        sync_cron="0 * * * *",
        full_refresh_cron="off",
        time_zone="Europe/Berlin",
        discovery_cron="off",
    )
    [schedule] = [
        one
        for one in definitions().get_repository_def().schedule_defs
        if one.name != "purge_history_nightly"
    ]
    assert (schedule.name, schedule.cron_schedule, schedule.execution_timezone) == (
        "sync_erp_by_cron",
        "0 * * * *",
        "Europe/Berlin",
    )


def test_sensor_and_schedules_start_the_named_job(world: World, definitions: Load) -> None:
    world.add_items(1)
    world.add_items(1, slug="off")
    world.set("off", sync_enabled=False)
    change_connector(world.database, get_connector(world.database, "erp"), sync_cron="0 * * * *")
    loaded = definitions().get_repository_def()
    assert [target.job_name for target in loaded.get_sensor_def("sync_erp_when_due").targets] == [
        "sync_erp"
    ]
    assert {
        loaded.get_schedule_def(name).job_name for name in ("full_refresh_erp", "sync_erp_by_cron")
    } == {"sync_erp"}
    assert not [name for name in loaded.job_names if name.startswith("__anonymous")]


def test_what_the_job_leaves_out_is_not_started_before_the_definitions_are_loaded_again(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    world.add_items(1, slug="orders")
    world.set("orders", sync_enabled=False)
    loaded = definitions().get_repository_def()
    world.set("orders", sync_enabled=True)
    context = dg.build_sensor_context(
        instance=instance, repository_def=loaded, resources={"bridge": Bridge()}
    )
    [request] = loaded.get_sensor_def("sync_erp_when_due").evaluate_tick(context).run_requests
    assert set(request.asset_selection) == {ITEMS}
    [request] = evaluate(definitions, instance).run_requests
    assert set(request.asset_selection) == {ORDERS}


def test_a_cron_that_somebody_broke_in_the_database_takes_nothing_else_down(
    world: World, definitions: Load, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_items(1)
    world.sql("UPDATE bridge.connectors SET sync_cron = 'every monday'")
    loaded = definitions().get_repository_def()
    assert {schedule.name for schedule in loaded.schedule_defs} == {
        "full_refresh_erp",
        "discover_erp_by_cron",
        "purge_history_nightly",
    }
    assert "every monday" in caplog.text
    assert evaluate(definitions, instance).run_requests, "its intervals count"


def test_the_reconciliation_finds_deleted_rows_and_overlaps_nothing(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    table = world.add_items(5)
    world.add_items(3, slug="orders")
    for slug in ("items", "orders"):
        world.sync(slug)
    table.delete(("A00002",))
    with hold_entity(world.database, world.entity("orders"), 1):
        [request] = evaluate(definitions, instance, "full_refresh_erp").run_requests
    assert set(request.asset_selection) == {ITEMS}
    assert request.tags[KIND_TAG] == "full read"
    assert execute(definitions, instance, request).success
    world.assert_equal_to_truth("items")
    assert world.runs("items")[0]["mode"] == "full"
    [later] = evaluate(definitions, instance).run_requests
    assert (set(later.asset_selection), later.tags[KIND_TAG]) == ({ORDERS}, "full read")


def test_a_sync_cron_starts_everything_at_its_hour(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(5)
    world.sync()
    change_connector(world.database, get_connector(world.database, "erp"), sync_cron="0 * * * *")
    [request] = evaluate(definitions, instance, "sync_erp_by_cron").run_requests
    assert set(request.asset_selection) == {ITEMS}
    assert execute(definitions, instance, request).success
    assert world.runs()[0]["triggered_by"].startswith("cron, dagster run ")
    make_due(world)
    assert not evaluate(definitions, instance).run_requests, "its interval rests"
    assert not evaluate(definitions, instance, "sync_erp_by_cron").run_requests, (
        "another daemon, the same moment"
    )
    assert evaluate(
        definitions, instance, "sync_erp_by_cron", NOON + timedelta(hours=1)
    ).run_requests


def test_while_the_catalog_is_down_the_definitions_keep_sensors_and_schedules(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(1)
    before = definitions().get_repository_def()
    monkeypatch.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    from sync_pipelines.settings import load_settings

    load_settings.cache_clear()
    after = definitions().get_repository_def()
    assert [one.name for one in after.sensor_defs] == [one.name for one in before.sensor_defs]
    assert [one.cron_schedule for one in after.schedule_defs] == [
        one.cron_schedule for one in before.schedule_defs
    ]
