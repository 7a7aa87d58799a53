"""SQL models: every complaint names file and line; a build is one transaction, checked, and not made in vain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from sync_pipelines.catalog.roles import ensure_roles
from sync_pipelines.downstream.build import build_model
from sync_pipelines.downstream.sql_model import load_models, models_fingerprint, parse_model
from sync_pipelines.errors import DatabaseRefusedError, SettingsError
from sync_pipelines.model.due import DueEntity, Kind, PlannedRun
from sync_pipelines.orchestrate.assets import entity_assets
from sync_pipelines.orchestrate.launches import Launches
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.orchestrate.sql_models import model_assets
from sync_pipelines_tests.world import World, item

PROJECT = Path(__file__).parents[2]
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
        (
            TEXT.replace("materialized: table", "materialised: table"),
            r"heavy_items.sql:1: unknown key 'materialised'",
        ),
        (TEXT.replace(": table", ": heap"), "materialized is 'heap'; known: view, table"),
        (TEXT.replace("SELECT item_number", "SELEKT item_number"), r"heavy_items.sql:\d+: "),
        ("DROP TABLE erp.items", "a model is one SELECT"),
        ("SELECT 1; SELECT 2", "a model is one SELECT"),
        ("WITH gone AS (DELETE FROM erp.items RETURNING *) SELECT * FROM gone", "changes data"),
        (
            "SELECT 1 FROM erp.a WHERE x IN (WITH d AS (UPDATE erp.b SET c = 1 RETURNING c) SELECT c FROM d)",
            "changes data",
        ),
        ("SELECT * INTO erp.copy FROM erp.items", "SELECT INTO"),
        ("SELECT * FROM erp.items FOR UPDATE", "locks rows"),
        ("SELECT lo_export(1, '/x')", "the function lo_export is not"),
        ("SELECT pg_catalog.pg_sleep(9)", "the function pg_sleep is not"),
        ("SELECT * FROM pg_read_file('/etc/passwd')", "the function pg_read_file is not"),
        ("SELECT * FROM dblink('x', 'y') AS t (a int)", "the function dblink is not"),
        ("SELECT set_config('a', 'b', false), nextval('s')", "the function set_config is not"),
        ("SELECT random()", "the function random is not"),
        ("SELECT erp.mine(1)", "the function erp.mine is not"),
        ("SELECT * FROM items", "the table 'items' needs its schema"),
    ],
)
def test_a_wrong_model_is_refused_with_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_model(MODEL, text)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"SELECT " + b"abs(" * 2000 + b"1" + b")" * 2000 + b" AS x FROM a.b", "nested too deeply"),
        (b"SELECT a" + b".b" * 2000 + b" FROM a.b", "nested too deeply"),
        (b"SELECT a" + b"[0]" * 2000 + b" FROM a.b", "more than the 200 of a model"),
        (b"SELECT 1\nAS \xff FROM a.b", "users.sql:2: it is not UTF-8"),
        (b"SELECT 1 FROM a.b --" + b"x" * 1_000_000, "larger than 1000000 bytes"),
    ],
)
def test_a_file_that_no_parser_gets_through_spoils_only_itself(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "users.sql").write_bytes(content)
    (tmp_path / "reports" / "good.sql").write_text("SELECT 1 AS x FROM a.b")
    models, errors = load_models(tmp_path)
    assert [model.name for model in models] == ["good"]
    assert [complaint in error.what for error in errors] == [True]


def test_the_shipped_models_are_right() -> None:
    models, errors = load_models(PROJECT / "dbt_like_sql")
    assert models and not errors


@pytest.mark.parametrize(
    "expression",
    [
        "count(*) FILTER (WHERE a)",
        "round(avg(a)::numeric, 1)",
        "date_trunc('month', a)",
        "a ->> 'x'",
        "a @> b",
        "any_value(a)",
        "now()",
        "extract(year FROM a)",
        "row_number() OVER (PARTITION BY a ORDER BY b)",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY a)",
        "string_agg(a, ',' ORDER BY b)",
        "substring(a FROM 1 FOR 2)",
        "regexp_replace(a, 'b', 'c')",
        "a AT TIME ZONE 'UTC'",
        "ARRAY[1, 2]",
        "jsonb_build_object('a', a)",
        "CASE WHEN a THEN 1 END",
        "pg_catalog.lower(a)",
        "coalesce(a, 1)",
    ],
)
def test_what_only_computes_is_allowed(expression: str) -> None:
    assert parse_model(MODEL, f"SELECT {expression} AS x FROM erp.items").reads == (
        ("erp", "items"),
    )


@pytest.mark.parametrize("materialized", ["table", "view"])
def test_a_model_that_is_built_again_keeps_what_people_gave_to_it(
    world: World, materialized: str
) -> None:
    world.add_items(25)
    world.sync()
    model = parse_model(MODEL, TEXT.replace(": table", f": {materialized}"))
    build_model(world.database, model)
    name = f"analyst_{world.database.name}"
    world.sql(
        f"CREATE ROLE {name}; GRANT SELECT ON mart.heavy_items TO {name};"
        f" COMMENT ON {materialized} mart.heavy_items IS 'heavy'"
    )
    world.sql(
        "CREATE VIEW mart.above AS SELECT item_number FROM mart.heavy_items;"
        " CREATE VIEW mart.higher AS SELECT * FROM mart.above"
    )
    if materialized == "table":
        world.sql(
            "CREATE UNIQUE INDEX by_item ON mart.heavy_items (item_number);"
            " ALTER TABLE mart.heavy_items ADD PRIMARY KEY (item_number)"
        )
    try:
        wider = parse_model(
            MODEL,
            TEXT.replace(": table", f": {materialized}").replace(
                "weight_per_unit FROM", "weight_per_unit, base_uom FROM"
            ),
        )
        assert build_model(world.database, wider).row_count == 16
        assert world.sql("SELECT count(*) FROM mart.higher") == [(16,)]
        query = (
            f"SELECT has_table_privilege('{name}', 'mart.heavy_items', 'SELECT'),"
            " obj_description('mart.heavy_items'::regclass)"
        )
        assert world.sql(query) == [(True, "heavy")]
        indexes = world.sql("SELECT indexname FROM pg_indexes WHERE schemaname = 'mart' ORDER BY 1")
        assert indexes == ([("by_item",), ("heavy_items_pkey",)] if materialized == "table" else [])
        world.sql("CREATE VIEW mart.narrow AS SELECT base_uom FROM mart.heavy_items")
        with pytest.raises(DatabaseRefusedError, match=r"the view mart\.narrow hangs on it"):
            build_model(world.database, model)
        assert world.sql("SELECT count(*) FROM mart.narrow") == [(16,)]
    finally:
        world.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_model_runs_as_a_role_that_only_reads_its_sources(world: World) -> None:
    world.add_items(25)
    world.sync()
    ensure_roles(world.database)
    assert build_model(world.database, parse_model(MODEL, TEXT)).row_count == 16
    assert world.sql(
        "SELECT tableowner = current_user FROM pg_tables WHERE tablename = 'heavy_items'"
    ) == [(True,)]
    model = parse_model(MODEL, TEXT)
    sneaky = replace(model, query="SELECT secret FROM bridge.connectors")
    with pytest.raises(DatabaseRefusedError, match="permission denied for schema bridge"):
        build_model(world.database, sneaky)
    with pytest.raises(DatabaseRefusedError, match="multiple commands"):
        build_model(world.database, replace(model, query=f"{model.query}; DELETE FROM erp.items"))
    assert len(world.rows()) == 25


def test_models_that_are_built_at_once_do_not_meet_in_a_grant(world: World) -> None:
    world.add_items(25)
    world.sync()
    ensure_roles(world.database)
    model = parse_model(MODEL, TEXT)
    crowd = [
        replace(
            model,
            name=f"{model.name}_{number}",
            query=f"{model.query} AND pg_sleep(0.01) IS NOT NULL",
        )
        for number in range(6)
    ]
    with ThreadPoolExecutor(len(crowd)) as threads:
        built = list(threads.map(lambda one: build_model(world.database, one), crowd))
    assert [one.row_count for one in built] == [16] * len(crowd)


def test_a_deleted_model_changes_the_fingerprint_and_stops_no_sync(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "mart").mkdir()
    file = tmp_path / "mart/heavy_items.sql"
    file.write_text(TEXT)
    world.add_items(3)
    before = models_fingerprint(tmp_path)
    entity = world.entity()
    launches = Launches(
        "erp",
        [entity],
        {dg.AssetKey(["mart", "heavy_items"]): {dg.AssetKey(["erp", "items"])}},
        None,
        tmp_path,
    )
    run = PlannedRun(Kind.REGULAR, (DueEntity(entity.uid, "items", "interval", 0, False, 3),))
    assert [key.path[-1] for key in launches.request(uuid4(), run).asset_selection or ()] == [
        "items",
        "heavy_items",
    ]
    file.rename(tmp_path / "mart/light_items.sql")
    assert [key.path[-1] for key in launches.request(uuid4(), run).asset_selection or ()] == [
        "items"
    ]
    assert models_fingerprint(tmp_path) != before


@pytest.mark.parametrize("materialized", ["table", "view"])
def test_a_model_is_built_and_built_again_with_other_columns(
    world: World, materialized: str
) -> None:
    world.add_items(25)
    world.sync()
    text = TEXT.replace(": table", f": {materialized}")
    built = build_model(world.database, parse_model(MODEL, text))
    assert built.row_count == 16
    assert built.broken == {"unique": 0, "not_null": 0}
    other = text.replace(
        "SELECT item_number, weight_per_unit FROM", "SELECT weight_per_unit, item_number FROM"
    )
    assert build_model(world.database, parse_model(MODEL, other)).row_count == 16


def test_broken_checks_are_counted(world: World) -> None:
    world.add_items(3)
    world.sync()
    text = TEXT.replace(
        "SELECT item_number, weight_per_unit FROM live WHERE weight_per_unit > 1",
        "SELECT 1 AS item_number, NULL AS weight_per_unit FROM live",
    )
    assert build_model(world.database, parse_model(MODEL, text)).broken == {
        "unique": 1,
        "not_null": 3,
    }


def test_a_failing_model_leaves_the_old_one(world: World) -> None:
    world.add_items(25)
    world.sync()
    build_model(world.database, parse_model(MODEL, TEXT))
    with pytest.raises(DatabaseRefusedError, match="colour"):
        build_model(
            world.database, parse_model(MODEL, TEXT.replace("weight_per_unit > 1", "colour > 1"))
        )
    assert world.sql("SELECT count(*) FROM mart.heavy_items") == [(16,)]


def test_models_run_after_what_they_read_and_only_theirs_are_held_back(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    (folder / "mart").mkdir(parents=True)
    (folder / "mart/heavy_items.sql").write_text(TEXT)
    (folder / "mart/heaviest.sql").write_text(
        "SELECT max(weight_per_unit) AS kg FROM mart.heavy_items"
    )
    (folder / "mart/all_orders.sql").write_text("SELECT count(*) AS n FROM erp.orders")
    (folder / "mart/nowhere.sql").write_text("SELECT * FROM erp.gone")
    world.add_items(25)
    orders = world.add_items(1, slug="orders")
    for number in range(10, 20):
        orders.put(item(number, base_uom="far too long for ten"))
    entities = (world.entity("items"), world.entity("orders"))
    models = model_assets(entities, folder)
    assert {key.path[-1] for model in models for key in model.keys} == {
        "heavy_items",
        "heaviest",
        "all_orders",
    }
    assets = [*entity_assets(CatalogView(entities), []), *models]
    result = dg.materialize(assets, resources={"bridge": Bridge()}, raise_on_error=False)
    built = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert built == {"items", "orders", "heavy_items", "heaviest"}


@pytest.mark.parametrize("materialized", ["table", "view"])
def test_a_model_takes_the_place_of_no_table_of_an_entity(world: World, materialized: str) -> None:
    world.add_items(5)
    world.sync()
    text = "SELECT item_number FROM erp.items WHERE NOT _bridge_deleted"
    model = parse_model(Path("erp/items.sql"), f"-- materialized: {materialized}\n{text}")
    with pytest.raises(DatabaseRefusedError, match=r"erp\.items is the table of erp/items"):
        build_model(world.database, model)
    assert len(world.rows()) == 5


def test_a_model_that_is_built_drops_no_table_of_a_name_like_its_own(world: World) -> None:
    world.add_items(5)
    world.sync()
    world.sql("CREATE SCHEMA mart")
    world.sql("CREATE TABLE mart.heavy_items__new AS SELECT 1 AS precious")
    for _ in range(2):
        build_model(world.database, parse_model(MODEL, TEXT))
    assert world.sql("SELECT * FROM mart.heavy_items__new") == [(1,)]
    assert world.sql(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'mart' ORDER BY 1"
    ) == [
        ("heavy_items",),
        ("heavy_items__new",),
    ]
