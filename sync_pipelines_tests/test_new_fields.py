"""A field that the catalog does not know: the run that sees it asks the source, and follows or names its wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import change_coercion, get_entity
from sync_pipelines.demo.twin import RequestInfo, TwinColumn
from sync_pipelines.discovery import follow
from sync_pipelines.discovery.discover import discover
from sync_pipelines.discovery.follow import follow_fields
from sync_pipelines.model.run import Mode
from sync_pipelines.sources.declared.endpoints import declaration_of
from sync_pipelines.sources.rest import kind as rest_kind
from sync_pipelines_tests.declared_world import COLUMNS, DeclaredWorld
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
    assert (result.mode, result.undeclared, result.table_changes) == (
        Mode.FULL,
        (),
        ("add colour character varying(20)",),
    )
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
        if (
            "apis" in asked[before:]
            and asked[-1] == "data"
            and not any(column.name == "size" for column in table.columns)
        ):
            table.add_column(TwinColumn("size", "INTEGER"), 1)
            table.put(item(4, size=2))

    before = len(world.server.requests_log)
    world.faults.on_request = add_another
    result = world.sync()
    assert result.undeclared == ()
    assert asked_for_descriptions(world) == 3, "discovery, colour, size"
    world.assert_equal_to_truth()


def test_a_field_that_the_source_does_not_declare_is_named_and_asked_for_once(world: World) -> None:
    table = world.add_items(5)
    table.put_raw(("A00003",), b'{"item_number": "A00003", "surprise": 1}')
    before = asked_for_descriptions(world)
    result = world.sync()
    assert any(
        "surprise" in warning and "does not declare" in warning for warning in result.warnings
    )
    assert world.runs()[0]["details"]["undeclared"] == ["surprise"]
    table.put_raw(("A00004",), b'{"item_number": "A00004", "surprise": 2}')
    assert any("surprise" in warning for warning in world.sync(full_refresh=True).warnings)
    assert asked_for_descriptions(world) == before + 1
    table.put_raw(("A00005",), b'{"item_number": "A00005", "surprise": 2, "another": 3}')
    assert world.sync(full_refresh=True).undeclared == ("another", "surprise")
    assert asked_for_descriptions(world) == before + 2, "another one is new although one is known"


def test_a_new_column_that_needs_a_decision_as_well_is_named(world: World) -> None:
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


def test_what_a_person_allows_of_a_column_outlives_a_run_that_follows_a_new_one(
    world: World,
) -> None:
    table = world.add_items(5)
    world.sync()
    change_coercion(world.database, world.entity(), {"base_uom": "truncate"})
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.put(item(3, colour="blue", base_uom="much longer than ten"))
    result = world.sync()
    assert "add colour character varying(20)" in result.table_changes
    assert set(result.coerced) == {"base_uom"}
    assert [column.name for column in world.entity().coerced] == ["base_uom"]


def openapi_file(
    declared: DeclaredWorld, document: dict[str, Any], **limits: Any
) -> dict[str, Any]:
    """A connector file whose endpoints `users` and `orders` come from a document."""
    declared.rest.document = document
    data = {
        **declared.declare(),
        "kind": "openapi",
        "openapi": {"path": "/openapi.json"},
        "endpoints": {},
    }
    return {**data, "limits": {**data["limits"], **limits}}


def document_of(*fields: str) -> dict[str, Any]:
    properties = {"id": {"type": "integer"}, **{name: {"type": "string"} for name in fields}}
    schema = {
        "type": "array",
        "items": {"type": "object", "required": ["id"], "properties": properties},
    }
    operation = {
        "get": {
            "responses": {
                "200": {"description": "", "content": {"application/json": {"schema": schema}}}
            }
        }
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "paths": {"/users": operation, "/orders": operation},
    }


def test_a_run_that_follows_a_field_leaves_the_other_endpoints_and_a_new_file_alone(
    declared: DeclaredWorld,
) -> None:
    records = [{"id": number, "name": "n"} for number in range(1, 4)]
    declared.serve(records=[dict(one) for one in records])
    declared.serve(path="/orders", records=[dict(one) for one in records])
    declared.apply(openapi_file(declared, document_of("name")))
    for slug in ("users", "orders"):
        declared.sync(slug)
    stale = get_connector(declared.database, "shop")
    declared.rest.document = document_of("name", "colour")
    for slug in ("users", "orders"):  # both runs began before either of them followed
        entity = get_entity(declared.database, "shop", slug)
        assert (
            follow_fields(declared.database, stale, entity, {"colour"}, declared.settings) is None
        )
    endpoints = declaration_of(get_connector(declared.database, "shop")).endpoints
    assert [
        [column.name for column in endpoints[slug].columns or ()] for slug in ("orders", "users")
    ] == [["id", "name", "colour"]] * 2


def test_a_file_that_is_applied_while_a_source_is_asked_is_not_put_back(
    declared: DeclaredWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared.serve(records=[{"id": 1, "name": "n"}])
    data = openapi_file(declared, document_of("name"))
    data["openapi"]["include"] = ["users"]
    declared.apply(data)
    stale, entity = (
        get_connector(declared.database, "shop"),
        get_entity(declared.database, "shop", "users"),
    )
    declared.rest.document = document_of("name", "colour")
    newer = {**data, "description": "what a person wrote meanwhile"}
    original, applied = rest_kind.resolve_openapi, []

    def resolve(*arguments: Any) -> Any:
        answer = original(*arguments)
        if not applied:
            applied.append(1)
            declared.apply(newer)
        return answer

    monkeypatch.setattr(rest_kind, "resolve_openapi", resolve)
    follow_fields(declared.database, stale, entity, {"colour"}, declared.settings)
    assert (
        get_connector(declared.database, "shop").declaration["description"] == newer["description"]
    )
    applied.clear()
    newer["description"] = "and once more"
    discover(declared.database, "shop", settings=declared.settings)
    assert get_connector(declared.database, "shop").declaration["description"] == "and once more"


def test_a_run_waits_for_no_discovery_that_may_wait_for_the_table_which_the_run_fills(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "WAIT_SECONDS", 0.2)
    table = world.add_items(5)
    world.sync()
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.put(item(3, colour="blue"))
    with world.database.connect() as discovering:
        uid = get_connector(world.database, "erp").uid
        discovering.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"discover:{uid}"]
        )
        assert any(
            "a discovery of the source is under way" in warning for warning in world.sync().warnings
        )
    assert world.sync(full_refresh=True).undeclared == ("colour",), "left to the discovery"
    world.discover()
    world.sync()
    world.assert_equal_to_truth()


def test_a_kind_that_is_not_known_any_more_is_a_description_that_cannot_be_read(
    declared: DeclaredWorld,
) -> None:
    declared.serve(records=[{"id": 1, "name": "n"}])
    declared.apply(openapi_file(declared, document_of("name")))
    connector = replace(get_connector(declared.database, "shop"), kind="gone")
    entity = get_entity(declared.database, "shop", "users")
    waits_for = follow_fields(declared.database, connector, entity, {"colour"}, declared.settings)
    assert waits_for is not None
    assert "cannot be read now (The kind of source 'gone' is not known" in waits_for
