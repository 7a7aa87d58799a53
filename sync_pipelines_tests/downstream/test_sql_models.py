"""SQL models: parsed with file and line in every complaint, built in one transaction, checked, held back when they must be."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.catalog.snapshot import CatalogView
from sync_pipelines.downstream.build import build_model
from sync_pipelines.downstream.sql_model import load_models, parse_model
from sync_pipelines.errors import DatabaseRefusedError, SettingsError
from sync_pipelines.orchestrate.assets import entity_assets
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.sql_models import MODELS_FOLDER, model_assets
from sync_pipelines_tests.world import World, item

MODEL = Path("mart/heavy_items.sql")
TEXT = """-- materialized: table
-- description: Items above 1 kg.
-- unique: item_number
-- not_null: weight_per_unit
WITH live AS (SELECT * FROM erp.items WHERE NOT _bridge_deleted)
SELECT item_number, weight_per_unit FROM live WHERE weight_per_unit > 1
"""


def test_a_model_knows_what_it_reads_and_ctes_are_no_tables() -> None:
    model = parse_model(MODEL, TEXT)
    assert (model.schema, model.name, model.materialized) == ("mart", "heavy_items", "table")
    assert model.reads == (("erp", "items"),)
    assert model.unique == ("item_number",)


def test_the_version_follows_the_meaning_and_not_the_layout() -> None:
    version = parse_model(MODEL, TEXT).version
    assert parse_model(MODEL, TEXT.replace(" FROM live", "\n  FROM live")).version == version
    assert parse_model(MODEL, TEXT.replace("> 1", "> 2")).version != version


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TEXT.replace("materialized: table", "materialised: table"), r"heavy_items.sql:1: unknown key 'materialised'"),
        (TEXT.replace(": table", ": heap"), "materialized is 'heap'; known: view, table"),
        (TEXT.replace("SELECT item_number", "SELEKT item_number"), r"heavy_items.sql:\d+: "),
        ("DROP TABLE erp.items", "a model is one SELECT"),
        ("SELECT 1; SELECT 2", "a model is one SELECT"),
        ("SELECT * FROM items", "the table 'items' needs its schema"),
    ],
)
def test_a_wrong_model_is_refused_with_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_model(MODEL, text)


def test_the_shipped_models_are_right() -> None:
    models, errors = load_models(MODELS_FOLDER)
    assert models and not errors


@pytest.mark.parametrize("materialized", ["table", "view"])
def test_a_model_is_built_and_built_again_with_other_columns(world: World, materialized: str) -> None:
    world.add_items(25)
    world.sync()
    text = TEXT.replace(": table", f": {materialized}")
    built = build_model(world.database, parse_model(MODEL, text))
    assert built.row_count == 16
    assert built.broken == {"unique": 0, "not_null": 0}
    other = text.replace("SELECT item_number, weight_per_unit FROM", "SELECT weight_per_unit, item_number FROM")
    assert build_model(world.database, parse_model(MODEL, other)).row_count == 16


def test_broken_checks_are_counted(world: World) -> None:
    world.add_items(3)
    world.sync()
    text = TEXT.replace("SELECT item_number, weight_per_unit FROM live WHERE weight_per_unit > 1", "SELECT 1 AS item_number, NULL AS weight_per_unit FROM live")
    assert build_model(world.database, parse_model(MODEL, text)).broken == {"unique": 1, "not_null": 3}


def test_a_failing_model_leaves_the_old_one(world: World) -> None:
    world.add_items(25)
    world.sync()
    build_model(world.database, parse_model(MODEL, TEXT))
    with pytest.raises(DatabaseRefusedError, match="colour"):
        build_model(world.database, parse_model(MODEL, TEXT.replace("weight_per_unit > 1", "colour > 1")))
    assert world.sql("SELECT count(*) FROM mart.heavy_items") == [(16,)]


def test_models_run_after_what_they_read_and_only_theirs_are_held_back(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    (folder / "mart").mkdir(parents=True)
    (folder / "mart/heavy_items.sql").write_text(TEXT)
    (folder / "mart/heaviest.sql").write_text("SELECT max(weight_per_unit) AS kg FROM mart.heavy_items")
    (folder / "mart/all_orders.sql").write_text("SELECT count(*) AS n FROM erp.orders")
    (folder / "mart/nowhere.sql").write_text("SELECT * FROM erp.gone")
    world.add_items(25)
    orders = world.add_items(1, slug="orders")
    for number in range(10, 20):
        orders.put(item(number, base_uom="far too long for ten"))
    entities = (world.entity("items"), world.entity("orders"))
    models = model_assets(entities, folder)
    assert {key.path[-1] for model in models for key in model.keys} == {"heavy_items", "heaviest", "all_orders"}
    assets = [*entity_assets(CatalogView(entities), []), *models]
    result = dg.materialize(assets, resources={"bridge": Bridge()}, raise_on_error=False)
    built = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert built == {"items", "orders", "heavy_items", "heaviest"}
