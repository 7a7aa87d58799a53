"""Entities whose tables are in duckdb, as assets."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from sync_pipelines_tests.duckdb_world import DuckdbWorld
from sync_pipelines_tests.orchestrate.assets import ITEMS, checks, run
from sync_pipelines_tests.world import item

Load = Callable[[], dg.Definitions]


@pytest.fixture
def world(duckdb_world: DuckdbWorld) -> DuckdbWorld:
    """What the fixtures of this folder take for the world."""
    return duckdb_world


def test_an_asset_in_duckdb_says_so_and_carries_rows_and_the_load(
    world: DuckdbWorld, definitions: Load
) -> None:
    table = world.add_items(25)
    node = definitions().resolve_asset_graph().get(ITEMS)
    assert node.kinds == {"rest", "duckdb", "dlt"}
    assert node.metadata["dagster/table_name"] == "erp.items"
    result = run(definitions)
    assert result.success
    (event,) = result.asset_materializations_for_node("erp__items")
    shown = {name: entry.value for name, entry in event.metadata.items()}
    assert (shown["dagster/row_count"], shown["rows"]) == (25, 25)
    assert shown["load_id"]
    assert all(evaluation.passed for evaluation in checks(result).values())
    table.put(item(3, base_uom="far too long for ten"))
    assert not checks(run(definitions))["contract"].passed
    world.assert_equal_to_truth()
