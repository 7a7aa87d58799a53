"""A declared source in Dagster: its assets, its job, its figures."""

from __future__ import annotations

import dagster as dg
import yaml

from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.declare.plan import apply_connector, plan_connector
from sync_pipelines.demo.twin.rest import RestEndpoint
from sync_pipelines_tests.declared_world import COLUMNS, users


def test_a_declared_entity_is_an_asset_that_materializes_with_its_own_figures(
    world, definitions, tmp_path
):
    world.server.rest.add(RestEndpoint("/api/v2/users", users(12), paging="page"))
    path = tmp_path / "shop.yaml"
    endpoint = {
        "path": "/api/v2/users",
        "columns": COLUMNS,
        "pagination": {"type": "page", "size_param": "size", "size": 5},
        "metrics": {"api_records_fetched": "fetched", "batch_size_used": "page_size"},
    }
    auth = {"type": "bearer", "token": "env:TWIN_TOKEN"}
    path.write_text(
        yaml.safe_dump(
            {
                "name": "shop",
                "kind": "rest",
                "base_url": world.server.url,
                "auth": auth,
                "endpoints": {"users": endpoint},
            }
        )
    )
    apply_connector(
        world.database,
        plan_connector(world.database, load_declaration(str(path)), world.settings),
        world.settings,
    )
    key = dg.AssetKey(["shop", "users"])
    loaded = definitions()
    node = loaded.resolve_asset_graph().get(key)
    assert node.metadata["dagster/uri"] == f"{world.server.url}/api/v2/users"
    with dg.DagsterInstance.ephemeral() as instance:
        result = loaded.resolve_job_def("sync_shop").execute_in_process(instance=instance)
    assert result.success
    (event,) = result.asset_materializations_for_node("shop__users")
    assert event.metadata["api_records_fetched"].value == 12
    assert event.metadata["batch_size_used"].value == 5
    assert world.server.token not in str(event.metadata)
    discovered = loaded.resolve_job_def("discover_shop").execute_in_process(
        instance=dg.DagsterInstance.ephemeral()
    )
    assert discovered.success
