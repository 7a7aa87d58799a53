"""What hangs on a table survives its changes, or is named before anything is done."""

from __future__ import annotations

import psycopg
import pytest

from sync_pipelines.demo.twin import TwinColumn
from sync_pipelines.errors import DatabaseRefusedError, SchemaDriftError
from sync_pipelines_tests.world import ITEM_COLUMNS, World

KEY, DESCRIPTION, UOM, WEIGHT = ITEM_COLUMNS
WIDER = (KEY, DESCRIPTION, TwinColumn("base_uom", "VARCHAR(20)"), WEIGHT)
OTHER = (KEY, DESCRIPTION, TwinColumn("base_uom", "BIGINT"), WEIGHT)

ZOO = """
CREATE ROLE reader_{n}; CREATE ROLE chef_{n};
CREATE SCHEMA mart;
CREATE VIEW mart.uoms WITH (security_barrier=true) AS SELECT item_number, base_uom FROM erp.items;
CREATE VIEW mart.long_uoms AS SELECT base_uom, count(*) AS n FROM mart.uoms GROUP BY base_uom;
CREATE MATERIALIZED VIEW mart.stored AS SELECT u.base_uom, l.n FROM mart.uoms u JOIN mart.long_uoms l USING (base_uom);
CREATE INDEX stored_by_uom ON mart.stored (base_uom);
CREATE VIEW mart.odd AS SELECT base_uom AS "Ünit 100%", item_number FROM erp.items;
COMMENT ON VIEW mart.uoms IS 'it''s units'; COMMENT ON COLUMN mart.uoms.base_uom IS 'a unit';
GRANT SELECT ON mart.uoms TO reader_{n} WITH GRANT OPTION; GRANT SELECT (base_uom) ON mart.long_uoms TO reader_{n};
GRANT SELECT ON erp.items TO reader_{n};
ALTER TABLE erp.items SET (fillfactor=70, autovacuum_enabled=false);
ALTER TABLE erp.items REPLICA IDENTITY USING INDEX items_business_key;
ALTER VIEW mart.odd OWNER TO chef_{n};
ALTER VIEW mart.uoms ALTER COLUMN base_uom SET DEFAULT 'PCS';
CREATE TABLE mart.seen (base_uom text); CREATE TABLE mart.orders (item varchar(50) REFERENCES erp.items (item_number));
CREATE FUNCTION mart.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER on_view INSTEAD OF INSERT ON mart.uoms FOR EACH ROW EXECUTE FUNCTION mart.note();
CREATE TRIGGER on_uom AFTER UPDATE OF base_uom ON erp.items FOR EACH ROW WHEN (new.base_uom <> 'X')
    EXECUTE FUNCTION mart.note();
CREATE RULE noted AS ON INSERT TO mart.seen DO ALSO
    UPDATE mart.orders SET item = item WHERE item IN (SELECT item_number FROM erp.items WHERE base_uom = 'Z');
CREATE FUNCTION mart.units(fewest int) RETURNS SETOF text STABLE LANGUAGE sql
    BEGIN ATOMIC SELECT base_uom FROM mart.long_uoms WHERE n >= fewest; END;
ALTER TABLE mart.seen ENABLE ROW LEVEL SECURITY;
CREATE POLICY known ON mart.seen FOR SELECT TO reader_{n} USING (base_uom IN (SELECT i.base_uom FROM erp.items i));
CREATE PUBLICATION pieces FOR TABLE erp.items WHERE (base_uom = 'PCS') WITH (publish = 'insert');
"""
STATE = {
    "views": "SELECT c.oid::regclass::text, relkind::text, pg_get_viewdef(c.oid), reloptions,"
    " relowner::regrole::text, relacl::text, obj_description(c.oid, 'pg_class') FROM pg_class c"
    " WHERE relnamespace = 'mart'::regnamespace AND relkind IN ('v', 'm') ORDER BY 1",
    "columns": "SELECT attrelid::regclass::text, attname, attacl::text, col_description(attrelid, attnum),"
    " pg_get_expr(adbin, adrelid)"
    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attnum > 0 AND attrelid IN"
    " (SELECT oid FROM pg_class WHERE relnamespace = 'mart'::regnamespace AND relkind = 'v') ORDER BY 1, 2",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'mart' ORDER BY 1",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "rules": "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = 'noted'",
    "policies": "SELECT tablename, policyname, roles::text, qual FROM pg_policies ORDER BY 1, 2",
    "functions": "SELECT pg_get_functiondef(oid), proacl::text FROM pg_proc WHERE pronamespace = 'mart'::regnamespace"
    " ORDER BY 1",
    "publications": "SELECT pubname, schemaname, tablename, rowfilter FROM pg_publication_tables",
    "keys": "SELECT conname, confrelid::regclass::text FROM pg_constraint"
    " WHERE conrelid = 'mart.orders'::regclass AND contype = 'f'",
    "storage": "SELECT reloptions::text, relreplident::text FROM pg_class WHERE oid = 'erp.items'::regclass",
    "grants": "SELECT relacl::text FROM pg_class WHERE oid = 'erp.items'::regclass",
}


@pytest.fixture
def zoo(world: World):
    """The world with three items and everything that may hang on a table."""
    world.add_items(3)
    world.sync()
    number = world.database.name.rsplit("_", 2)[-2:]
    name = "_".join(number)
    world.sql(ZOO.format(n=name))
    yield world
    world.sql("DROP SCHEMA mart CASCADE")
    world.sql("DROP PUBLICATION IF EXISTS pieces")
    for role in (f"reader_{name}", f"chef_{name}"):
        world.sql(f"DROP OWNED BY {role}")
        world.sql(f"DROP ROLE {role}")


def state(world: World) -> dict[str, list]:
    """Everything that people gave, in the words of the catalog."""
    return {name: world.sql(query) for name, query in STATE.items()}


def change(world: World, columns, *, numbers: bool = False) -> None:
    """The source declares other columns from now on."""
    table = world.store["items"]
    table.columns = columns
    for record in table.truth().values():
        table.put({**record, "base_uom": 7 if numbers else "a longer unit"})


def test_a_widened_column_leaves_everything_that_hangs_on_it_as_it_was(zoo: World) -> None:
    before = state(zoo)
    change(zoo, WIDER)
    zoo.discover()
    zoo.sync()
    assert state(zoo) == before
    zoo.assert_equal_to_truth()
    assert zoo.sql("SELECT DISTINCT base_uom FROM mart.uoms") == [("a longer unit",)]
    assert zoo.sql("SELECT mart.units(1)") == [("a longer unit",)]


def test_what_hangs_on_a_table_that_is_set_aside_reads_the_new_one(zoo: World) -> None:
    # What speaks of texts cannot follow to numbers.
    zoo.sql(
        "DROP TABLE mart.seen; DROP PUBLICATION pieces; DROP TRIGGER on_uom ON erp.items;"
        " ALTER VIEW mart.uoms ALTER base_uom DROP DEFAULT"
    )
    zoo.sql("DROP FUNCTION mart.units")
    before = state(zoo)
    change(zoo, OTHER, numbers=True)
    report = zoo.discover("items")
    assert set(report.followers["items"]) == {
        "the view mart.uoms",
        "the view mart.odd",
        "the view mart.long_uoms",
        "the materialized view mart.stored",
        "the foreign key orders_item_fkey of mart.orders",
    }
    zoo.sync()
    zoo.assert_equal_to_truth()
    for statement in report.to_do["items"]:
        zoo.sql(statement)
    assert zoo.sql("SELECT base_uom, n FROM mart.stored") == [(7, 3)] * 3
    assert state(zoo) == before


def test_a_view_that_no_longer_fits_is_named_and_nothing_is_done(zoo: World) -> None:
    zoo.sql(
        "DROP TABLE mart.seen; DROP PUBLICATION pieces; DROP TRIGGER on_uom ON erp.items;"
        " ALTER VIEW mart.uoms ALTER base_uom DROP DEFAULT"
    )
    zoo.sql(
        "CREATE VIEW mart.letters AS SELECT base_uom FROM erp.items UNION SELECT 'none'::varchar(10)"
    )
    change(zoo, OTHER, numbers=True)
    zoo.discover()
    before = zoo.state(), state(zoo)
    report = zoo.discover("items")
    assert "mart.letters" in report.invalid["items"]
    assert "Next: drop the view mart.letters or change it" in report.invalid["items"]
    assert not report.set_aside
    assert (zoo.state(), state(zoo)) == before
    zoo.fails(SchemaDriftError)


def test_what_a_role_of_ours_may_not_rebuild_is_named(zoo: World) -> None:
    name = f"weak_{zoo.database.name}"
    zoo.sql(f"CREATE ROLE {name} LOGIN")
    for schema in ("bridge", "erp", "erp_staging"):
        zoo.sql(f"GRANT ALL ON SCHEMA {schema} TO {name}")
        zoo.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
    zoo.sql(f"ALTER TABLE erp.items OWNER TO {name}")
    change(zoo, WIDER)
    zoo.discover()
    try:
        strong = zoo.database
        zoo.database = type(strong)(psycopg.conninfo.make_conninfo(strong.url, user=name))
        error = zoo.fails(DatabaseRefusedError)
        assert "the view mart.uoms" in error.what
        zoo.database = strong
    finally:
        zoo.database = strong
        zoo.sql(f"ALTER TABLE erp.items OWNER TO CURRENT_USER")  # noqa: F541
        zoo.sql(f"DROP OWNED BY {name}")
        zoo.sql(f"DROP ROLE {name}")


def test_a_generated_column_of_somebody_that_forbids_a_change_is_named_with_the_way_out(
    world: World,
) -> None:
    table = world.add_items(3)
    world.sync()
    world.sql(
        "ALTER TABLE erp.items ADD COLUMN twice numeric GENERATED ALWAYS AS (weight_per_unit * 2) STORED"
    )
    table.change_column("weight_per_unit", "NUMERIC(14, 3)")
    world.discover()
    error = world.fails(DatabaseRefusedError)
    assert 'generated column "twice"' in error.what
    assert "DROP COLUMN" in (error.next_command or "")
    world.sql("ALTER TABLE erp.items DROP COLUMN twice")
    world.sync()
    world.assert_equal_to_truth()
