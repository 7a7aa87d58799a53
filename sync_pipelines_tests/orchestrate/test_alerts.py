"""The sensors on a real Dagster instance, and what Dagster itself knows about freshness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import pytest

from sync_pipelines.catalog.incidents import list_incidents
from sync_pipelines.catalog.webhooks import add_webhook
from sync_pipelines.demo.twin import Fault
from sync_pipelines.model.incident import Condition, IncidentKind
from sync_pipelines.observe.evaluate import record_condition
from sync_pipelines.orchestrate.alerts import _step_name
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.observe.receiver import KEY, Receiver, receiving
from sync_pipelines_tests.world import World, item

ITEMS = dg.AssetKey(["erp", "items"])
Load = Callable[[], dg.Definitions]


@pytest.fixture
def instance(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance with storage on disk, as the repository's dagster.yaml makes it."""
    monkeypatch.setenv("ALERT_CLOSE_AFTER_SECONDS", "0")
    monkeypatch.setenv("ALERT_CONNECTION_SHARE", "1")
    load_settings.cache_clear()
    with dg.DagsterInstance.get() as opened:
        yield opened


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_KEY", KEY)
    with receiving() as server:
        add_webhook(world.database, server.url, "env:HOOK_KEY")
        yield server


class Ticks:
    """A sensor, evaluated again and again with its cursor as the daemon does."""

    def __init__(self, definitions: Load, name: str, instance: dg.DagsterInstance) -> None:
        self.definitions, self.name, self.instance = definitions, name, instance
        self.cursor: str | None = None

    def tick(self) -> str:
        """One evaluation; returns the skip reason."""
        loaded = self.definitions()
        context = dg.build_sensor_context(
            self.instance,
            self.cursor,
            definitions=loaded,
            resources={"bridge": Bridge()},
            sensor_name=self.name,
        )
        data = loaded.get_repository_def().get_sensor_def(self.name).evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        self.events = data.asset_events
        for reaction in data.dagster_run_reactions or []:
            assert reaction.error is None, reaction.error
        return data.skip_message or ""


def incidents(world: World) -> list[tuple[str, str, bool]]:
    return sorted(
        (row["kind"], row["subject"], row["closed_at"] is None)
        for row in list_incidents(world.database)
    )


def test_the_sensors_run_unless_somebody_stops_them(definitions: Load) -> None:
    for name in ("alerts", "failed_runs"):
        sensor = definitions().get_repository_def().get_sensor_def(name)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == 30


def test_a_tick_finds_incidents_delivers_and_says_what_it_did(
    world: World, definitions: Load, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    world.add_items(1)
    sensor = Ticks(definitions, "alerts", instance)
    assert (
        sensor.tick()
        == "0 incidents open, 0 began, 0 over; 0 messages delivered, 0 failed, 0 given up."
    )
    world.set(consecutive_failures=3)
    assert sensor.tick() == (
        "1 incidents open, 1 began, 0 over;"
        " 1 messages delivered, 0 failed, 0 given up. Open: Syncs fail again and again (erp/items)."
    )
    world.set(consecutive_failures=0)
    assert (
        sensor.tick()
        == "0 incidents open, 0 began, 1 over; 1 messages delivered, 0 failed, 0 given up."
    )
    assert [request["ok"] for request in receiver.requests] == [True, True]


def news(sensor: Ticks) -> list[tuple[str, ...]]:
    """The events of the last tick: observations with their state, and results of checks."""
    found = []
    for event in sensor.events:
        path = "/".join(event.asset_key.path)
        if isinstance(event, dg.AssetObservation):
            found.append((path, event.metadata["state"].value, event.metadata["incident"].value))
        else:
            found.append(
                (
                    path,
                    event.check_name,
                    "passed" if event.passed else event.severity.value,
                    event.metadata["open"].value,
                )
            )
    return found


def test_dagster_gets_each_incident_once_whoever_opened_it(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    sensor = Ticks(definitions, "alerts", instance)
    sensor.tick()
    assert news(sensor) == [("erp", "incidents", "passed", 0)]
    sensor.tick()
    assert news(sensor) == []
    hostile = "![x](/graphql?query=mutation{x})"
    condition = Condition(IncidentKind.ACTION_REQUIRED, "erp/items", hostile, f"say {hostile}", {})
    record_condition(world.database, load_settings(), condition)
    world.set(status="action_required", status_reason=hostile)
    sensor.tick()
    assert news(sensor) == [
        ("erp/items", "began", "Somebody has to decide"),
        ("erp", "incidents", "ERROR", 1),
    ]
    assert "!\\[x\\](/graphql" in sensor.events[-1].metadata["incidents"].value
    sensor.tick()
    assert news(sensor) == []
    world.set(status="active", status_reason=None)
    sensor.tick()
    assert news(sensor) == [
        ("erp/items", "over", "Somebody has to decide"),
        ("erp", "incidents", "passed", 0),
    ]


def test_incidents_of_connector_job_database_and_of_nothing_known_have_their_places(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    sensor = Ticks(definitions, "alerts", instance)
    for kind, subject, details in (
        (IncidentKind.RUN_FAILED, "sync_erp", {"connector": "erp", "run": "1"}),
        (IncidentKind.RUN_FAILED, "erp/gone", {"run": "2"}),
        (IncidentKind.RUN_FAILED, "database", {"run": "3"}),
        (IncidentKind.RUN_FAILED, "other/items", {"run": "4"}),
    ):
        record_condition(
            world.database,
            load_settings(),
            Condition(kind, subject, "It died.", "sync-pipelines runs", details),
        )
    assert "Open: " in sensor.tick()
    observed = [(path, state) for path, state, *_ in news(sensor) if state in ("began", "over")]
    assert observed == [("erp", "began"), ("erp", "began"), ("erp", "began")]
    assert news(sensor)[-1] == ("erp", "incidents", "ERROR", 3)


def test_the_check_of_a_connector_can_be_executed_by_hand(
    world: World, definitions: Load, environment: dict[str, str]
) -> None:
    world.add_items(1)
    [check] = [
        one
        for one in definitions().asset_checks or []
        if one.check_key.asset_key == dg.AssetKey(["erp"])
    ]
    assert check(bridge=Bridge()).passed
    condition = Condition(
        IncidentKind.SLOW_SOURCE, "erp/items", "The source took 30 s.", "sync-pipelines runs", {}
    )
    record_condition(world.database, load_settings(), condition)
    result = check(bridge=Bridge())
    assert (result.passed, result.severity, result.metadata["open"].value) == (
        False,
        dg.AssetCheckSeverity.WARN,
        1,
    )


def test_a_database_that_is_down_fails_the_tick_without_showing_the_password(
    world: World,
    definitions: Load,
    instance: dg.DagsterInstance,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sensor = Ticks(definitions, "alerts", instance)
    sensor.tick()
    monkeypatch.setenv(
        "POSTGRES_URL", "postgresql://nobody:secret-canary@127.0.0.1:9/nothing?connect_timeout=1"
    )
    load_settings.cache_clear()
    for _ in range(2):
        with pytest.raises(Exception, match="cannot be reached") as caught:
            sensor.tick()
        assert "secret-canary" not in str(caught.value)
    assert receiver.events == [("incident.opened", "database_unavailable", "database")]


def new_run(instance: dg.DagsterInstance, definitions: Load, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(
        definitions().resolve_job_def("sync_erp"), tags={"sync_pipelines/connector": "erp", **tags}
    )


def test_a_run_that_died_is_an_incident_until_a_run_of_its_job_succeeds(
    world: World, definitions: Load, instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    world.add_items(1)
    watcher, sensor = (
        Ticks(definitions, "failed_runs", instance),
        Ticks(definitions, "alerts", instance),
    )
    assert "Initiating" in watcher.tick()
    for _ in range(2):
        instance.report_run_failed(
            new_run(instance, definitions, **{"dagster/max_retries": "0"}),
            "The run worker process was killed",
        )
        watcher.tick()
        sensor.tick()
    assert receiver.events == [("incident.opened", "run_failed", "sync_erp")]
    assert "The run worker process was killed" in receiver.taken[0]["body"]["data"]["message"]
    assert (
        definitions()
        .resolve_job_def("sync_erp")
        .execute_in_process(instance=instance, tags={"sync_pipelines/connector": "erp"})
        .success
    )
    sensor.tick()
    assert receiver.events[1:] == [("incident.closed", "run_failed", "sync_erp")]
    assert incidents(world) == [("run_failed", "sync_erp", False)]


def test_a_run_that_dagster_runs_again_is_no_incident_before_that_fails_too(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    watcher = Ticks(definitions, "failed_runs", instance)
    watcher.tick()
    run = new_run(instance, definitions)
    instance.report_run_failed(run, "killed")
    assert instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
    watcher.tick()
    assert incidents(world) == []


def test_a_run_whose_failed_syncs_have_their_own_rows_is_no_second_incident(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    watcher = Ticks(definitions, "failed_runs", instance)
    watcher.tick()
    world.faults.add(Fault("wrong", kind="data", slug="items", status=404, times=None))
    assert (
        not definitions()
        .resolve_job_def("sync_erp")
        .execute_in_process(instance=instance, raise_on_error=False)
        .success
    )
    watcher.tick()
    assert incidents(world) == []


def test_an_entity_that_waits_for_a_decision_fails_its_run_without_a_second_incident(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    table = world.add_items(1)
    world.sync()
    table.change_column("base_uom", "VARCHAR(5)")
    world.discover()
    watcher, sensor = (
        Ticks(definitions, "failed_runs", instance),
        Ticks(definitions, "alerts", instance),
    )
    watcher.tick()
    assert (
        not definitions()
        .resolve_job_def("sync_erp")
        .execute_in_process(instance=instance, raise_on_error=False)
        .success
    )
    watcher.tick()
    sensor.tick()
    assert incidents(world) == [("action_required", "erp/items", True)]


def test_a_discovery_that_the_source_refuses_is_an_incident_and_an_unreachable_source_is_not_yet(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    watcher, sensor = (
        Ticks(definitions, "failed_runs", instance),
        Ticks(definitions, "alerts", instance),
    )
    watcher.tick()
    for fault in (
        Fault(kind="apis", drop_connection=True, times=None),
        Fault(kind="apis", status=401, times=None),
    ):
        world.faults.add(fault)
        assert (
            not definitions()
            .resolve_job_def("discover_erp")
            .execute_in_process(instance=instance, raise_on_error=False)
            .success
        )
        world.faults.clear()
        watcher.tick()
    assert incidents(world) == [("run_failed", "discover_erp", True)]
    assert (
        definitions().resolve_job_def("discover_erp").execute_in_process(instance=instance).success
    )
    sensor.tick()
    assert incidents(world) == [("run_failed", "discover_erp", False)]


def test_a_step_is_named_by_what_it_does() -> None:
    assert [
        _step_name(step) for step in ("erp__per_day__model", "discover_erp_apis", "erp__items")
    ] == [
        "the SQL model erp/per_day",
        "the discovery of erp",
        "the step erp__items",
    ]


def test_freshness_is_asked_of_what_is_synced_and_of_nothing_else(
    world: World, definitions: Load
) -> None:
    for slug in ("items", "off", "gone", "stuck", "quick"):
        world.add_items(1, slug=slug)
    world.sync("stuck")
    world.store["stuck"].change_column("base_uom", "VARCHAR(5)")
    world.store.remove("gone")
    world.discover()
    world.set("off", sync_enabled=False)
    world.set("quick", sync_interval_seconds=1)
    graph = definitions().resolve_asset_graph()
    policies = {
        key.path[1]: graph.get(key).freshness_policy
        for key in graph.get_all_asset_keys()
        if key.path[0] == "erp" and key.path[1:]
    }
    assert {slug for slug, policy in policies.items() if policy} == {"items", "quick", "stuck"}, (
        "a stopped table gets old all the same"
    )
    assert policies["items"] == dg.FreshnessPolicy.time_window(
        fail_window=timedelta(seconds=660), warn_window=timedelta(seconds=360)
    )


@pytest.mark.parametrize("grace", ["0", "60"])
def test_no_interval_is_too_short_for_a_policy(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch, grace: str
) -> None:
    world.add_items(1)
    monkeypatch.setenv("FRESHNESS_GRACE_SECONDS", grace)
    for interval in (1, 29, 30, 59, 60, 61):
        world.set(sync_interval_seconds=interval)
        load_settings.cache_clear()
        policy = definitions().resolve_asset_graph().get(ITEMS).freshness_policy
        assert policy.warn_window.to_timedelta() < policy.fail_window.to_timedelta()


def test_the_share_of_rejects_that_a_check_allows_is_the_one_of_the_settings(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.add_items(10)
    table.put(item(99, base_uom="far too long for ten"))
    severities = []
    for share in ("0.2", "0.05"):
        monkeypatch.setenv("ALERT_REJECTION_RATE", share)
        load_settings.cache_clear()
        result = (
            definitions()
            .resolve_job_def("sync_erp")
            .execute_in_process(raise_on_error=False, tags={"sync_pipelines/full_refresh": "true"})
        )
        [contract] = [
            one for one in result.get_asset_check_evaluations() if one.check_name == "contract"
        ]
        severities.append(contract.severity)
    assert severities == [dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR]
