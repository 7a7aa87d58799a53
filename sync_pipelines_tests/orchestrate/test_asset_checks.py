"""The checks of an asset: contract, verdicts of the gate, quarantine, freshness and drift."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from sync_pipelines.catalog.health import read_health
from sync_pipelines.catalog.table_overview import TableOverview, list_table_overviews
from sync_pipelines.cli.commands.entities import status_words
from sync_pipelines.demo.twin import Fault, IntegerRowversions
from sync_pipelines.orchestrate import assets
from sync_pipelines.orchestrate.checks import CHECKS
from sync_pipelines_tests.orchestrate.assets import Load, checks, observations, run
from sync_pipelines_tests.test_gate_route import RULES, put_gate
from sync_pipelines_tests.world import World, item


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
    assert (world.runs()[0]["status"], overview(world).is_rejecting) == ("rejected", True)
    before = world.entity().timeline.last_success_at
    world.pass_time()
    again = run(definitions)
    assert again.success, "it judged nothing anew"
    assert (world.runs()[0]["status"], world.runs()[0]["records_quarantined"]) == ("success", 20)
    assert overview(world).is_rejecting
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


def overview(world: World) -> TableOverview:
    return list_table_overviews(world.database, "erp", "items")[0]


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
