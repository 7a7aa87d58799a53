"""A field that the records carry and the catalog does not know: the run that sees it asks the source, and follows or says what it waits for."""

from __future__ import annotations

from sync_pipelines.model.run import Mode
from sync_pipelines.twin import RequestInfo, TwinColumn
from sync_pipelines_tests.declared_world import COLUMNS
from sync_pipelines_tests.world import World, item


def asked_for_descriptions(world: World) -> int:
    return len([one for one in world.server.requests_log if one.kind == "apis"])


def test_a_delta_that_meets_a_new_column_asks_follows_and_fills_every_row(world: World) -> None:
    table = world.add_items(25)
    world.sync()
    before = asked_for_descriptions(world)
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.put(item(3, colour="blue"))
    result = world.sync()
    assert (result.mode, result.undeclared, result.table_changes) == (Mode.FULL, (), ("add colour character varying(20)",))
    assert asked_for_descriptions(world) == before + 1
    world.assert_equal_to_truth()
    assert world.runs()[0]["mode"] == "full"
    assert world.sync().mode is Mode.DELTA


def test_a_column_that_is_new_while_the_run_follows_another_is_followed_too(world: World) -> None:
    table = world.add_items(25)
    world.sync()
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.put(item(3, colour="blue"))

    def add_another(_: RequestInfo) -> None:
        asked = [request.kind for request in world.server.requests_log]
        if "apis" in asked[before:] and asked[-1] == "data" and not any(column.name == "size" for column in table.columns):
            table.add_column(TwinColumn("size", "INTEGER"), 1)
            table.put(item(4, size=2))

    before = len(world.server.requests_log)
    world.faults.on_request = add_another
    result = world.sync()
    assert result.undeclared == ()
    assert asked_for_descriptions(world) == 3, "discovery, colour, size"
    world.assert_equal_to_truth()


def test_a_field_that_the_source_does_not_declare_is_told_and_asked_for_once(world: World) -> None:
    table = world.add_items(5)
    table.put_raw(("A00003",), b'{"item_number": "A00003", "surprise": 1}')
    before = asked_for_descriptions(world)
    result = world.sync()
    assert any("surprise" in warning and "does not declare" in warning for warning in result.warnings)
    assert world.runs()[0]["details"]["undeclared"] == ["surprise"]
    table.put_raw(("A00004",), b'{"item_number": "A00004", "surprise": 2}')
    assert any("surprise" in warning for warning in world.sync(full_refresh=True).warnings)
    assert asked_for_descriptions(world) == before + 1
    table.put_raw(("A00005",), b'{"item_number": "A00005", "surprise": 2, "another": 3}')
    assert world.sync(full_refresh=True).undeclared == ("another", "surprise")
    assert asked_for_descriptions(world) == before + 2, "another one is new although one is known"


def test_a_new_column_that_needs_a_decision_as_well_is_told(world: World) -> None:
    table = world.add_items(5)
    world.sync()
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.change_column("base_uom", "INTEGER")
    table.put(item(3, colour="blue", base_uom=None))
    result = world.sync()
    assert any("colour" in warning and "needs a decision" in warning for warning in result.warnings)
    assert result.mode is Mode.DELTA


def test_a_field_of_a_declared_source_waits_for_its_file(declared) -> None:
    served = declared.serve(3)
    declared.apply_endpoint(columns=COLUMNS)
    served.records[1]["later"] = 1
    (warning,) = declared.sync("users").warnings
    assert "later" in warning and "columns" in warning
    declared.apply_endpoint(columns=[*COLUMNS, {"name": "later", "type": "bigint"}])
    result = declared.sync("users")
    assert (result.warnings, result.ledger.updated) == ((), 1)
    assert declared.table()[2]["later"] == 1
