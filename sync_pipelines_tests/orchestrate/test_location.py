"""The code location: restricted to some connectors, and with many entities."""

from __future__ import annotations

import gc
from collections.abc import Callable

import dagster as dg
import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.discovery.discover import discover
from sync_pipelines.orchestrate import jobs
from sync_pipelines.orchestrate.reload import CONNECTORS, FINGERPRINT, MARKED_JOB
from sync_pipelines.orchestrate.snapshot import catalog_fingerprint
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.world import World

Load = Callable[[], dg.Definitions]


@pytest.fixture
def two_connectors(world: World) -> World:
    """The same APIs by two connectors."""
    world.add_items(2)
    add_connector(world.database, "crm", world.server.url, "env:TWIN_TOKEN")
    discover(world.database, "crm", settings=world.settings)
    return world


def test_a_location_may_be_restricted_to_some_connectors(
    two_connectors: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_PIPELINES_CONNECTORS", " crm ,")
    load_settings.cache_clear()
    loaded = definitions()
    assert {key.path[0] for key in loaded.resolve_asset_graph().get_all_asset_keys()} == {"crm"}
    names = {job.name for job in loaded.resolve_all_job_defs()}
    assert {"sync_crm", "discover_crm", "purge_history"} <= names
    assert not {"sync_erp", "discover_erp"} & names
    mark = loaded.resolve_job_def(MARKED_JOB).metadata
    assert mark[CONNECTORS].value == "crm"
    assert mark[FINGERPRINT].value == catalog_fingerprint(two_connectors.database, ("crm",))


def test_each_op_syncs_its_own_entity_although_all_share_a_function(
    two_connectors: World, definitions: Load
) -> None:
    two_connectors.add_items(3, slug="orders")
    result = definitions().resolve_job_def("sync_all").execute_in_process()
    assert result.success
    for slug, rows in {"items": 2, "orders": 3}.items():
        [materialization] = result.asset_materializations_for_node(f"erp__{slug}")
        assert materialization.asset_key == dg.AssetKey(["erp", slug])
        assert materialization.metadata["dagster/row_count"].value == rows
        two_connectors.assert_equal_to_truth(slug)
    [materialization] = result.asset_materializations_for_node("crm__items")
    assert materialization.metadata["dagster/row_count"].value == 2


def test_sync_all_is_left_out_where_it_would_be_too_large(
    two_connectors: World, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "sync_all" in {job.name for job in definitions().resolve_all_job_defs()}
    monkeypatch.setattr(jobs, "MAX_ENTITIES_OF_SYNC_ALL", 1)
    assert {"sync_erp", "sync_crm"} <= (
        names := {job.name for job in definitions().resolve_all_job_defs()}
    )
    assert "sync_all" not in names


def test_the_collector_of_garbage_works_again_after_a_load_even_one_that_failed(
    definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions()
    assert gc.isenabled()
    monkeypatch.setenv("SYNC_PIPELINES_EXECUTOR", "no such")
    with pytest.raises(ValueError, match="SYNC_PIPELINES_EXECUTOR"):
        definitions()
    assert gc.isenabled()


def test_the_purge_runs_every_night_without_anybody_switching_it_on(definitions: Load) -> None:
    schedule = definitions().resolve_schedule_def("purge_history_nightly")
    assert schedule.job_name == MARKED_JOB
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
