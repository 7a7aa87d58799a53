"""What the state machine, or thinking about its rules, found: one plain test each."""

from __future__ import annotations

from datetime import UTC, datetime

from sync_pipelines.demo.twin import IntegerRowversions, TimestampRowversions, TwinColumn, TwinTable
from sync_pipelines_tests.world import World, item


def test_a_record_put_back_as_it_was_within_the_same_second_leaves_quarantine(world: World) -> None:
    # The second read finds nothing changed, takes the short way without a load, and once left the quarantine as it was.
    clock = datetime(2020, 1, 1, tzinfo=UTC)
    table = world.add_items(3, rowversions=TimestampRowversions(clock=lambda: clock))
    world.sync()
    world.sync()
    table.put_raw(("A00001",), b'{"item_number": "A00001", "weight_per_unit": "x"}')
    world.sync()
    assert len(world.quarantine()) == 1
    table.put(item(1))
    result = world.sync()
    assert (result.ledger.written, world.quarantine()) == (0, [])


def test_a_key_that_is_not_of_its_type_does_no_harm_in_quarantine(world: World) -> None:
    columns = (
        TwinColumn("id", "INTEGER", is_nullable=False, is_business_key=True),
        TwinColumn("name", "VARCHAR(5)"),
    )
    table = TwinTable(
        "numbers",
        "Numbers",
        "",
        columns,
        ("id",),
        rowversions=IntegerRowversions(1),
        comparator="integer",
    )
    table.put({"id": 1, "name": "one"})
    world.add(table)
    world.sync("numbers")
    bodies = (b'{"id": "abc"}', b'{"id": 99999999999999}', b'{"id": 1.5}', b'{"id": [1]}')
    table.put_raw((2,), b'{"id": 2, "name": "too long"}')
    for number, body in enumerate(bodies):
        table.put_raw((100 + number,), body, oracle_keys_json=b"{}")
    for _ in range(2):
        table.put({"id": 1, "name": "uno"})
        table.put({"id": 3, "name": "three"})
        world.sync("numbers")
        world.sync("numbers", full_refresh=True)
    table.put({"id": 2, "name": "two"})
    world.sync("numbers")
    assert len(world.rows("numbers")) == 3
    assert not [row for row in world.quarantine("numbers") if row["business_key"] == ["2"]]


def test_quarantined_keys_do_not_stop_a_key_that_was_accepted_with_another_type(
    world: World,
) -> None:
    # The old keys were compared as the new type, so that every run of the entity failed for ever.
    table = world.add_items(3, rowversions=IntegerRowversions(1), comparator="integer")
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "x"}')
    world.sync()
    table.delete(("BAD",))
    table.change_column("item_number", "INTEGER", convert=lambda old: int(old[1:]))
    assert world.discover().stopped
    world.discover("items")
    world.sync()
    table.put(item(7) | {"item_number": 7})
    world.sync()
    assert len(world.rows()) == 4
    assert world.quarantine() == []


def test_quarantined_keys_do_not_stop_a_source_that_names_its_key_columns_in_another_order(
    world: World,
) -> None:
    columns = [
        TwinColumn("year", "INTEGER", is_nullable=False, is_business_key=True),
        TwinColumn("code", "VARCHAR(5)", is_nullable=False, is_business_key=True),
        TwinColumn("name", "VARCHAR(5)"),
    ]
    table = TwinTable(
        "plans",
        "Plans",
        "",
        columns,
        ("year", "code"),
        rowversions=IntegerRowversions(1),
        comparator="integer",
    )
    table.put({"year": 2020, "code": "A", "name": "one"})
    table.put_raw((2021, "B"), b'{"year": 2021, "code": "B", "name": "too long"}')
    world.add(table)
    world.sync("plans")
    table.delete((2021, "B"))
    table.columns[:2] = table.columns[1::-1]
    world.discover()
    table.put({"year": 2020, "code": "A", "name": "two"})
    world.sync("plans")
    assert [row["name"] for row in world.rows("plans").values()] == ["two"]
