"""Declared endpoints that tell what changed: by order and filter, or only by a filter."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.schedule.probing import Probing, probe_changes
from sync_pipelines_tests.declared_world import COLUMNS, user, users

PAGE = {"type": "page", "size_param": "size", "size": 10}
NEXT = {"type": "next_link", "size_param": "size", "size": 10}
SINCE = {"field": "updated_at", "param": "since"}


def start(world, *, order="ascending", paging="page", count=25, **options):
    served = world.serve(
        count, paging=paging, since=("since", "updated_at"), sort="updated_at", **options
    )
    pagination = PAGE if paging == "page" else NEXT
    world.apply_endpoint(
        pagination=pagination,
        cursor={**SINCE, "order": order},
        records="$" if paging == "page" else "$.items",
    )
    world.set("users", lookback_seconds=0)
    return served


@pytest.mark.parametrize(
    "paging, order", [("page", "ascending"), ("page", "any"), ("next_link", "any")]
)
def test_a_delta_fetches_only_what_changed(declared, paging, order):
    served = start(declared, order=order, paging=paging)
    declared.sync("users")
    served.records[4].update(name="changed", updated_at=user(100)["updated_at"])
    served.records.append(user(101))
    result = declared.sync("users")
    assert result.mode == "delta"
    assert (result.ledger.inserted, result.ledger.updated) == (1, 1)
    assert result.ledger.fetched < 10
    assert declared.table()[5]["name"] == "changed"
    assert all("since" in one.query for one in declared.requests("/users")[-1:])


def test_rows_that_move_while_an_ordered_source_is_read_are_not_lost(declared):
    served = start(declared, count=60)
    moved = []

    def move(request):
        if request.kind == "rest" and len(declared.requests("/users")) == 3 and not moved:
            moved.append(1)
            served.records[2].update(name="moved", updated_at=user(500)["updated_at"])

    declared.faults.on_request = move
    declared.sync("users")
    assert moved
    assert {key: row["name"] for key, row in declared.table().items()} == {
        one["id"]: one["name"] for one in served.records
    }


def test_a_source_that_is_declared_ordered_and_is_not_stops_the_delta(declared):
    served = start(declared)
    declared.sync("users")
    served.sort = "name"
    served.records[0].update(updated_at=user(900)["updated_at"])
    served.records += [user(901), user(902, name="a"), user(905, name="b")]
    declared.fails(CursorProtocolError, "users")


def test_a_record_without_cursor_value_comes_in_by_every_full_read_and_a_delta_counts_it(declared):
    served = start(declared, order="any", paging="next_link", count=5)
    served.sort = None
    served.records[1]["updated_at"] = served.records[3]["updated_at"] = None
    first = declared.sync("users")
    assert (first.ledger.inserted, first.ledger.quarantined) == (5, 0)
    assert any("2 records have no updated_at" in warning for warning in first.warnings)
    served.records[1]["name"] = "changed unseen"
    delta = declared.sync("users")
    assert delta.mode == "delta" and any(
        "2 records have no updated_at" in warning for warning in delta.warnings
    )
    assert declared.table()[2]["name"] == "user 2"
    assert declared.sync("users").mode == "delta", "the number is kept from run to run"
    assert declared.runs("users")[0]["details"]["without_rowversion"] == 2
    assert declared.sync("users", full_refresh=True).ledger.updated == 1
    served.records[1]["updated_at"] = served.records[3]["updated_at"] = user(50)["updated_at"]
    declared.sync("users", full_refresh=True)
    assert not any("have no updated_at" in warning for warning in declared.sync("users").warnings)


def test_a_cursor_that_nothing_can_order_asks_for_a_codec(declared):
    served = start(declared, order="any", paging="next_link", count=3)
    served.sort = served.since = None
    for place, record in enumerate(served.records):
        record["version"] = "x" * (place + 1)
    columns = [*COLUMNS, {"name": "version", "type": "text"}]
    declared.apply_endpoint(
        records="$.items",
        pagination=NEXT,
        columns=columns,
        cursor={"field": "version", "param": "since"},
    )
    declared.sync("users")
    assert declared.entity("users").position.cursor is None, (
        "everything is read every time, and nothing is guessed"
    )


def test_a_walk_by_filter_finds_deletions_only_after_two_full_reads(declared):
    served = start(declared, order="any", paging="next_link")
    declared.sync("users")
    del served.records[0]
    assert declared.sync("users").ledger.deleted == 0
    assert declared.sync("users", full_refresh=True).ledger.deleted == 0
    assert declared.sync("users", full_refresh=True).ledger.deleted == 1


def test_numbers_and_texts_arrive_exactly(declared):
    served = declared.serve(0, path="/exact")
    from decimal import Decimal

    values = [
        Decimal("12345678901234.567"),
        Decimal("0.1"),
        Decimal("1E-20"),
        Decimal("99999999999999999999999999.99"),
    ]
    served.records[:] = [
        {"id": place, "name": 'ü "\\ \u2028', "amount": value} for place, value in enumerate(values)
    ]
    declared.apply_endpoint(path="/exact")
    declared.sync("users")
    assert [row["amount"] for _, row in sorted(declared.table().items())] == values
    assert declared.table()[0]["name"] == 'ü "\\ \u2028'


def test_bad_records_go_to_quarantine_with_everything_the_source_sent(declared):
    served = declared.serve(3)
    served.records[1].update(amount="much", colour="red")
    served.records[2] = "no object"
    declared.apply_endpoint()
    result = declared.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined) == (1, 2)
    record = next(
        bytes(one["record"])
        for one in declared.sql_dicts(
            "SELECT record FROM bridge.quarantine WHERE column_name = 'amount'"
        )
    )
    assert b'"colour":"red"' in record and b'"much"' in record
    assert result.undeclared == ("colour",)


def test_a_nested_field_that_turns_into_something_else_is_set_aside(declared):
    served = declared.serve(0, path="/nested")
    served.records[:] = [
        {"id": 1, "name": {"first": "Ada"}},
        {"id": 2, "name": "Boris"},
        {"id": 3, "name": None},
    ]
    columns = [
        {"name": "id", "type": "bigint", "key": True},
        {"name": "first", "type": "text", "from": "name.first"},
    ]
    declared.apply_endpoint(path="/nested", columns=columns)
    result = declared.sync("users")
    assert result.ledger.quarantined == 1
    assert declared.quarantine("users")[0]["reason"] == "The field name is no object."
    assert {key: row["first"] for key, row in declared.table().items()} == {1: "Ada", 3: None}


def test_a_renamed_field_is_reported(declared):
    served = declared.serve(3)
    declared.apply_endpoint()
    declared.sync("users")
    for record in served.records:
        record["label"] = record.pop("name")
    assert any(
        "no record had the fields of name" in warning for warning in declared.sync("users").warnings
    )


def test_a_stray_field_does_not_take_a_columns_place(declared):
    served = declared.serve(0, path="/mapped")
    served.records[:] = [{"id": 1, "full_name": "right", "name": "wrong"}]
    declared.apply_endpoint(path="/mapped", mapping={"full_name": "name"}, columns=COLUMNS[:2])
    assert declared.sync("users").undeclared == ("source.name",)
    assert declared.table()[1]["name"] == "right"


def test_everything_is_equal_after_an_audit(declared):
    from sync_pipelines.runs.audit import audit_entity

    declared.serve(25, paging="next_link")
    declared.apply_endpoint(records="$.items", pagination=NEXT)
    declared.sync("users")
    report = audit_entity(declared.database, "shop", "users", settings=declared.settings)
    assert (report.compared, report.equal, report.extra) == (25, 25, 0)
    assert users(25)


def probe(world) -> Probing:
    settings = world.settings.model_copy(update={"probe_interval_seconds": 0.001})
    return probe_changes(
        world.database, get_connector(world.database, "shop"), settings, by_cron=False
    )


def test_a_sorted_source_is_probed_by_one_request_for_one_record(declared):
    served = start(declared)
    declared.set("users", sync_interval_seconds=86_400)
    declared.sync("users")
    asked = len(declared.requests("/users"))
    found = probe(declared)
    assert (found.probed, found.news) == (1, {})
    (request,) = declared.requests("/users")[asked:]
    assert (request.query["size"], request.query["since"]) == ("1", user(25)["updated_at"])
    served.records[3].update(name="new", updated_at=user(77)["updated_at"])
    assert list(probe(declared).news.values()) == [user(77)["updated_at"]]
    declared.sync("users")
    assert probe(declared).news == {}


def test_a_source_in_another_order_is_not_probed(declared):
    start(declared, order="any", paging="next_link")
    declared.set("users", sync_interval_seconds=86_400)
    declared.sync("users")
    asked = len(declared.requests("/users"))
    assert probe(declared).probed == 0
    assert len(declared.requests("/users")) == asked
