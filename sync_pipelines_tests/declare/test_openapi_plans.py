"""An OpenAPI document becomes entities, and a file completes what it leaves open."""

from __future__ import annotations

import json

import pytest
import yaml

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.cli.commands.declared import export_file
from sync_pipelines.errors import SourceContractError
from sync_pipelines.sources.rest.openapi import plan_endpoints


def listing(schema, **more):
    """An operation that answers 200 with JSON of the schema."""
    answer = {"content": {"application/json": {"schema": schema}}}
    return {"get": {"responses": {"200": answer}, **more}}


def schema(name):
    return {"$ref": f"#/components/schemas/{name}"}


USER = {
    "id": {"type": "integer", "format": "int64"},
    "name": {"type": "string", "maxLength": 50},
    "amount": {"type": "number"},
    "updated_at": {"type": "string", "format": "date-time", "nullable": True},
}


ORDER_BASE = {
    "order_number": {"type": "string", "format": "uuid"},
    "lines": {"type": "array", "items": {"type": "object"}},
}


ORDERS = {
    "orders": {"type": "array", "items": schema("Order")},
    "version": {"type": "integer"},
}


KEYLESS = {"type": "object", "properties": {"text": {"type": "string"}}}


NOTE = {"properties": {"note": {"type": ["string", "null"]}}}


PAGES = [{"name": "page", "in": "query"}, {"name": "size", "in": "query"}]


DOCUMENT = {
    "openapi": "3.0.3",
    "paths": {
        "/users": listing(
            {"type": "array", "items": schema("User")}, summary="All users", parameters=PAGES
        ),
        "/users/{id}": {"get": {"responses": {"200": {"description": "one"}}}},
        "/orders": listing({"type": "object", "properties": ORDERS}),
        "/foreign": listing({"$ref": "http://evil.example.com/x"}),
        "/circle": listing(schema("Circle")),
        "/keyless": listing({"type": "array", "items": KEYLESS}),
    },
    "components": {
        "schemas": {
            "User": {"type": "object", "required": ["id", "name"], "properties": USER},
            "Order": {"allOf": [schema("Base"), NOTE]},
            "Base": {"type": "object", "required": ["order_number"], "properties": ORDER_BASE},
            "Circle": schema("Circle"),
        }
    },
}


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
        ("order_number", "uuid"),
        ("lines", "jsonb"),
        ("note", "text"),
    ]
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
