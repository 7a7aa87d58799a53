"""A field that a declared source renames or leaves out: the column is not emptied without a word."""

from __future__ import annotations

from typing import Any

from sync_pipelines.errors import SourceContractError
from sync_pipelines_tests.declared_world import DeclaredWorld, user
from sync_pipelines_tests.world import World, item

CURSOR = {"field": "updated_at", "param": "since"}


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in record.items() if other != name}


def test_a_full_read_without_a_field_that_the_rows_have_stops_until_a_person_says_that_it_is_gone(
    declared: DeclaredWorld,
) -> None:
    served = declared.serve(20)
    declared.apply_endpoint()
    declared.sync("users")
    served.records[:] = [
        {"title": record["name"], **without(record, "name")} for record in served.records
    ]
    error = declared.fails(SourceContractError, "users")
    assert (
        "None of 20 records has a field that the table has values of: name (20 values)"
        in error.what
    )
    assert "sync-pipelines sync shop/users --full-refresh --accept-vanished" in str(
        error.next_command
    )
    declared.apply_endpoint(mapping={"title": "name"})
    assert declared.sync("users").ledger.unchanged == 20
    served.records[:] = [without(record, "title") for record in served.records]
    declared.fails(SourceContractError, "users")
    assert declared.sync("users", full_refresh=True, accept_vanished=True).ledger.updated == 20
    assert declared.sync("users").ledger.unchanged == 20


def test_a_delta_without_a_field_that_its_rows_have_stops_and_one_of_few_records_does_not(
    declared: DeclaredWorld,
) -> None:
    served = declared.serve(20, since=("since", "updated_at"))
    declared.apply_endpoint(cursor=CURSOR)
    declared.sync("users")
    for number in range(1, 6):
        served.records[number - 1] = without(
            user(number, updated_at=f"2024-07-01T00:00:{number:02d}Z"), "name"
        )
    result = declared.sync("users")
    assert (
        result.ledger.updated,
        [row["name"] for row in declared.table().values()].count(None),
    ) == (5, 5), "null may be left out"
    for number in range(1, 17):
        served.records[number - 1] = without(
            user(number, updated_at=f"2024-07-02T00:00:{number:02d}Z"), "name"
        )
    assert "name (11 values)" in declared.fails(SourceContractError, "users").what
    served.records[0]["name"] = None
    assert declared.sync("users").ledger.updated == 16, "a null that is sent is a null"


def test_an_api_that_leaves_a_field_out_which_it_still_describes_stops_too(world: World) -> None:
    table = world.add_items(20)
    world.sync()
    for number in range(20):
        table.put_raw((f"A{number:05d}",), b'{"item_number": "A%05d", "base_uom": "PCS"}' % number)
    error = world.fails(SourceContractError)
    assert (
        "item_description (20 values)" in error.what and "weight_per_unit (20 values)" in error.what
    )
    table.put_many([item(number, item_description=None) for number in range(20)])
    assert world.sync().ledger.updated == 20, "nulls that are sent are nulls"
