"""Names as sources really have them: quotes, blanks, reserved words, other scripts, too long, too many."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.demo.twin import IntegerRowversions, TwinColumn, TwinTable
from sync_pipelines.errors import SettingsError
from sync_pipelines_tests.world import World

ODD = [
    'say "hi"',
    "it's",
    "50 % off",
    "%s",
    "%(name)s",
    "two  words",
    " leading",
    "select",
    "user",
    "order",
    "Größe",
    "数量",
    "😀",
    "UPPER",
    "a.b",
    "a;b",
    "--",
    "{}",
    "$1",
    ":name",
    "back\\slash",
    "c0",
    "arrival",
    "rowversion",
    "hash",
    "data",
    "row_version",
    "n" * 200,
    "n" * 199 + "m",
    "ü" * 40,
    '"; DROP TABLE bridge.entities; --',
]


def odd_table(slug: str) -> TwinTable:
    columns = [
        TwinColumn('key "1" %', "VARCHAR(20)", is_business_key=True),
        TwinColumn("t", "INTEGER", is_business_key=True),
    ]
    columns += [TwinColumn(name, "TEXT") for name in ODD]
    table = TwinTable(slug, columns=columns, rowversions=IntegerRowversions(), comparator="integer")
    for number in range(3):
        table.put(
            {'key "1" %': f"%s{number}", "t": number, **{name: f"{name} {number}" for name in ODD}}
        )
    return table


def values(world: World, slug: str) -> dict[tuple[object, ...], list[object]]:
    entity = world.entity(slug)
    return {
        key: [row[column.target_name] for column in entity.columns]
        for key, row in world.rows(slug).items()
    }


def test_columns_of_any_name_are_stored_updated_and_deleted(world: World) -> None:
    table = world.add(odd_table("odd"))
    world.set("odd", lookback_seconds=0)
    world.sync("odd")
    assert values(world, "odd") == {
        key: list(record.values()) for key, record in table.truth().items()
    }
    table.put(table.get(("%s1", 1)) | {"50 % off": "new"})
    table.put_raw(("bad", 1), b'{"t": 1}')
    result = world.sync("odd")
    assert (result.ledger.updated, result.ledger.quarantined) == (1, 1)
    assert world.sync("odd").ledger.written == 0
    table.delete(("%s2", 2))
    assert world.sync("odd", full_refresh=True).ledger.deleted == 1
    assert values(world, "odd") == {
        key: list(record.values()) for key, record in table.truth().items()
    }


def test_slugs_of_any_form_become_tables(world: World) -> None:
    for slug in ("a-b.c", "Mixed.Case-9", "0", "select", "x" * 100, "a__b"):
        world.add_items(3, slug)
        assert world.sync(slug).ledger.inserted == 3, slug
        assert world.sync(slug).ledger.unchanged == 3, slug
        assert world.entity(slug).target_table == world.entity(slug).target_table.lower()
        world.assert_equal_to_truth(slug)


def test_a_slug_named_like_a_device_of_windows_becomes_a_table(world: World) -> None:
    world.add_items(3, "nul")
    assert world.sync("nul").ledger.inserted == 3


def test_target_schemas_that_dlt_cannot_write_to_are_refused_at_once(world: World) -> None:
    for schema in ("two words", "per%cent", "back\\slash", "line\nend"):
        with pytest.raises(SettingsError):
            add_connector(
                world.database, "odd", world.server.url, "env:TWIN_TOKEN", target_schema=schema
            )


@pytest.mark.parametrize("schema", ["UpperCase", 'quo"ted', "größe", "select"])
def test_target_schemas_of_other_odd_names_work(world: World, schema: str) -> None:
    add_connector(world.database, "odd", world.server.url, "env:TWIN_TOKEN", target_schema=schema)
    world.connector = "odd"
    table = world.add_items(3)
    world.sync()
    table.put_raw(("BAD",), b"{}")
    assert world.sync(full_refresh=True).ledger.quarantined == 1
    world.assert_equal_to_truth()


def test_as_many_columns_as_postgresql_holds_are_stored(world: World) -> None:
    columns = [TwinColumn("id", "INTEGER", is_business_key=True)]
    columns += [TwinColumn(f"column_{number}", "SMALLINT") for number in range(1589)]
    table = world.add(TwinTable("wide", columns=columns))
    table.put({"id": 1, **{f"column_{number}": number for number in range(1589)}})
    table.put({"id": 2})
    assert world.sync("wide").ledger.inserted == 2
    world.assert_equal_to_truth("wide")


def test_a_row_that_postgresql_cannot_hold_at_all_is_set_aside_and_the_others_pass(
    world: World,
) -> None:
    columns = [TwinColumn("id", "INTEGER", is_business_key=True)]
    columns += [TwinColumn(f"column_{number}", "TEXT") for number in range(600)]
    table = world.add(TwinTable("wide", columns=columns))
    table.put({"id": 1, "column_1": "x"})
    table.put_raw(
        (2,),
        (
            '{"id": 2, '
            + ", ".join(f'"column_{number}": "{"z" * 40}"' for number in range(600))
            + "}"
        ).encode(),
    )
    result = world.sync("wide")
    assert (result.ledger.inserted, result.ledger.quarantined) == (1, 1)
    assert "row is too big" in world.quarantine("wide")[0]["reason"]
