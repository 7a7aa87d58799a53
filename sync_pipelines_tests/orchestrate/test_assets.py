"""Entities as assets: what the UI shows, and what a materialization does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.catalog.health import read_health
from sync_pipelines.catalog.standing import Standing, list_standings
from sync_pipelines.cli.commands.entities import status_words
from sync_pipelines.demo.twin import Fault, IntegerRowversions, TwinColumn
from sync_pipelines.orchestrate import assets
from sync_pipelines.orchestrate.checks import CHECKS
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.test_gate_route import RULES, put_gate
from sync_pipelines_tests.world import TOKEN, World, item

ITEMS = dg.AssetKey(["erp", "items"])
Load = Callable[[], dg.Definitions]


def run(definitions: Load, job: str = "sync_erp", **options: Any) -> dg.ExecuteInProcessResult:
    """Execute a job in this process on an ephemeral instance; failures do not raise."""
    return definitions().resolve_job_def(job).execute_in_process(raise_on_error=False, **options)


def observations(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    events = [
        event
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION
    ]
    return [event.asset_observation_data.asset_observation for event in events]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()
    }


def test_an_entity_is_an_asset_with_all_a_person_wants_to_know(
    world: World, definitions: Load
) -> None:
    world.add_items(1)
    graph = definitions().resolve_asset_graph()
    node = graph.get(ITEMS)
    assert node.group_name == "erp"
    assert node.kinds == {"rest", "postgres"}
    assert node.owners == ["team:data-engineering"]
    assert "Product master data" in node.description
    assert node.metadata["dagster/table_name"].endswith(".erp.items")
    assert node.metadata["dagster/uri"] == f"{world.server.url}/api/v1/data/items"
    columns = {column.name: column for column in node.metadata["dagster/column_schema"].columns}
    assert columns["weight_per_unit"].type == "numeric(10,3)"
    assert not columns["item_number"].constraints.nullable
    assert {key.name for key in graph.get_check_keys_for_assets({ITEMS})} == {
        "contract", "balance", "no_duplicate_keys", "schema_drift",
    }  # fmt: skip


def test_code_version_follows_the_declared_columns(world: World, definitions: Load) -> None:
    table = world.add_items(1)
    before = definitions().resolve_asset_graph().get(ITEMS).code_version
    table.add_column(TwinColumn("colour", "TEXT"))
    world.discover()
    assert definitions().resolve_asset_graph().get(ITEMS).code_version != before


def test_a_materialization_carries_the_numbers_that_the_ui_plots(
    world: World, definitions: Load
) -> None:
    world.add_items(25)
    result = run(definitions)
    assert result.success
    [materialization] = result.asset_materializations_for_node("erp__items")
    metadata = {name: entry.value for name, entry in materialization.metadata.items()}
    assert metadata["dagster/row_count"] == 25
    assert metadata["records_fetched"] >= 25
    assert metadata["records_inserted"] == 25
    assert metadata["rows_per_second"] > 0
    assert metadata["bytes_wire"] > 0
    assert "| inserted | 25 |" in metadata["balance"]
    assert all(evaluation.passed for evaluation in checks(result).values())
    world.assert_equal_to_truth()


def test_quarantined_records_show_as_failure_cases_and_only_warn(
    world: World, definitions: Load
) -> None:
    table = world.add_items(25)
    table.put(item(99, base_uom="far too long for ten"))
    result = run(definitions)
    assert result.success
    contract = checks(result)["contract"]
    assert not contract.passed
    assert contract.severity is dg.AssetCheckSeverity.WARN
    [case] = contract.metadata["failure_cases"].records
    assert case.data["key"] == "A00099"
    assert case.data["column"] == "base_uom"


def test_the_verdicts_of_a_gate_are_plotted_and_shown_by_the_contract_check(
    world: World, definitions: Load
) -> None:
    table = world.add_items(0)
    put_gate(world, RULES + "masks: {item_description: redact}\n")
    table.put(item(1, weight_per_unit=2))
    table.put(item(2, weight_per_unit=2, base_uom="BOX"))
    table.put(item(3, weight_per_unit=0.5))
    result = run(definitions)
    [materialization] = result.asset_materializations_for_node("erp__items")
    metadata = {name: entry.value for name, entry in materialization.metadata.items()}
    assert (metadata["gate_passed"], metadata["gate_reviewed"], metadata["gate_rejected"]) == (
        1,
        1,
        1,
    )
    assert "| heavy_enough | 1 |" in metadata["gate_rules"]
    assert {column.name: column.type for column in metadata["dagster/column_schema"].columns}[
        "item_description"
    ] == "text"
    contract = checks(result)["contract"]
    assert not contract.passed
    assert contract.metadata["gate_rejected"].value == 1
    assert contract.metadata["review_command"].value == "sync-pipelines review list erp/items"
    assert "item 3" not in str(result.all_events)


def test_a_contract_broken_by_most_records_holds_back_what_is_downstream(
    world: World, definitions: Load
) -> None:
    table = world.add_items(1)
    for number in range(10, 20):
        table.put(item(number, base_uom="far too long for ten"))
    result = run(definitions)
    assert not result.success
    assert checks(result)["contract"].severity is dg.AssetCheckSeverity.ERROR
    assert len(world.rows()) == 1
    assert world.runs()[0]["status"] == "rejected", "the ledger says what Dagster says"
    assert len(result.asset_materializations_for_node("erp__items")) == 1, (
        "what was good is in the table"
    )
    failure = result.failure_data_for_node("erp__items")
    assert failure.error.message.startswith("rejected: 10 of 11 records were rejected")
    assert list(failure.error.stack) == []
    assert failure.user_failure_data.metadata["next_command"].value.startswith(
        "sync-pipelines quarantine list erp/items --run"
    )


def test_a_rejected_run_only_warns_where_a_person_says_so(world: World, definitions: Load) -> None:
    table = world.add_items(1)
    for number in range(10, 20):
        table.put(item(number, base_uom="far too long for ten"))
    world.sql(
        'UPDATE bridge.connectors SET settings = settings || \'{"rejected_severity": "warn"}\''
    )
    result = run(definitions)
    assert result.success
    assert checks(result)["contract"].severity is dg.AssetCheckSeverity.WARN
    assert world.runs()[0]["status"] == "rejected"


def test_a_run_without_one_good_record_makes_no_table_fresh(
    world: World, definitions: Load
) -> None:
    table = world.add_items(0)
    table.put(item(1, base_uom="far too long for ten"))
    result = run(definitions)
    assert not result.success
    assert result.asset_materializations_for_node("erp__items") == []
    assert world.entity().timeline.last_success_at is None


def test_one_bad_record_of_four_is_no_failed_run(world: World, definitions: Load) -> None:
    table = world.add_items(3)
    table.put(item(9, base_uom="far too long for ten"))
    result = run(definitions)
    assert result.success
    assert checks(result)["contract"].severity is dg.AssetCheckSeverity.WARN
    assert world.runs()[0]["status"] == "success"


def test_the_contract_stays_red_while_its_records_lie_in_quarantine(
    world: World, definitions: Load
) -> None:
    table = world.add_items(25, rowversions=IntegerRowversions(), comparator="integer")
    table.put(item(7, base_uom="far too long for ten"))
    table.put(item(30))
    world.set(lookback_seconds=0)
    run(definitions)
    for number in (50, 51):
        world.pass_time()
        world.sync()
        table.put(item(number))
    result = run(definitions)
    assert world.runs()[0]["records_quarantined"] == 0
    contract = checks(result)["contract"]
    assert (
        contract.passed,
        contract.metadata["open_quarantine"].value,
        contract.metadata["records_quarantined"].value,
    ) == (False, 1, 0)
    [materialization] = result.asset_materializations_for_node("erp__items")
    assert materialization.metadata["open_quarantine"].value == 1
    assert (
        materialization.metadata["next_command"].value == "sync-pipelines quarantine list erp/items"
    )
    assert "next_due" in materialization.metadata
    table.put(item(7))
    assert checks(run(definitions))["contract"].passed


def test_a_source_that_is_down_fails_no_check_that_it_says_nothing_about(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "_RETRIES", dg.RetryPolicy(max_retries=assets.MAX_RETRIES, delay=0))
    world.add_items(3)
    with dg.DagsterInstance.ephemeral() as instance:
        world.faults.add(Fault("down", kind="data", slug="items", status=503, times=None))
        first = checks(run(definitions, instance=instance))
        # Without a result Dagster shows them as failed, in red.
        assert {name: one.severity for name, one in first.items() if not one.passed} == {
            name: dg.AssetCheckSeverity.WARN
            for name in ("contract", "balance", "no_duplicate_keys")
        }
        assert "never read" in str(first["balance"].description)
        world.faults.clear()
        assert run(definitions, instance=instance).success
        good = world.runs()[0]
        world.faults.add(Fault("down", kind="data", slug="items", status=503, times=None))
        result = run(definitions, instance=instance)
    assert not result.success
    assert {name: one.passed for name, one in checks(result).items()} == dict.fromkeys(CHECKS, True)
    assert checks(result)["balance"].metadata["judged_by_sync_run"].value == str(good["uid"])
    failure = result.failure_data_for_node("erp__items")
    assert "503" in failure.error.message
    assert (list(failure.error.stack), failure.error.cause) == ([], None)
    retries = [
        event.step_retry_data.error for event in result.all_events if event.is_step_up_for_retry
    ]
    assert [(list(error.stack), error.message) for error in retries] == [
        ([], failure.error.message)
    ] * assets.MAX_RETRIES
    [observation] = observations(result)
    assert observation.metadata["trouble"].value


def test_a_delta_of_known_rejects_leaves_the_table_rejecting_and_fresh(
    world: World, definitions: Load
) -> None:
    table = world.add_items(2)
    world.sync()
    for number in range(20):
        table.put_raw(
            (f"B{number}",),
            json.dumps(
                {**item(number), "item_number": f"B{number}", "base_uom": "far too long for ten"}
            ).encode(),
        )
    assert not run(definitions).success
    assert (world.runs()[0]["status"], standing(world).is_rejecting) == ("rejected", True)
    before = world.entity().timeline.last_success_at
    world.pass_time()
    again = run(definitions)
    assert again.success, "it judged nothing anew"
    assert (world.runs()[0]["status"], world.runs()[0]["records_quarantined"]) == ("success", 20)
    assert standing(world).is_rejecting
    contract = checks(again)["contract"]
    assert (contract.passed, contract.severity) == (False, dg.AssetCheckSeverity.WARN), (
        "an error would fail a run that is a success"
    )
    assert "A read was rejected" in str(contract.description)
    assert world.entity().timeline.last_success_at > before
    assert again.asset_materializations_for_node("erp__items"), "Dagster's freshness follows"
    with world.database.connect() as connection:
        [health] = read_health(
            connection, world.database, window_seconds=3600, min_records=10
        ).entities
    assert health.rejecting_quarantined == 20, "the incident stays"
    assert status_words(world.database, [world.entity()], world.settings) == {
        "erp/items": "rejected"
    }


def standing(world: World) -> Standing:
    return list_standings(world.database, "erp", "items")[0]


def test_the_page_of_a_stopped_table_begins_with_what_to_do(
    world: World, definitions: Load
) -> None:
    table = world.add_items(2)
    assert run(definitions).success
    table.change_column("base_uom", "VARCHAR(5)")
    world.discover()
    key = dg.AssetKey(["erp", "items"])
    spec = definitions().resolve_asset_graph().get(key)
    first = str(spec.description).split("\n\n", maxsplit=1)[0]
    assert first.startswith("Stopped: The source changed: column base_uom")
    assert first.endswith("Next: sync-pipelines discover erp --accept items")
    assert spec.metadata["status"] == "action_required"


def test_undeclared_fields_are_reported_by_the_drift_check(world: World, definitions: Load) -> None:
    table = world.add_items(3)
    table.put_raw(("A00001",), json.dumps({**item(1), "surprise": 1}).encode(), poison=False)
    drift = checks(run(definitions))["schema_drift"]
    assert not drift.passed
    assert drift.metadata["undeclared"].value == "surprise"


def test_a_breaking_change_fails_the_entity_with_its_plan_and_is_not_retried(
    world: World, definitions: Load
) -> None:
    table = world.add_items(3)
    world.sync()
    table.change_column("base_uom", "VARCHAR(5)")
    world.discover()
    result = run(definitions)
    assert not result.success
    assert (
        "base_uom changes from character varying(10) to character varying(5)"
        in checks(result)["schema_drift"].metadata["plan"].value
    )
    failure = result.failure_data_for_node("erp__items")
    assert "--accept items" in failure.error.message
    assert list(failure.error.stack) == []
    assert checks(result)["schema_drift"].severity is dg.AssetCheckSeverity.ERROR
    [observation] = observations(result)
    assert (
        observation.metadata["next_command"].value == "sync-pipelines discover erp --accept items"
    )
    assert definitions().resolve_asset_graph().get(ITEMS).freshness_policy is not None, (
        "a stopped table gets old all the same"
    )
    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_one_failing_entity_does_not_stop_the_others(
    world: World, environment: dict[str, str]
) -> None:
    world.add_items(3)
    world.add_items(3, slug="orders")
    world.faults.add(Fault("gone", kind="data", slug="items", status=404, times=None))
    finished = execute_job(environment, "sync_erp")
    assert finished.returncode == 1
    assert len(world.rows("orders")) == 3
    assert world.runs("items")[0]["status"] == "failed"


def test_a_passing_trouble_is_retried_in_the_step(world: World, definitions: Load) -> None:
    world.add_items(3)
    world.faults.add(Fault("busy", kind="data", slug="items", status=503, times=3))
    result = run(definitions)
    assert result.success
    assert [event for event in result.all_events if event.is_step_up_for_retry]


def test_dagster_job_execute_runs_as_the_card_says_and_full_refresh_comes_by_config_or_tag(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    table = world.add_items(5)
    assert execute_job(environment, "sync_erp").returncode == 0
    assert len(world.rows()) == 5
    for name, content in {
        "config": {"ops": {"erp__items": {"config": {"full_refresh": True}}}},
        "tags": {},
    }.items():
        table.delete((f"A0000{len(name) % 5}",))
        (tmp_path / "run.json").write_text(json.dumps(content))
        arguments = ["-c", str(tmp_path / "run.json")]
        if name == "tags":
            arguments += ["--tags", json.dumps({"sync_pipelines/full_refresh": "true"})]
        finished = execute_job(environment, "sync_erp", *arguments)
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert world.runs()[0]["mode"] == "full"
        assert world.runs()[0]["rows_deleted"] == 1
        world.assert_equal_to_truth()


def test_the_last_known_catalog_loads_while_the_database_is_down(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(1)
    definitions()
    from sync_pipelines.settings import load_settings

    monkeypatch.setenv(
        "POSTGRES_URL", "postgresql://nobody:secret-canary@127.0.0.1:9/nothing?connect_timeout=1"
    )
    load_settings.cache_clear()
    loaded = definitions()
    node = loaded.resolve_asset_graph().get(ITEMS)
    assert "cannot be reached" in node.metadata["last_known_catalog"]
    assert "secret-canary" not in str(node.metadata)
    assert loaded.resolve_job_def("sync_erp")


def test_a_connector_without_entities_loads_and_offers_its_discovery(definitions: Load) -> None:
    loaded = definitions()
    assert loaded.resolve_asset_graph().get_all_asset_keys() == {dg.AssetKey(["erp"])}
    assert loaded.resolve_job_def("discover_erp")


def test_discovery_runs_as_a_job(world: World, definitions: Load) -> None:
    world.add_items(1)
    table = world.store["items"]
    table.add_column(TwinColumn("colour", "TEXT"))
    assert run(definitions, "discover_erp").success
    assert "colour" in [column.name for column in world.entity().columns]


def test_vanished_and_disabled_entities_stay_assets_but_leave_the_job(
    world: World, definitions: Load
) -> None:
    world.add_items(1)
    world.add_items(1, slug="orders")
    world.add_items(1, slug="parts")
    world.store.remove("orders")
    world.discover()
    world.set("parts", sync_enabled=False)
    loaded = definitions()
    assert {"/".join(key.path) for key in loaded.resolve_asset_graph().get_all_asset_keys()} == {
        "erp",
        "erp/items",
        "erp/orders",
        "erp/parts",
    }
    selected = loaded.resolve_job_def("sync_erp").asset_layer.executable_asset_keys
    assert selected == {ITEMS}


def test_no_event_of_a_failing_run_shows_the_token(world: World, definitions: Load) -> None:
    world.add_items(1)
    world.faults.add(
        Fault("echo", kind="data", slug="items", status=400, echo_authorization=True, times=None)
    )
    result = run(definitions)
    assert not result.success
    assert TOKEN not in " ".join(str(event) for event in result.all_events)


def execute_job(
    environment: dict[str, str], job: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `dagster job execute` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "dagster",
        "job",
        "execute",
        "-m",
        "sync_pipelines.definitions",
        "-j",
        job,
        *arguments,
    ]
    return subprocess.run(
        command,
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_connector_that_is_switched_off_while_it_is_read_fails_no_finished_work(
    world: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(5)
    original = assets._sync_entity()

    def sync_then_switch_off(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        world.sql("UPDATE bridge.connectors SET is_active = false")
        return result

    loaded = definitions()
    monkeypatch.setattr(assets, "_sync_entity", lambda: sync_then_switch_off)
    result = run(lambda: loaded)
    assert result.success
    assert [run["status"] for run in world.runs()] == ["success"]
