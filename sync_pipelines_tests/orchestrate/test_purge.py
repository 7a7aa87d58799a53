"""Retention: what is old goes, what a person or quarantine still needs stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from sync_pipelines.catalog.retention import purge_sync_runs
from sync_pipelines.orchestrate.instance_storage import catalog_url
from sync_pipelines.orchestrate.purge import purge_dagster_runs
from sync_pipelines_tests.world import World, item

Load = Callable[[], dg.Definitions]


@pytest.fixture(params=["catalog", ""], ids=["postgres", "sqlite"])
def instance(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[dg.DagsterInstance]:
    """An instance of the repository's dagster.yaml on either storage."""
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", request.param)
    with dg.DagsterInstance.get() as opened:
        yield opened


def sync(definitions: Load, instance: dg.DagsterInstance, *slugs: str) -> str:
    """One run of Dagster that syncs the named entities."""
    selection = [dg.AssetKey(["erp", slug]) for slug in slugs] or None
    return (
        definitions()
        .resolve_job_def("sync_erp")
        .execute_in_process(instance=instance, asset_selection=selection)
        .run_id
    )


def age(instance: dg.DagsterInstance, days: int, *run_ids: str) -> None:
    """Let the runs have ended so many days ago."""
    moment = sa.text(
        "UPDATE runs SET update_timestamp = :then, create_timestamp = :then WHERE run_id = :run"
    )
    then = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        for run_id in run_ids:
            connection.execute(moment, {"then": then, "run": run_id})


def count(instance: dg.DagsterInstance, table: str, storage: str = "run") -> int:
    connect = (
        instance.run_storage.connect
        if storage == "run"
        else instance.event_log_storage.index_connection
    )  # type: ignore[attr-defined]
    with connect() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar())


def test_old_runs_go_and_the_newest_of_each_asset_stays(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(2)
    world.add_items(2, slug="orders")
    oldest = sync(definitions, instance)
    only_items = sync(definitions, instance, "items")
    newest_of_orders = sync(definitions, instance, "orders")
    newest_of_items = sync(definitions, instance, "items")
    age(instance, 30, oldest, only_items, newest_of_orders)
    checks = count(instance, "asset_check_executions", "events")
    snapshots = count(instance, "snapshots")
    found = purge_dagster_runs(instance, 14)
    assert found.dagster_runs == 2
    assert found.dagster_runs_kept_for_their_asset == 1
    assert {run.run_id for run in instance.get_runs()} == {newest_of_orders, newest_of_items}
    assert instance.all_logs(oldest) == []
    for slug, run_id in {"orders": newest_of_orders, "items": newest_of_items}.items():
        event = instance.get_latest_materialization_event(dg.AssetKey(["erp", slug]))
        assert event is not None
        assert event.run_id == run_id
        assert instance.all_logs(run_id)
    # Of the oldest run eight results, of the one of items four.
    # The snapshots of the oldest run alone, because items ran again.
    assert count(instance, "asset_check_executions", "events") == checks - 12
    assert found.snapshots > 0
    assert count(instance, "snapshots") == snapshots - found.snapshots
    assert all(instance.get_job_snapshot(run.job_snapshot_id) for run in instance.get_runs())
    assert purge_dagster_runs(instance, 14).dagster_runs == 0


def test_runs_in_progress_and_young_ones_stay(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    job = definitions().resolve_job_def("sync_erp")
    running = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    young = sync(definitions, instance)
    sync(definitions, instance)
    age(instance, 400, running.run_id)
    age(instance, 13, young)
    assert purge_dagster_runs(instance, 14).dagster_runs == 0
    assert len(instance.get_runs()) == 3


def test_the_job_purges_both_and_tells_how_much(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    world.add_items(1)
    old = sync(definitions, instance)
    sync(definitions, instance)
    age(instance, 30, old)
    world.sql(
        "UPDATE bridge.sync_runs SET started_at = now() - interval '100 days' WHERE triggered_by LIKE %s",
        f"%{old}",
    )
    result = definitions().resolve_job_def("purge_history").execute_in_process(instance=instance)
    metadata: dict[str, Any] = {}
    for event in result.all_events:
        if event.is_successful_output:
            metadata = {
                name: entry.value for name, entry in event.event_specific_data.metadata.items()
            }
    assert metadata["dagster_runs"] == 1
    assert metadata["sync_runs"] == 1
    assert len(world.runs()) == 1


def test_runs_that_quarantine_names_stay_with_their_records(world: World) -> None:
    table = world.add_items(3)
    table.put(item(9, base_uom="far too long for ten"))
    world.sync()
    for number in range(4):
        table.put(item(number, item_description="changed"))
        world.sync()
    held = {row["run_uid"] for row in world.quarantine()}
    newest = world.runs()[0]["uid"]
    world.sql("UPDATE bridge.sync_runs SET started_at = started_at - interval '100 days'")
    # The other entity's only run stays, however old it is.
    world.add_items(1, slug="orders")
    world.sync("orders")
    world.sql(
        "UPDATE bridge.sync_runs SET started_at = started_at - interval '100 days' WHERE started_at >"
        " now() - interval '1 day'"
    )
    purged = purge_sync_runs(world.database, 90, batch_runs=2)
    assert purged == 5 - len({*held, newest})
    assert {run["uid"] for run in world.runs()} == {*held, newest}
    assert len(world.quarantine()) == 1
    assert len(world.runs("orders")) == 1
    world.assert_equal_to_truth()


def test_the_newest_success_stays_behind_newer_failures(world: World) -> None:
    world.add_items(1)
    world.sync()
    success = world.runs()[0]["uid"]
    world.sql(
        """INSERT INTO bridge.sync_runs (entity_uid, status, mode, started_at)
        SELECT entity_uid, 'failed', 'delta', now() - make_interval(days => 200 - n)
        FROM bridge.sync_runs, generate_series(1, 50) n"""
    )
    world.sql(
        "UPDATE bridge.sync_runs SET started_at = now() - interval '300 days' WHERE status = 'success'"
    )
    assert purge_sync_runs(world.database, 90) == 49
    assert {run["status"] for run in world.runs()} == {"success", "failed"}
    assert success in {run["uid"] for run in world.runs()}


def test_dagsters_tables_are_beside_the_catalog_in_a_schema_of_their_own(
    world: World, definitions: Load, instance: dg.DagsterInstance
) -> None:
    if "Postgres" not in type(instance.run_storage).__name__:
        pytest.skip("SQLite has no schemas")
    world.add_items(1)
    sync(definitions, instance)
    assert world.sql("SELECT count(*) FROM bridge_dagster.runs") == [(1,)]
    assert world.sql("SELECT to_regclass('public.runs')") == [(None,)]
    with psycopg.connect(catalog_url()) as connection:
        assert connection.execute("SELECT current_schema()").fetchone() == ("bridge_dagster",)
