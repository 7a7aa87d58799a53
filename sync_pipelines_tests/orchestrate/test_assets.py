"""Entities as assets: what the UI shows, and what a materialization does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.demo.twin import Fault, TwinColumn
from sync_pipelines.orchestrate import assets
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.orchestrate.assets import ITEMS, Load, checks, observations, run
from sync_pipelines_tests.world import TOKEN, World


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
        "contract",
        "balance",
        "no_duplicate_keys",
        "schema_drift",
    }


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
