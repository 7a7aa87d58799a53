"""The source changes its columns: the table follows without loss, or the entity stops with a plan."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sync_pipelines.demo.twin import IntegerRowversions, TwinColumn, TwinTable
from sync_pipelines.errors import SchemaDriftError
from sync_pipelines.model.run import Mode
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item


def settled_items(world: World, count: int = 5, **options: object) -> TwinTable:
    """Synced items whose next delta re-reads nothing."""
    columns = (*ITEM_COLUMNS, TwinColumn("stock", "INTEGER"), TwinColumn("price", "NUMERIC(6,2)"))
    table = world.add_items(
        0, columns=columns, rowversions=IntegerRowversions(1), comparator="integer", **options
    )
    world.set(lookback_seconds=0)
    for number in range(count):
        table.put(item(number, stock=number, price=Decimal("1.50")))
    world.sync()
    return table


def column_type(world: World, name: str, table: str = "erp.items") -> str:
    statement = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname"
        " = %s"
    )
    return world.sql(statement, table, name)[0][0]


def test_an_added_column_is_filled_for_the_old_rows_too(world: World) -> None:
    table = settled_items(world)
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    assert "colour" in world.discover().changed["items"]
    result = world.sync()
    assert (result.mode, result.ledger.updated) == (Mode.FULL, 5)
    assert result.table_changes == ("add colour character varying(20)",)
    world.assert_equal_to_truth()
    assert world.sync().mode is Mode.DELTA


def test_an_added_column_without_values_changes_no_row(world: World) -> None:
    table = settled_items(world)
    before = {key: row["_bridge_updated_at"] for key, row in world.rows().items()}
    versions = world.sql("SELECT item_number, xmin::text, _bridge_hash FROM erp.items ORDER BY 1")
    table.add_column(TwinColumn("colour", "VARCHAR(20)", is_nullable=False), None)
    table.change_column("colour", is_nullable=True)
    world.discover()
    result = world.sync()
    assert (result.ledger.updated, result.ledger.unchanged) == (0, 5)
    assert {key: row["_bridge_updated_at"] for key, row in world.rows().items()} == before
    assert world.sync(full_refresh=True).ledger.unchanged == 5
    assert (
        world.sql("SELECT item_number, xmin::text, _bridge_hash FROM erp.items ORDER BY 1")
        == versions
    ), "no row was rewritten"
    table.put(item(2, base_uom="KG", colour="red"))
    assert world.sync().ledger.updated == 1
    world.assert_equal_to_truth()


@pytest.mark.parametrize(
    ("name", "wider", "value"),
    [
        ("stock", "BIGINT", 2**40),
        ("stock", "NUMERIC(12,0)", 10**11),
        ("price", "NUMERIC(9,3)", Decimal("999999.125")),
        ("price", "NUMBER", Decimal("0.123456789")),
        ("base_uom", "VARCHAR(40)", "x" * 40),
        ("base_uom", "TEXT", "x" * 400),
    ],
)
def test_a_wider_column_keeps_old_rows_unchanged_and_takes_new_values(
    world: World, name: str, wider: str, value: object
) -> None:
    table = settled_items(world)
    table.change_column(name, wider)
    table.put(table.get(("A00001",)) | {name: value})
    world.discover()
    result = world.sync()
    assert (result.ledger.updated, result.ledger.unchanged) == (1, 4)
    world.assert_equal_to_truth()


def test_a_column_can_widen_again_and_again(world: World) -> None:
    table = settled_items(world)
    for wider in ("BIGINT", "NUMERIC(22,2)", "NUMERIC(24,4)", "NUMBER"):
        table.change_column("stock", wider)
        world.discover()
        assert world.sync().ledger.unchanged == 5
    assert column_type(world, "stock") == "numeric"
    world.assert_equal_to_truth()


def test_a_removed_column_keeps_its_last_values_and_new_rows_have_none(world: World) -> None:
    table = settled_items(world)
    table.drop_column("price")
    assert "keeps its last values" in world.discover().changed["items"]
    table.put({name: value for name, value in item(9, stock=1).items()})
    assert world.sync().ledger.inserted == 1
    rows = world.rows()
    assert (rows[("A00001",)]["price"], rows[("A00009",)]["price"]) == (Decimal("1.50"), None)
    table.put(item(1, stock=77))
    assert world.sync().ledger.updated == 1
    assert world.rows()[("A00001",)]["price"] == Decimal("1.50")
    world.assert_equal_to_truth()
    assert world.sync(full_refresh=True).ledger.written == 0


def test_a_removed_column_that_was_not_null_stops_nothing(world: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("owner", "TEXT", is_nullable=False))
    table = world.add_items(0, columns=columns)
    table.put(item(1, owner="me"))
    world.sync()
    table.drop_column("owner")
    world.discover()
    table.put(item(2))
    assert world.sync().ledger.inserted == 1
    world.assert_equal_to_truth()


def test_a_removed_column_that_returns_is_the_same_column(world: World) -> None:
    table = settled_items(world)
    table.drop_column("price")
    world.discover()
    world.sync()
    table.add_column(TwinColumn("price", "NUMERIC(6,2)"), Decimal("2.25"))
    world.discover()
    assert world.sync().ledger.updated == 5
    world.assert_equal_to_truth()


def test_nullability_follows_the_source_to_and_fro(world: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("owner", "TEXT", is_nullable=False))
    table = world.add_items(0, columns=columns)
    table.put(item(1, owner="me"))
    table.put_raw(("A00002",), b'{"item_number": "A00002", "owner": null}', poison=False)
    assert world.sync().ledger.quarantined == 1
    table.change_column("owner", is_nullable=True)
    world.discover()
    assert world.sync().ledger.inserted == 1
    assert world.rows()[("A00002",)]["owner"] is None
    table.put(item(2, owner="you"))
    world.sync()
    table.change_column("owner", is_nullable=False)
    world.discover()
    table.put_raw(("A00003",), b'{"item_number": "A00003", "owner": null}')
    assert world.sync().ledger.quarantined >= 1
    assert len(world.rows()) == 2


@pytest.mark.parametrize(
    ("name", "narrower"),
    [
        ("stock", "SMALLINT"),
        ("price", "NUMERIC(6,1)"),
        ("base_uom", "VARCHAR(5)"),
        ("stock", "TEXT"),
        ("stock", "JSON"),
    ],
)
def test_a_narrower_or_other_type_stops_the_entity_with_the_plan(
    world: World, name: str, narrower: str
) -> None:
    table = settled_items(world)
    table.change_column(name, narrower)
    report = world.discover()
    assert name in report.stopped["items"]
    error = world.fails(SchemaDriftError)
    assert name in str(error)
    assert error.next_command == "sync-pipelines discover erp --accept items"
    table.change_column(
        name,
        next(
            column.data_type
            for column in (
                *ITEM_COLUMNS,
                TwinColumn("stock", "INTEGER"),
                TwinColumn("price", "NUMERIC(6,2)"),
            )
            if column.name == name
        ),
    )
    world.discover()
    assert world.sync().ledger.written == 0


def test_an_accepted_change_starts_over_and_keeps_the_old_table(world: World) -> None:
    table = settled_items(world)
    world.sql("CREATE VIEW erp.seen AS SELECT item_number, stock FROM erp.items")
    table.change_column("stock", "TEXT", convert=str)
    world.discover()
    report = world.discover("items")
    old = report.set_aside["items"]
    assert world.sql(f"SELECT count(*) FROM {old}") == [(5,)]
    result = world.sync()
    assert (result.mode, result.ledger.inserted, result.row_count) == (Mode.FULL, 5, 5)
    assert column_type(world, "stock") == "text"
    assert world.sql("SELECT count(*) FROM erp.seen") == [(5,)]
    world.assert_equal_to_truth()
    indexes = {
        name
        for (name,) in world.sql(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'erp' AND tablename = 'items'"
        )
    }
    assert indexes == {"items_pkey", "items_business_key", "idx_items_rowversion"}


def test_two_accepted_changes_in_a_row_keep_both_old_tables(world: World) -> None:
    table = settled_items(world)
    kept = []
    for narrower in ("TEXT", "JSON"):
        table.change_column("base_uom", narrower)
        kept.append(world.discover("items").set_aside["items"])
        world.sync()
    assert len(set(kept)) == 2
    assert [world.sql(f"SELECT count(*) FROM {name}")[0][0] for name in kept] == [5, 5]
    world.assert_equal_to_truth()


def test_another_business_key_stops_the_entity_until_it_is_accepted(world: World) -> None:
    table = settled_items(world)
    table.set_business_keys(("item_number", "stock"))
    assert "business key" in world.discover().stopped["items"]
    world.fails(SchemaDriftError)
    world.discover("items")
    world.sync()
    assert set(world.rows()) == {(f"A{number:05d}", number) for number in range(5)}
    world.assert_equal_to_truth()


def test_a_wider_business_key_is_followed(world: World) -> None:
    table = settled_items(world)
    identities = {key: row["_bridge_id"] for key, row in world.rows().items()}
    table.change_column("item_number", "VARCHAR(80)")
    table.put(item(1, stock=1, price=Decimal("1.50")) | {"item_number": "x" * 80})
    world.discover()
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.updated) == (1, 0)
    assert (
        identities.items() <= {key: row["_bridge_id"] for key, row in world.rows().items()}.items()
    )
    world.assert_equal_to_truth()


def test_a_view_on_the_table_survives_every_change_that_can_be_followed(world: World) -> None:
    table = settled_items(world)
    world.sql("CREATE VIEW erp.seen AS SELECT * FROM erp.items")
    table.add_column(TwinColumn("colour", "TEXT"), "red")
    table.drop_column("price")
    world.discover()
    world.sync()
    world.sync(full_refresh=True)
    assert world.sql("SELECT count(*) FROM erp.seen") == [(5,)]
    world.assert_equal_to_truth()


def test_a_view_that_blocks_a_wider_type_is_made_anew(world: World) -> None:
    table = settled_items(world)
    world.sql("CREATE VIEW erp.seen AS SELECT stock FROM erp.items")
    table.change_column("stock", "BIGINT")
    world.discover()
    world.sync()
    assert column_type(world, "stock") == "bigint"
    assert world.sql("SELECT pg_typeof(stock)::text FROM erp.seen LIMIT 1") == [("bigint",)]
    world.assert_equal_to_truth()


def test_a_table_dropped_by_a_person_is_rebuilt_only_by_a_full_refresh(world: World) -> None:
    settled_items(world)
    world.sql("DROP TABLE erp.items")
    error = world.fails(SchemaDriftError)
    assert "is gone" in str(error)
    assert world.sync(full_refresh=True).ledger.inserted == 5
    world.assert_equal_to_truth()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE erp.items ALTER COLUMN stock TYPE text",
        "ALTER TABLE erp.items DROP COLUMN item_number",
        "ALTER TABLE erp.items DROP COLUMN _bridge_hash",
    ],
)
def test_a_table_altered_by_a_person_stops_the_entity(world: World, statement: str) -> None:
    table = settled_items(world)
    world.sql(statement)
    table.put(item(1, stock=8))
    world.fails(SchemaDriftError)


def test_a_column_dropped_by_a_person_is_added_again_and_filled(world: World) -> None:
    settled_items(world)
    world.sql("ALTER TABLE erp.items DROP COLUMN stock")
    assert "has lost the column stock" in str(world.fails(SchemaDriftError))
    assert world.sync(full_refresh=True).ledger.updated == 5
    world.assert_equal_to_truth()


def test_a_column_added_by_a_person_is_left_alone(world: World) -> None:
    table = settled_items(world)
    world.sql("ALTER TABLE erp.items ADD COLUMN note text DEFAULT 'mine' NOT NULL")
    table.put(item(9, stock=1))
    world.sync()
    assert {row["note"] for row in world.rows().values()} == {"mine"}
    world.assert_equal_to_truth()


def test_rows_changed_by_a_person_are_repaired_when_the_source_changes_them(world: World) -> None:
    table = settled_items(world)
    world.sql("DELETE FROM erp.items WHERE item_number = 'A00001'")
    world.sync(full_refresh=True)
    world.assert_equal_to_truth()
    table.put(item(1, stock=3))
    world.sync()
    world.assert_equal_to_truth()


def test_a_lost_key_constraint_is_reported_by_counting_doubles(world: World) -> None:
    settled_items(world)
    world.sql("ALTER TABLE erp.items DROP CONSTRAINT items_business_key")
    world.sql("INSERT INTO erp.items (item_number, _bridge_hash) VALUES ('A00001', 'x')")
    assert world.sync().duplicate_keys == 1


def test_a_change_of_strategy_is_followed(world: World) -> None:
    table = settled_items(world, count=15)
    table.delta_strategy = "full"
    world.discover()
    assert world.sync().mode is Mode.FULL
    table.delta_strategy = "rowversion"
    world.discover()
    assert world.sync().ledger.written == 0
    table.put(item(3, stock=99))
    result = world.sync()
    assert (result.mode, result.ledger.updated) == (Mode.DELTA, 1)
    world.assert_equal_to_truth()


def test_an_entity_that_vanished_and_returned_goes_on_where_it_was(world: World) -> None:
    table = settled_items(world)
    cursor = world.entity().position.cursor
    world.add_items(1, "other")
    world.store.remove("items")
    assert world.discover().vanished == ["items"]
    world.store.add(table)
    assert world.discover().returned == ["items"]
    table.put(item(3, stock=99))
    result = world.sync()
    assert (result.rowversion_start, result.ledger.updated) == (cursor, 1)
    world.assert_equal_to_truth()


def test_a_float_becomes_numeric_with_every_digit_that_it_shows(world: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("share", "DOUBLE PRECISION"), TwinColumn("single", "REAL"))
    table = world.add_items(0, columns=columns)
    table.put(item(1, share=0.1234567890123456, single=0.5))
    world.sync()
    table.change_column("share", "NUMERIC")
    table.change_column("single", "NUMERIC")
    assert "wider" in world.discover().changed["items"]
    assert world.sync().ledger.unchanged == 1
    assert world.sql("SELECT share::text, single::text FROM erp.items") == [
        ("0.1234567890123456", "0.5")
    ]
