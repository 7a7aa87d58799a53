"""A Hive catalog: rows are appended under a view that shows the newest, a full read swaps, the rest is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import TwinColumn
from sync_pipelines.errors import SchemaDriftError, SettingsError
from sync_pipelines.model.run import RunStatus
from sync_pipelines.settings import Settings
from sync_pipelines_tests.test_types import typed_table
from sync_pipelines_tests.trino import TrinoPlace, TrinoWorld
from sync_pipelines_tests.world import item


@pytest.fixture
def hive_world(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> Iterator[TrinoWorld]:
    with TrinoWorld.open_in(database, settings, trino_place, catalog="hive") as opened:
        yield opened


def tables_of_rows(world: TrinoWorld) -> list[str]:
    schema = world.entity().target_schema
    return [
        name
        for (name,) in world.trino.query(f"SHOW TABLES FROM hive.{schema}")
        if "__rows_" in name
    ]


def test_deltas_are_appended_and_the_view_shows_the_newest_of_each_key(
    hive_world: TrinoWorld,
) -> None:
    table = hive_world.add_items(70)
    assert hive_world.sync().ledger.inserted == 70
    before = hive_world.rows()
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    result = hive_world.sync()
    assert (
        result.ledger.inserted,
        result.ledger.updated,
        result.row_count,
        result.duplicate_keys,
    ) == (1, 1, 71, 0)
    after = hive_world.rows()
    assert after[("A00003",)]["_bridge_id"] == before[("A00003",)]["_bridge_id"]
    assert {
        key
        for key in before
        if after[key]["_bridge_updated_at"] != before[key]["_bridge_updated_at"]
    } == {("A00003",)}
    hive_world.assert_equal_to_truth()
    assert hive_world.sync().ledger.written == 0
    rows = tables_of_rows(hive_world)[0]
    assert (
        hive_world.trino.number(
            f"SELECT count(*) FROM hive.{hive_world.entity().target_schema}.{rows}"
        )
        == 72
    )
    hive_world.assert_nothing_left_behind()


def test_a_full_read_swaps_the_rows_and_marks_what_vanished(hive_world: TrinoWorld) -> None:
    table = hive_world.add_items(20)
    hive_world.sync()
    (first,) = tables_of_rows(hive_world)
    identities = {key: row["_bridge_id"] for key, row in hive_world.rows().items()}
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    table.delete(("A00007",))
    result = hive_world.sync(full_refresh=True)
    assert (result.ledger.inserted, result.ledger.updated, result.ledger.deleted) == (1, 1, 1)
    (second,) = tables_of_rows(hive_world)
    assert first != second
    hive_world.assert_equal_to_truth()
    table.put(item(7))
    assert hive_world.sync().ledger.updated == 1
    assert (
        identities.items()
        <= {key: row["_bridge_id"] for key, row in hive_world.rows().items()}.items()
    )
    hive_world.assert_equal_to_truth()
    assert hive_world.sync(full_refresh=True).ledger.written == 0
    for key in list(table.truth())[:15]:
        table.delete(key)
    assert hive_world.sync(full_refresh=True, status=RunStatus.INCOMPLETE).ledger.deleted == 0
    assert hive_world.sync(full_refresh=True, accept_vanished=True).ledger.deleted == 15
    hive_world.assert_equal_to_truth()


def test_a_rejected_row_is_marked_in_hive_and_unmarked_by_a_good_record(
    hive_world: TrinoWorld,
) -> None:
    table = hive_world.add_items(12)
    hive_world.sync()
    table.put(item(3, base_uom="far too long for ten"))
    hive_world.sync()
    assert [key for (key,), row in hive_world.rows().items() if row["_bridge_rejected_at"]] == [
        "A00003"
    ]
    hive_world.sync(full_refresh=True)
    assert hive_world.rows()[("A00003",)]["_bridge_rejected_at"] is not None
    table.put(item(3, base_uom="KG"))
    hive_world.sync()
    assert hive_world.rows()[("A00003",)]["_bridge_rejected_at"] is None
    hive_world.assert_equal_to_truth()


def test_every_type_has_a_place_in_hive(hive_world: TrinoWorld) -> None:
    hive_world.add(typed_table())
    assert hive_world.sync("typed").ledger.inserted == 5
    again = hive_world.sync("typed", full_refresh=True)
    assert (again.ledger.unchanged, again.ledger.written) == (5, 0)


def test_a_change_of_columns_is_refused_and_names_iceberg(hive_world: TrinoWorld) -> None:
    table = hive_world.add_items(5)
    hive_world.sync()
    table.add_column(TwinColumn("colour", "TEXT"), "red")
    hive_world.discover()
    error = hive_world.fails(SchemaDriftError)
    assert "colour" in str(error)
    assert "Iceberg" in str(error)
    assert hive_world.discover("items").set_aside["items"].startswith("hive.")
    assert hive_world.sync().ledger.inserted == 5
    assert {row["colour"] for row in hive_world.rows().values()} == {"red"}
    assert len(tables_of_rows(hive_world)) == 2


def test_a_catalog_of_another_connector_is_refused(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> None:
    with TrinoWorld.open_in(database, settings, trino_place, catalog="system") as world:
        world.add_items(1)
        with pytest.raises(SettingsError, match="Iceberg"):
            world.sync()


def test_a_catalog_that_is_not_there_is_refused_with_those_that_are(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> None:
    with TrinoWorld.open_in(database, settings, trino_place, catalog="lake") as world:
        world.add_items(1)
        with pytest.raises(SettingsError, match="hive, iceberg, system"):
            world.sync()
        world.drop_everything = lambda schema: None  # type: ignore[method-assign]
