"""Applying a connector file: a plan first, then the change, and nothing the second time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sync_pipelines.catalog.connectors import add_connector, get_connector
from sync_pipelines.declare.connector_file import validate
from sync_pipelines.declare.plan import as_connector
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.declare.usage import plan_usage
from sync_pipelines.errors import EntityDefinitionError, SettingsError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.sources.declared.infer import infer_columns, infer_type
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
        ("id", "bigint"),
        ("name", "text"),
        ("amount", "numeric"),
        ("updated_at", "timestamptz"),
    ]
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


def test_secrets_are_in_the_catalog_as_references_only(declared, monkeypatch):
    monkeypatch.setenv("TWIN_TOKEN", declared.server.token)
    declared.serve(3)
    declared.apply(declared.declare())
    declared.sync("users")
    connector = get_connector(declared.database, "shop")
    assert declared.server.token not in str(connector)
    assert connector.auth_token == "env:TWIN_TOKEN"


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


def test_a_damaged_pair_of_what_was_agreed_agrees_to_nothing(declared):
    declared.serve(3)
    data = declared.declare()
    declared.apply(data)
    declaration = validate(data, SourceFile("test.yaml", data))
    stored = get_connector(declared.database, "shop")
    wanted = as_connector(declaration)
    assert plan_usage(declaration, wanted, stored).is_agreed
    (pair,) = stored.agreed["secrets"]
    for damaged in ([*pair, "more"], pair[:1], [], "env", 7, [[], {}]):
        agreed = {**stored.agreed, "secrets": [damaged]}
        assert not plan_usage(declaration, wanted, replace(stored, agreed=agreed)).is_agreed
        agreed = {**stored.agreed, "secrets": [damaged, pair]}
        assert plan_usage(declaration, wanted, replace(stored, agreed=agreed)).is_agreed
