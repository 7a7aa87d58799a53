"""One column that a person lets be cut or left out need not stop a table; every row tells what was sent instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import change_coercion
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.run import Mode, RunStatus
from sync_pipelines.sources.descriptions import parse_api
from sync_pipelines_tests.declared_world import DeclaredWorld, user
from sync_pipelines_tests.test_gate_route import put_gate
from sync_pipelines_tests.world import World, item

FINE = "2024-05-01T12:34:5{}.1234567Z"


def fine_users(count: int) -> list[dict[str, Any]]:
    """Users as .NET writes their moments: with seven digits."""
    return [user(number, updated_at=FINE.format(number % 10)) for number in range(1, count + 1)]


def test_dotnets_seventh_digit_rejects_everything_until_a_person_lets_it_be_cut(
    declared: DeclaredWorld,
) -> None:
    declared.serve(records=fine_users(12))
    declared.apply_endpoint()
    assert declared.sync("users", status=RunStatus.REJECTED).ledger.quarantined == 12
    report = declared.apply_endpoint(coerce={"updated_at": "truncate"})
    assert report.changed == {"users": "column updated_at is coerced: truncate"}
    result = declared.sync("users")
    assert (result.ledger.inserted, result.coerced) == (12, {"updated_at": 12})
    assert declared.quarantine("users") == []
    row = declared.rows("users")[(3,)]
    assert row["updated_at"].isoformat() == "2024-05-01T12:34:53.123456+00:00"
    assert json.loads(row["_bridge_coerced"]) == {"updated_at": FINE.format(3)}
    assert declared.runs("users")[0]["details"]["coerced"] == {"updated_at": 12}
    assert declared.sync("users").ledger.unchanged == 12, "the same cut values are no change"


def test_a_table_without_coerce_has_no_column_for_it(declared: DeclaredWorld) -> None:
    declared.serve(3)
    declared.apply_endpoint()
    declared.sync("users")
    assert "_bridge_coerced" not in declared.rows("users")[(1,)]


def test_one_column_of_an_openapi_document_is_changed_without_restating_the_others(
    declared: DeclaredWorld,
) -> None:
    properties = {
        "id": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "amount": {"type": "integer"},
    }
    schema = {
        "type": "array",
        "items": {"type": "object", "required": ["id"], "properties": properties},
    }
    answer = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    document = {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "paths": {"/users": {"get": {"responses": answer}}},
    }
    declared.rest.document = document
    declared.serve(
        records=[
            {"id": n, "at": FINE.format(n), "amount": "many" if n == 2 else n} for n in range(1, 4)
        ]
    )
    coercions = {"at": "truncate", "amount": {"type": "smallint", "lenient": True}}
    data = {
        **declared.declare(),
        "kind": "openapi",
        "openapi": {"path": "/openapi.json"},
        "endpoints": {"users": {"coerce": coercions}},
    }
    declared.apply(data)
    assert declared.plan(data).is_empty
    result = declared.sync("users")
    assert (result.ledger.inserted, result.coerced) == (3, {"at": 3, "amount": 1})
    assert {column.name: column.type.sql for column in declared.entity("users").columns}[
        "amount"
    ] == "smallint"
    assert json.loads(declared.rows("users")[(2,)]["_bridge_coerced"]) == {
        "at": FINE.format(2),
        "amount": "many",
    }


def test_a_business_key_is_not_cut(declared: DeclaredWorld) -> None:
    declared.serve(3)
    plan = declared.plan(declared.declare(coerce={"id": "truncate"}))
    assert "business key" in plan.invalid["users"]
    unknown = declared.plan(declared.declare(coerce={"nothing": "lenient"}))
    assert "nothing" in unknown.invalid["users"]


def test_what_was_sent_for_a_masked_column_is_kept_nowhere(world: World) -> None:
    table = world.add_items(0)
    change_coercion(world.database, world.entity(), {"base_uom": "truncate"})
    put_gate(world, "masks: {base_uom: redact}\n")
    table.put(item(1, base_uom="a secret that is too long"))
    assert world.sync().coerced == {"base_uom": 1}
    assert json.loads(world.rows()[("A00001",)]["_bridge_coerced"]) == {"base_uom": "***"}
    assert "secret that" not in str(world.sql("SELECT t::text FROM erp.items t"))


def test_a_column_of_a_source_that_describes_itself_is_coerced_by_entity_set(
    any_world: World,
) -> None:
    table = any_world.add_items(12)
    table.put(item(20, base_uom="far too long for ten", weight_per_unit=1.23456))
    assert any_world.sync().ledger.quarantined == 1
    entity = change_coercion(
        any_world.database,
        any_world.entity(),
        {"base_uom": "truncate", "weight_per_unit": "truncate"},
    )
    assert [column.name for column in entity.coerced] == ["base_uom", "weight_per_unit"]
    any_world.discover()
    assert len(any_world.entity().coerced) == 2, "a discovery keeps what a person allows"
    result = any_world.sync()
    assert (result.mode, result.ledger.inserted, result.ledger.unchanged) == (Mode.FULL, 1, 12)
    row = any_world.rows()[("A00020",)]
    assert row["base_uom"] == "far too lo"
    assert json.loads(row["_bridge_coerced"]) == {
        "base_uom": "far too long for ten",
        "weight_per_unit": 1.23456,
    }
    assert any_world.quarantine() == []
    table.put(item(20, base_uom="KG"))
    any_world.sync()
    assert any_world.rows()[("A00020",)]["_bridge_coerced"] is None
    any_world.assert_equal_to_truth()


def test_a_source_cannot_allow_its_own_columns_to_be_cut(world: World) -> None:
    columns = [
        {"name": "id", "data_type": "BIGINT", "is_business_key": True},
        {"name": "at", "data_type": "DATE", "declared_coercion": "truncate"},
    ]
    entity = parse_api(
        {"slug": "own", "columns": columns}, get_connector(world.database, "erp"), world.settings
    )
    assert entity.coerced == ()


@pytest.mark.parametrize("words", [{"item_number": "truncate"}, {"nothing": "truncate"}])
def test_entity_set_refuses_a_key_and_an_unknown_column(
    world: World, words: dict[str, str]
) -> None:
    world.add_items(1)
    with pytest.raises(SettingsError):
        change_coercion(world.database, world.entity(), words)
