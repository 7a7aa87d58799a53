"""Applying a connector file: a plan first, then the change, and nothing the second time."""

from __future__ import annotations

import json

import pytest
import yaml

from sync_pipelines.catalog.connectors import add_connector, get_connector
from sync_pipelines.cli.commands.declared import export_file
from sync_pipelines.errors import EntityDefinitionError, SettingsError, SourceContractError
from sync_pipelines.model.declaration import Endpoint
from sync_pipelines.sources.declared.infer import infer_columns, infer_type
from sync_pipelines.sources.rest.openapi import plan_endpoints
from sync_pipelines_tests.declared_world import COLUMNS


def test_a_plan_changes_nothing(declared):
    declared.serve(3)
    plan = declared.plan(declared.declare())
    assert (plan.is_new, plan.added) == (True, ["users"])
    assert declared.sql("SELECT count(*) FROM bridge.connectors") == [(0,)]
    assert declared.requests() == [], "declared columns need no question to the source"


def test_added_changed_and_removed_entities_are_planned_and_done(declared):
    declared.serve(3)
    declared.apply(declared.declare())
    declared.sync("users")
    data = declared.declare(columns=[*COLUMNS, {"name": "colour", "type": "text"}])
    data["endpoints"]["others"] = {"path": "/others", "columns": COLUMNS}
    plan = declared.plan(data)
    assert (plan.added, list(plan.changed), plan.removed) == (["others"], ["users"], [])
    declared.apply(data)
    assert "colour" in [column.name for column in declared.entity("users").columns]
    del data["endpoints"]["users"]
    assert declared.plan(data).removed == ["users"]
    declared.apply(data)
    assert declared.entity("users").status == "vanished"
    assert len(declared.table("users")) == 3, "a table is never dropped"
    assert declared.plan(data).is_empty


def test_a_breaking_change_waits_for_a_decision(declared):
    declared.serve(3)
    declared.apply(declared.declare())
    data = declared.declare(columns=[COLUMNS[0], {"name": "name", "type": "bigint"}])
    assert list(declared.plan(data).breaking) == ["users"]
    assert list(declared.apply(data).stopped) == ["users"]


def test_connector_add_does_not_take_over_a_declared_source(declared):
    declared.serve(3)
    declared.apply(declared.declare())
    with pytest.raises(SettingsError, match="of kind rest already"):
        add_connector(declared.database, "shop", declared.server.url, "env:TWIN_TOKEN")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Shop"},
        {"base_url": "ftp://x"},
        {"base_url": "http://u:canary@x"},
        {"schema": "other"},
    ],
)
def test_a_file_that_cannot_be_a_connector_is_refused_before_anything_is_stored(declared, changes):
    declared.serve(3)
    declared.apply(declared.declare())
    before = declared.sql("SELECT * FROM bridge.connectors")
    with pytest.raises(SettingsError) as caught:
        declared.apply({**declared.declare(), **changes})
    assert "canary" not in str(caught.value)
    assert declared.sql("SELECT * FROM bridge.connectors") == before


def test_an_apismith_connector_is_not_taken_over(declared):
    add_connector(declared.database, "shop", declared.server.url, "env:TWIN_TOKEN")
    with pytest.raises(SettingsError, match="APISmith connector already"):
        declared.plan(declared.declare())


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"key": ["nope"]}, "'nope'"),
        ({"cursor": {"field": "nope", "param": "since"}}, "cursor.field"),
        ({"records": "$..users"}, "JSONPath"),
        ({"records": "$.users[?(@.a>1)]"}, "JSONPath"),
        ({"columns": [{"name": "id", "type": "bigint"}]}, "business key"),
        ({"columns": [{"name": "id", "type": "bigin", "key": True}]}, "'bigin'"),
    ],
)
def test_an_endpoint_whose_parts_do_not_fit_is_left_out_with_its_reason(declared, changes, said):
    plan = declared.plan(declared.declare(**changes))
    assert said in plan.invalid["users"]


def test_columns_are_inferred_shown_and_then_fixed(declared):
    served = declared.serve(3)
    data = declared.declare(columns=None, key=["id"])
    plan = declared.plan(data)
    assert plan.inferred == ["users"]
    assert [(column.name, column.data_type) for column in plan.entities["users"].columns] == [
        ("id", "bigint"), ("name", "text"), ("amount", "numeric"), ("updated_at", "timestamptz"),
    ]  # fmt: skip
    declared.apply(data)
    declared.sync("users")
    for record in served.records:
        record["later"] = 1
    assert declared.plan(data).is_empty, "the sample is not taken again"
    assert declared.sync("users").undeclared == ("later",)
    assert list(declared.plan(data, infer_again=True).changed) == ["users"]


@pytest.mark.parametrize(
    "values, expected",
    [
        (["1", "2"], "bigint"),
        (["9223372036854775807"], "bigint"),
        (["9223372036854775808"], "numeric"),
        (["1", "2.5"], "numeric"),
        (["1e400"], "numeric"),
        (["1e99999999999999999999"], "jsonb"),
        (["true", "false"], "boolean"),
        (["true", "1"], "jsonb"),
        (["1", '"a"'], "jsonb"),
        (['"a"', "null"], "text"),
        (["null"], "text"),
        (["{}"], "jsonb"),
        (["[]"], "jsonb"),
        (['"2024-06-30"'], "date"),
        (['"2024-06-31"'], "text"),
        (['"2024-06-30T10:00:00Z"', '"2024-06-30T10:00:00.123+02:00"'], "timestamptz"),
        (['"2024-06-30T10:00:00"'], "timestamp"),
        (['"2024-06-30T10:00:00Z"', '"2024-06-30T10:00:00"'], "text"),
        (['"2024-06-30T10:00:00.1234567Z"'], "text"),
        (['"00000000-0000-4000-8000-000000000001"'], "uuid"),
        (['"007"'], "text"),
    ],
)
def test_an_inferred_type_keeps_every_value_of_the_sample(values, expected):
    found = infer_type([value.encode() for value in values])
    assert found == expected or (expected, found) == ("text", "timestamp")


def test_nested_records_are_flattened_where_asked():
    body = json.dumps(
        [
            {"id": 1, "a": {"b": {"c": 1}, "d.e": "x"}, "n": None},
            {"id": 2, "a": None, "n": {"x": 1}},
        ]
    ).encode()
    flat = infer_columns(Endpoint(path="/x", key=["id"], flatten=True), body, 10_000)
    assert [column.name for column in flat] == ["id", "a_b_c", "a_d.e", "n_x"]
    assert flat[2].source == ["a", "d.e"]
    nested = infer_columns(Endpoint(path="/x", key=["id"]), body, 10_000)
    assert [(column.name, column.type) for column in nested] == [
        ("id", "bigint"),
        ("a", "jsonb"),
        ("n", "jsonb"),
    ]


def test_nothing_is_inferred_from_no_record():
    with pytest.raises(EntityDefinitionError, match="no record"):
        infer_columns(Endpoint(path="/x", key=["id"]), b"[]", 10_000)


DOCUMENT = {
    "openapi": "3.0.3",
    "paths": {
        "/users": {"get": {
            "summary": "All users",
            "parameters": [{"name": "page", "in": "query"}, {"name": "size", "in": "query"}],
            "responses": {"200": {"content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/User"}}}}}},
        }},
        "/users/{id}": {"get": {"responses": {"200": {"description": "one"}}}},
        "/orders": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "properties": {
            "orders": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}, "version": {"type": "integer"}}}}}}}}},
        "/foreign": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "http://evil.example.com/x"}}}}}}},
        "/circle": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Circle"}}}}}}},
        "/keyless": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "array", "items": {
            "type": "object", "properties": {"text": {"type": "string"}}}}}}}}}},
    },
    "components": {"schemas": {
        "User": {"type": "object", "required": ["id", "name"], "properties": {
            "id": {"type": "integer", "format": "int64"}, "name": {"type": "string", "maxLength": 50},
            "amount": {"type": "number"}, "updated_at": {"type": "string", "format": "date-time", "nullable": True}}},
        "Order": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"note": {"type": ["string", "null"]}}}]},
        "Base": {"type": "object", "required": ["order_number"], "properties": {
            "order_number": {"type": "string", "format": "uuid"}, "lines": {"type": "array", "items": {"type": "object"}}}},
        "Circle": {"$ref": "#/components/schemas/Circle"},
    }},
}  # fmt: skip


def openapi(world, **endpoints):
    data = world.declare()
    return {**data, "kind": "openapi", "openapi": {"path": "/openapi.json"}, "endpoints": endpoints}


def test_an_openapi_document_becomes_entities_with_exact_types(declared):
    declared.serve(25, paging="page")
    declared.rest.document = DOCUMENT
    plan = declared.plan(openapi(declared))
    assert plan.added == ["users", "orders"]
    assert [
        (c.name, c.type.sql, c.is_nullable, c.is_business_key)
        for c in plan.entities["users"].columns
    ] == [
        ("id", "bigint", False, True),
        ("name", "character varying(50)", False, False),
        ("amount", "numeric", True, False),
        ("updated_at", "timestamp with time zone", True, False),
    ]
    assert [(c.name, c.type.sql) for c in plan.entities["orders"].columns] == [
        ("order_number", "uuid"), ("lines", "jsonb"), ("note", "text"),
    ]  # fmt: skip
    reasons = {label: plan.invalid[label] for label in plan.invalid}
    assert "about one record" in reasons["GET /users/{id}"]
    assert "leads out of the document" in reasons["GET /foreign"]
    assert "circles" in reasons["GET /circle"]
    assert "declare its `key`" in reasons["GET /keyless"]
    declared.apply(openapi(declared))
    assert declared.sync("users").ledger.inserted == 25
    assert declared.plan(openapi(declared)).is_empty
    assert all("evil" not in one.path for one in declared.requests())


def test_a_file_completes_what_an_openapi_document_leaves_open(declared):
    declared.rest.document = DOCUMENT
    plan = declared.plan(openapi(declared, keyless={"key": ["text"]}))
    assert "keyless" in plan.added


def test_a_discovery_follows_a_changed_openapi_document(declared):
    declared.serve(3, paging="page")
    declared.rest.document = json.loads(json.dumps(DOCUMENT))
    declared.apply(openapi(declared))
    declared.rest.document["components"]["schemas"]["User"]["properties"]["colour"] = {
        "type": "string"
    }
    del declared.rest.document["paths"]["/orders"]
    report = declared.discover()
    assert list(report.changed) == ["users"]
    assert report.vanished == ["orders"]
    for record in declared.rest.endpoints["/users"].records:
        record["colour"] = "red"
    assert declared.sync("users").undeclared == ()
    assert declared.table()[1]["colour"] == "red"


def test_an_entity_whose_pages_are_not_recognised_any_more_gives_that_reason_and_not_that_it_is_gone(
    declared,
):
    declared.rest.document = json.loads(json.dumps(DOCUMENT))
    declared.apply(openapi(declared))
    declared.rest.document["paths"]["/orders"]["get"]["parameters"] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    ]
    assert declared.discover().vanished == ["orders"]
    reason = declared.entity("orders").status_reason
    assert "it is paged (" in reason and "endpoints: " in reason
    assert "does not list" not in reason
    declared.rest.document["paths"]["/users"]["get"]["parameters"] = [
        {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    ]
    with pytest.raises(SourceContractError, match=r"users is left out: it is paged \("):
        declared.discover()
    assert declared.entity("users").status == "active"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"swagger": "2.0"},
        [],
        {"openapi": "3.1.0"},
        {"openapi": "3.0.0", "paths": {"/x": {"get": {"responses": 3}}}},
    ],
)
def test_a_document_that_offers_nothing_is_an_error_and_stores_nothing(declared, document):
    from sync_pipelines.errors import ConfigurationError

    declared.rest.document = document
    with pytest.raises(ConfigurationError):
        declared.apply(openapi(declared))
    assert declared.sql("SELECT count(*) FROM bridge.connectors") == [(0,)]


def test_secrets_are_in_the_catalog_as_references_only(declared, monkeypatch):
    monkeypatch.setenv("TWIN_TOKEN", declared.server.token)
    declared.serve(3)
    declared.apply(declared.declare())
    declared.sync("users")
    connector = get_connector(declared.database, "shop")
    assert declared.server.token not in str(connector)
    assert connector.auth_token == "env:TWIN_TOKEN"


def records_of(schema, **schemas):
    answer = {
        "200": {"content": {"application/json": {"schema": {"type": "array", "items": schema}}}}
    }
    return {
        "openapi": "3.1.0",
        "paths": {"/users": {"get": {"responses": answer}}},
        "components": {"schemas": schemas},
    }


def test_an_openapi_schema_of_itself_or_of_twos_of_twos_does_not_hang():
    own = {"anyOf": [{"$ref": "#/components/schemas/Own"}, {"type": "null"}]}
    record = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "own": {"$ref": "#/components/schemas/Own"}},
    }
    assert "not readable" in plan_endpoints(records_of(record, Own=own), {}).skipped["GET /users"]
    twos = {f"A{n}": {"allOf": [{"$ref": f"#/components/schemas/A{n + 1}"}] * 2} for n in range(45)}
    twos["A45"] = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "any": True},
    }
    found = plan_endpoints(records_of({"$ref": "#/components/schemas/A0"}, **twos), {}).endpoints[
        "users"
    ]
    assert [(one["name"], one["type"]) for one in found["columns"]] == [
        ("id", "bigint"),
        ("any", "jsonb"),
    ]


def test_an_exported_openapi_connector_applies_and_keeps_its_prose(declared):
    declared.serve(3, paging="page")
    declared.rest.document = json.loads(json.dumps(DOCUMENT))
    declared.rest.document["paths"]["/users"]["get"]["description"] = (
        "Basic data.\x00 Bearer authentication is needed."
    )
    declared.apply(openapi(declared, orders={"key": ["order_number"]}))
    data = yaml.safe_load(export_file(get_connector(declared.database, "shop")))
    assert (
        data["endpoints"]["users"]["description"] == "Basic data. Bearer authentication is needed."
    )
    plan = declared.plan(data)
    assert plan.unchanged == ["users", "orders"] and not plan.changed and not plan.breaking
    declared.apply(data)
    assert declared.plan(data).is_empty
    assert declared.sync("users").ledger.inserted == 3


def test_chosen_fields_are_the_only_ones_that_are_inferred(declared):
    declared.serve(5)
    data = declared.declare(columns=None, key=["id"], fields=["name"], fields_param="fields")
    declared.apply(data)
    assert "fields" not in declared.requests("/users")[-1].query, "the sample shows what there is"
    declared.sync("users")
    assert declared.requests("/users")[-1].query["fields"] == "id,name"
    assert set(declared.table()[1]) == {"id", "name"}
    assert declared.plan(data).is_empty
    assert (
        "amount"
        in declared.plan(declared.declare(columns=None, key=["id"], fields=["amount"])).changed[
            "users"
        ]
    )


def test_a_mapping_into_an_object_makes_a_column_beside_it(declared):
    declared.serve(0, records=[{"id": 1, "address": {"city": "Aachen", "zip": 1}}])
    declared.apply_endpoint(columns=None, key=["id"], mapping={"address.city": "city"})
    assert declared.sync("users").undeclared == ()
    assert declared.table()[1] == {
        "id": 1,
        "address": {"city": "Aachen", "zip": 1},
        "city": "Aachen",
    }


def test_a_sample_is_not_larger_than_the_source_allows(declared):
    declared.serve(5)
    declared.apply_endpoint(
        columns=None, key=["id"], pagination={"type": "page", "size_param": "size", "max_size": 20}
    )
    assert declared.requests("/users")[0].query["size"] == "20"


def test_a_list_among_the_parameters_is_joined_and_a_secret_is_refused(declared):
    declared.serve(5)
    declared.apply_endpoint(params={"fields": ["id", "name"], "active": True})
    declared.sync("users")
    assert declared.requests("/users")[0].query == {"fields": "id,name", "active": "true"}
    with pytest.raises(SettingsError, match="by `auth` only"):
        declared.apply_endpoint(params={"key": "env:TWIN_TOKEN"})


def test_an_endpoint_that_is_named_again_comes_back(declared):
    declared.serve(3)
    one = declared.declare()
    both = {**one, "endpoints": {**one["endpoints"], "more": one["endpoints"]["users"]}}
    for data in (both, one):
        declared.apply(data)
    assert declared.plan(both).changed == {"more": "it comes back"}
    declared.apply(both)
    assert declared.sync("more").ledger.inserted == 3
    assert declared.plan(both).is_empty


def test_an_endpoint_that_cannot_be_used_any_more_is_reported_as_removed(declared):
    declared.serve(3)
    data = declared.declare()
    data["endpoints"]["more"] = data["endpoints"]["users"]
    declared.apply(data)
    data["endpoints"]["more"] = {**data["endpoints"]["users"], "records": "$..x"}
    plan = declared.plan(data)
    assert plan.removed == ["more"] and "not supported" in plan.invalid["more"]


def test_a_field_without_a_name_asks_for_columns():
    with pytest.raises(EntityDefinitionError, match="declare `columns`"):
        infer_columns(Endpoint(path="/x", key=["id"]), b'[{"id": 1, "": 2}]', 10_000)


def test_columns_are_not_inferred_from_what_was_left_out_of_a_record():
    with pytest.raises(EntityDefinitionError, match="more than the 1000 bytes of MAX_RECORD_BYTES"):
        infer_columns(
            Endpoint(path="/x", key=["id"]),
            json.dumps([{"id": 1, "a": ["x" * 2000]}]).encode(),
            1000,
        )
