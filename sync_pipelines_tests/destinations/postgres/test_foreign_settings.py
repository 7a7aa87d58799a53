"""A database as its administrators run it: their settings, their rights, and what they put on our tables."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.session_options import session_options
from sync_pipelines.demo.twin import TwinColumn, TwinTable
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines_tests.world import World, item

HOSTILE = {
    "search_path": "pg_catalog",
    "datestyle": "'SQL, DMY'",
    "timezone": "'Asia/Kolkata'",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "1",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "xmloption": "document",
    "session_replication_role": "replica",
}
COLUMNS = (
    TwinColumn("item_number", "VARCHAR(50)", is_nullable=False, is_business_key=True),
    TwinColumn("noted_at", "TIMESTAMP WITH TIME ZONE"),
    TwinColumn("made_on", "DATE"),
    TwinColumn("ratio", "DOUBLE PRECISION"),
    TwinColumn("seal", "BYTEA"),
    TwinColumn("words", "TEXT"),
)


def test_settings_of_the_database_decide_nothing(world: World) -> None:
    table = TwinTable("items", "Items", "", COLUMNS, ("item_number",))
    record = {
        "noted_at": "2025-02-03T04:05:06Z",
        "made_on": "2025-02-03",
        "ratio": 0.1 + 0.2,
        "words": "a\\b'ü€",
    }
    table.put({"item_number": "A1", "seal": "AP8=", **record})
    world.add(table)
    with psycopg.connect(world.database.url, autocommit=True) as connection:
        for name, value in HOSTILE.items():
            connection.execute(f"ALTER DATABASE {world.database.name} SET {name} = {value}")
    world.sync()
    table.put({"item_number": "A2", "seal": "AP8=", **record})
    world.sync()
    with psycopg.connect(world.database.session_url()) as plain:
        rows = plain.execute("SELECT noted_at, made_on, ratio, words FROM erp.items").fetchall()
    moment = datetime(2025, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert rows == [(moment, moment.date(), 0.1 + 0.2, "a\\b'ü€")] * 2


def test_the_limit_of_a_transaction_is_taken_off_where_the_server_knows_it(world: World) -> None:
    world.sql(f"ALTER DATABASE {world.database.name} SET transaction_timeout = '10min'")
    with world.database.connect():
        pass
    with psycopg.connect(world.database.session_url()) as known:
        assert known.execute("SELECT current_setting('transaction_timeout')").fetchone() == ("0",)
    assert "transaction_timeout" not in session_options(server_version=160_000), (
        "an older server would refuse the connection"
    )


def test_the_address_may_limit_our_patience_and_not_our_forms(database: Database) -> None:
    url = psycopg.conninfo.make_conninfo(
        database.url, options="-c statement_timeout=5s -c timezone=Asia/Kolkata"
    )
    with Database(url).connect() as connection:
        row = connection.execute(
            "SELECT current_setting('statement_timeout') AS patience, current_setting('timezone') AS zone"
        ).fetchone()
    assert row == {"patience": "5s", "zone": "UTC"}


@pytest.mark.parametrize(
    ("obstacle", "named"),
    [
        (
            "CREATE TRIGGER swallow BEFORE INSERT ON erp.items FOR EACH ROW EXECUTE FUNCTION erp.nothing()",
            "trigger swallow on erp.items",
        ),
        (
            "CREATE TRIGGER swallow BEFORE UPDATE ON erp.items FOR EACH ROW EXECUTE FUNCTION erp.nothing()",
            "trigger swallow on erp.items",
        ),
        (
            "CREATE RULE swallow AS ON INSERT TO erp.items DO INSTEAD NOTHING",
            "rule swallow on erp.items",
        ),
        (
            "CREATE TABLE erp.part (CHECK (item_number > '')) INHERITS (erp.items);"
            "CREATE FUNCTION erp.route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO erp.part SELECT new.*; RETURN NULL; END $$;"
            "CREATE TRIGGER router BEFORE INSERT ON erp.items FOR EACH ROW EXECUTE FUNCTION erp.route()",
            "trigger router on erp.items, which calls erp.route; child table erp.part",
        ),
    ],
)
def test_what_swallows_rows_is_named(world: World, obstacle: str, named: str) -> None:
    table = world.add_items(3)
    world.sync()
    world.sql(
        "CREATE FUNCTION erp.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )
    world.sql(obstacle)
    table.put(item(0, base_uom="KG"))
    table.put(item(100))
    error = world.fails(DatabaseRefusedError)
    assert named in error.what
    assert "DISABLE" in (error.next_command or "")


def test_what_swallows_rows_while_an_empty_table_is_filled_is_named(world: World) -> None:
    table = world.add_items(0)
    world.sync()
    world.sql(
        "CREATE FUNCTION erp.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )
    world.sql(
        "CREATE TRIGGER swallow BEFORE INSERT ON erp.items FOR EACH ROW EXECUTE FUNCTION erp.nothing()"
    )
    table.put(item(0))
    assert "trigger swallow on erp.items" in world.fails(DatabaseRefusedError).what


def test_a_policy_that_would_hide_rows_is_refused_by_name(world: World) -> None:
    table = world.add_items(3)
    world.sync()
    name = f"loader_{world.database.name}"
    world.sql(f"CREATE ROLE {name} LOGIN")
    try:
        for schema in ("bridge", "erp", "erp_staging"):
            world.sql(
                f"GRANT ALL ON SCHEMA {schema} TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}"
            )
        world.sql(
            f"ALTER TABLE erp_staging.items__records OWNER TO {name};"
            f" ALTER TABLE erp_staging.items__rejects OWNER TO {name}"
        )
        world.sql(
            "ALTER TABLE erp.items ENABLE ROW LEVEL SECURITY;"
            " CREATE POLICY later ON erp.items USING (item_number > 'A00001')"
        )
        table.put(item(0, base_uom="KG"))
        strong, world.database = (
            world.database,
            Database(psycopg.conninfo.make_conninfo(world.database.url, user=name)),
        )
        with pytest.raises(
            DatabaseRefusedError, match="row-level security policy for table"
        ) as caught:
            world.sync()
        assert "BYPASSRLS" in (caught.value.next_command or "")
        world.database = strong
    finally:
        world.sql(
            f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
        )


def test_not_null_of_a_user_stays_until_the_source_sends_a_null(world: World) -> None:
    table = world.add_items(2)
    world.sync()
    world.sql(
        "ALTER TABLE erp.items ALTER base_uom SET NOT NULL, ADD owner text NOT NULL DEFAULT 'me'"
    )
    table.put(item(2))
    world.sync()
    assert not_null(world) == {"base_uom", "owner"}
    table.put(item(3, base_uom=None))
    result = world.sync()
    assert any("NOT NULL was taken off base_uom" in warning for warning in result.warnings)
    assert not_null(world) == {"owner"}
    world.assert_equal_to_truth()


def test_a_role_without_create_on_the_database_works_in_schemas_that_are_there(
    world: World,
) -> None:
    world.add_items(3)
    name = f"etl_{world.database.name}"
    world.sql(f"CREATE ROLE {name} LOGIN")
    strong = world.database
    try:
        world.sql(
            f"CREATE SCHEMA erp AUTHORIZATION {name}; CREATE SCHEMA erp_staging;"
            f" GRANT USAGE, CREATE ON SCHEMA erp_staging TO {name}"
        )
        world.sql(
            f"GRANT USAGE ON SCHEMA bridge TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA bridge TO {name}"
        )
        world.database = Database(psycopg.conninfo.make_conninfo(strong.url, user=name))
        world.sync()
        world.assert_equal_to_truth()
    finally:
        world.database = strong
        world.sql(
            f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
        )


def not_null(world: World) -> set[str]:
    """Columns of the table, ours and the key apart, that take no null."""
    found = world.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'erp.items'::regclass AND attnum > 0 AND attnotnull"
    )
    return {name for (name,) in found if not name.startswith("_bridge") and name != "item_number"}
