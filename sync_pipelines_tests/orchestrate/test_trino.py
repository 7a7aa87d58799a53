"""Entities whose tables are in Trino, as assets; and the job that looks after their tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.orchestrate.sql_models import model_assets
from sync_pipelines_tests.orchestrate.assets import ITEMS, checks, run
from sync_pipelines_tests.trino import TrinoWorld
from sync_pipelines_tests.world import World, item

Load = Callable[[], dg.Definitions]


@pytest.fixture
def world(trino_world: TrinoWorld) -> TrinoWorld:
    """What the fixtures of this folder take for the world."""
    return trino_world


def test_an_asset_in_trino_says_so_and_carries_snapshot_files_and_rows(
    world: TrinoWorld, definitions: Load
) -> None:
    table = world.add_items(25)
    node = definitions().resolve_asset_graph().get(ITEMS)
    assert node.kinds == {"rest", "trino", "iceberg"}
    assert node.metadata["dagster/table_name"] == f"iceberg.{world.entity().target_schema}.items"
    types = {column.name: column.type for column in node.metadata["dagster/column_schema"].columns}
    assert types["weight_per_unit"] == "decimal(10,3)"
    result = run(definitions)
    assert result.success
    (event,) = result.asset_materializations_for_node("erp__items")
    shown = {name: entry.value for name, entry in event.metadata.items()}
    assert shown["dagster/row_count"] == 25
    assert (shown["data_files"], shown["added_records"]) == (1, 25)
    assert shown["snapshot_id"] == str(
        world.trino.number(
            f"SELECT max_by(snapshot_id, committed_at) FROM {world.table(suffix='$snapshots')}"
        )
    )
    assert all(evaluation.passed for evaluation in checks(result).values())
    assert len(checks(result)) == 4
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "x"}')
    assert not checks(run(definitions))["contract"].passed
    world.assert_equal_to_truth()


def test_maintenance_is_a_job_with_a_schedule(world: TrinoWorld, definitions: Load) -> None:
    world.add_items(5)
    world.sync()
    world.store["items"].put(item(3, base_uom="KG"))
    loaded = definitions()
    (schedule,) = [one for one in loaded.schedules or [] if one.name == "maintain_trino_schedule"]
    assert schedule.cron_schedule == "17 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert run(definitions, "maintain_trino").success


def test_the_last_known_catalog_still_knows_where_tables_are(
    world: TrinoWorld, definitions: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(5)
    definitions()
    from sync_pipelines.settings import load_settings

    monkeypatch.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    load_settings.cache_clear()
    assert definitions().resolve_asset_graph().get(ITEMS).kinds == {"rest", "trino", "iceberg"}


def test_without_tables_in_trino_there_is_no_such_job(
    database, settings, environment, definitions: Load
) -> None:
    with World.open(database, settings) as plain:
        plain.set("none", sync_enabled=False)
        assert "maintain_trino" not in {job.name for job in definitions().resolve_all_job_defs()}


def test_a_sql_model_over_tables_in_trino_is_left_out_and_says_why(
    world: TrinoWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.add_items(1)
    schema = world.entity().target_schema
    (tmp_path / schema).mkdir()
    (tmp_path / schema / "counted.sql").write_text(f"SELECT count(*) AS n FROM {schema}.items\n")
    assert model_assets((world.entity(),), tmp_path) == []
    assert "nothing in PostgreSQL provides" in caplog.text
