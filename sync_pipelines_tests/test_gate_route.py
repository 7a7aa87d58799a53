"""Verdicts on the whole route: pass, review and reject, a ledger that balances, and what persons do with rejects."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from sync_pipelines.catalog.quarantine import (
    expire_records,
    get_quarantined,
    list_log,
    list_quarantine,
)
from sync_pipelines.errors import GateDefinitionError, SettingsError
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.release import fix_record, release_records, waive_record
from sync_pipelines.runs.reviews import accept_review, list_reviews
from sync_pipelines_tests.world import World, item

RULES = """
rules:
  - {name: heavy_enough, column: weight_per_unit, check: ge, arguments: {min_value: 1}}
  - {name: known_unit, column: base_uom, check: isin, arguments: {allowed_values: [PCS, KG]}, severity: review}
"""
WHO = {"author": "ada", "reason": "seen by hand"}


def put_gate(world: World, text: str = RULES, slug: str = "items") -> None:
    path = world.settings.gates / "erp" / f"{slug}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def flags(world: World) -> dict[str, str | None]:
    return {key[0]: row["_bridge_review"] for key, row in world.rows().items()}


def only_uid(world: World) -> UUID:
    (row,) = world.quarantine()
    return row["uid"]


def test_an_entity_without_a_gate_has_no_column_of_ours_more_and_no_counts(
    any_world: World,
) -> None:
    any_world.add_items(3)
    result = any_world.sync()
    assert result.gate == {}
    assert "_bridge_review" not in next(iter(any_world.rows().values()))


@pytest.mark.parametrize("loaded", [True, False])
def test_pass_goes_to_the_table_review_is_flagged_and_reject_goes_to_quarantine(
    any_world: World, loaded: bool
) -> None:
    table = any_world.add_items(0)
    if loaded:
        table.put(item(0, weight_per_unit=5))
        any_world.sync()
    put_gate(any_world)
    table.put(item(1, weight_per_unit=2))
    table.put(item(2, weight_per_unit=2, base_uom="BOX"))
    table.put(item(3, weight_per_unit=0.5, base_uom="BOX"))
    result = any_world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (2, 1)
    assert (result.gate["reviewed"], result.gate["rejected"], result.gate["failed"]) == (
        1,
        1,
        {"heavy_enough": 1, "known_unit": 2},
    )
    assert any_world.runs()[0]["details"]["gate"] == result.gate
    why = "Rule known_unit: base_uom: isin(allowed_values=['PCS', 'KG'])."
    assert {key: flag for key, flag in flags(any_world).items() if key != "A00000"} == {
        "A00001": None,
        "A00002": why,
    }
    (review,) = list_reviews(any_world.database, "erp", "items")
    assert (review["business_key"], review["reason"], review["run_uid"]) == (
        ["A00002"],
        why,
        result.uid,
    )
    (held,) = any_world.quarantine()
    assert (
        held["reason"]
        == "Rule heavy_enough: weight_per_unit: ge(min_value=1). Failed as well: known_unit."
    )
    assert (held["column_name"], held["business_key"]) == ("weight_per_unit", ["A00003"])
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()


def test_a_review_is_settled_by_a_better_version_and_an_accepted_one_stays_accepted_until_its_content_changes(
    any_world: World,
) -> None:
    table = any_world.add_items(0)
    put_gate(any_world)
    for number in (1, 2):
        table.put(item(number, weight_per_unit=2, base_uom="BOX"))
    any_world.sync()
    first, second = sorted(list_reviews(any_world.database), key=lambda row: row["business_key"])
    accept_review(any_world.database, first["uid"], **WHO)
    assert flags(any_world)["A00001"] is None
    table.put(item(2, weight_per_unit=2, base_uom="KG"))
    any_world.sync(full_refresh=True)
    assert flags(any_world) == {"A00001": None, "A00002": None}
    assert list_reviews(any_world.database) == []
    assert {
        row["uid"]: row["outcome"] for row in list_reviews(any_world.database, with_closed=True)
    } == {
        first["uid"]: "accepted",
        second["uid"]: "settled",
    }
    table.put(item(1, weight_per_unit=3, base_uom="BOX"))
    any_world.sync()
    assert flags(any_world)["A00001"] is not None
    assert [row["uid"] for row in list_reviews(any_world.database)] == [first["uid"]]
    assert [row["action"] for row in list_log(any_world.database, "erp/items")] == ["accept"]


def test_a_changed_gate_moves_only_the_flag_of_rows_that_are_read_again(any_world: World) -> None:
    table = any_world.add_items(0)
    table.put(item(1, weight_per_unit=2, base_uom="BOX"))
    any_world.sync()
    before = any_world.rows()[("A00001",)]
    put_gate(any_world)
    result = any_world.sync(full_refresh=True)
    assert (result.ledger.unchanged, result.ledger.updated) == (1, 0)
    after = any_world.rows()[("A00001",)]
    assert after["_bridge_review"] is not None
    assert (after["_bridge_updated_at"], after["_bridge_id"]) == (
        before["_bridge_updated_at"],
        before["_bridge_id"],
    )
    (any_world.settings.gates / "erp" / "items.yaml").unlink()
    any_world.sync(full_refresh=True)
    assert flags(any_world) == {"A00001": None}
    assert list_reviews(any_world.database) == []


def test_a_broken_gate_stops_its_entity_and_changes_nothing(world: World) -> None:
    world.add_items(2)
    world.sync()
    put_gate(world, "rules: [{name: a, column: wieght, check: gt}]")
    error = world.fails(GateDefinitionError)
    assert "items.yaml:1: rules.0.column" in error.what
    assert (world.runs()[0]["status"], "rules.0.column" in world.runs()[0]["error_message"]) == (
        "failed",
        True,
    )
    assert world.entity().timeline.consecutive_failures == 1


def test_a_fixed_record_goes_the_whole_way_in_a_run_of_its_own_and_stays_settled(
    any_world: World,
) -> None:
    table = any_world.add_items(0)
    put_gate(any_world)
    table.put(item(1, weight_per_unit=2))
    table.put(item(2, weight_per_unit=0.5))
    any_world.sync()
    cursor, uid, success = (
        any_world.entity().position.cursor,
        only_uid(any_world),
        any_world.entity().timeline.last_success_at,
    )
    due = any_world.sql("SELECT next_due_at, due_reason, seen_rowversion FROM bridge.entities")
    with pytest.raises(SettingsError, match="would be refused again: Rule heavy_enough"):
        fix_record(
            any_world.database,
            uid,
            {"weight_per_unit": 0.75},
            None,
            settings=any_world.settings,
            **WHO,
        )
    fix_record(
        any_world.database,
        uid,
        {"weight_per_unit": 7.125},
        None,
        settings=any_world.settings,
        **WHO,
    )
    (result,) = release_records(any_world.database, [uid], settings=any_world.settings, **WHO)
    assert (result.ledger.fetched, result.ledger.inserted, result.ledger.quarantined) == (1, 1, 0)
    assert str(any_world.rows()[("A00002",)]["weight_per_unit"]) == "7.125"
    assert any_world.entity().position.cursor == cursor
    assert any_world.entity().timeline.last_success_at == success
    assert (
        any_world.sql("SELECT next_due_at, due_reason, seen_rowversion FROM bridge.entities") == due
    )
    assert any_world.runs()[0]["triggered_by"] == "release by ada"
    row = get_quarantined(any_world.database, uid)
    assert (row["resolution"], row["resolved_at"] is not None) == ("released", True)
    assert b'"weight_per_unit":0.5' in bytes(row["record"]).replace(b" ", b"")
    assert [
        (entry["action"], entry["author"], entry["reason"])
        for entry in list_log(any_world.database, record_uid=uid)
    ] == [
        ("release", "ada", "seen by hand"),
        ("fix", "ada", "seen by hand"),
    ]
    # The source sends the bad record again: the fix stays, in table and list.
    any_world.sync(full_refresh=True)
    assert any_world.quarantine() == []
    assert str(any_world.rows()[("A00002",)]["weight_per_unit"]) == "7.125"
    # A good version of the source wins over the fix.
    table.put(item(2, weight_per_unit=9))
    any_world.sync()
    assert str(any_world.rows()[("A00002",)]["weight_per_unit"]) == "9.000"
    with pytest.raises(SettingsError, match="settled already"):
        release_records(any_world.database, [uid], settings=any_world.settings, **WHO)


def test_a_waived_record_passes_its_rules_now_and_whenever_it_is_sent_again(
    any_world: World,
) -> None:
    table = any_world.add_items(0)
    put_gate(any_world)
    table.put(item(1, weight_per_unit=0.5))
    table.put(item(2, weight_per_unit=0.25))
    any_world.sync(status=RunStatus.REJECTED)
    uid = next(row["uid"] for row in any_world.quarantine() if row["business_key"] == ["A00001"])
    waive_record(any_world.database, uid, **WHO)
    (result,) = release_records(any_world.database, [uid], settings=any_world.settings, **WHO)
    assert result.ledger.inserted == 1
    again = any_world.sync(full_refresh=True)
    assert again.gate["waived"] >= 1
    assert again.ledger.unchanged == 1
    assert [row["business_key"] for row in any_world.quarantine()] == [["A00002"]]
    any_world.assert_equal_to_truth()


def test_types_cannot_be_waived(world: World) -> None:
    table = world.add_items(1)
    put_gate(world)
    table.put_raw(("B1",), b'{"item_number": "B1", "weight_per_unit": "heavy"}', "29990101000000")
    world.sync(status=RunStatus.REJECTED)
    uid = next(row["uid"] for row in world.quarantine() if row["business_key"] == ["B1"])
    waive_record(world.database, uid, **WHO)
    (result,) = release_records(world.database, [uid], settings=world.settings, **WHO)
    assert result.ledger.quarantined == 1
    assert get_quarantined(world.database, uid)["resolved_at"] is None
    assert list_log(world.database, record_uid=uid)[0]["details"] == {"outcome": "refused again"}


def test_a_record_is_released_as_it_is_once_the_rules_allow_it(world: World) -> None:
    table = world.add_items(0)
    put_gate(world)
    table.put(item(1, weight_per_unit=0.5))
    world.sync(status=RunStatus.REJECTED)
    uid = only_uid(world)
    put_gate(world, RULES.replace("min_value: 1", "min_value: 0"))
    release_records(world.database, [uid], settings=world.settings, **WHO)
    assert world.rows().keys() == {("A00001",)}
    assert world.quarantine() == []
    world.assert_equal_to_truth()


def test_a_release_never_puts_an_older_record_over_a_newer_row(any_world: World) -> None:
    table = any_world.add_items(0)
    put_gate(any_world)
    table.put(item(1, weight_per_unit=0.5), rowversion="20240101000000")
    any_world.sync(status=RunStatus.REJECTED)
    uid = only_uid(any_world)
    fix_record(
        any_world.database, uid, {"weight_per_unit": 2}, None, settings=any_world.settings, **WHO
    )
    table.put(item(1, weight_per_unit=5), rowversion="20240101000001")
    any_world.sync()
    any_world.sql("UPDATE bridge.quarantine SET resolved_at = NULL, resolution = NULL")
    (result,) = release_records(any_world.database, [uid], settings=any_world.settings, **WHO)
    assert result.ledger.superseded == 1
    assert str(any_world.rows()[("A00001",)]["weight_per_unit"]) == "5.000"


def test_what_is_no_json_is_released_only_as_a_whole_new_record(world: World) -> None:
    table = world.add_items(1)
    table.put_raw(
        ("B1",), b'{"item_number": "B1", "item_description": "\\ud800"}', "29990101000000"
    )
    world.sync()
    uid = only_uid(world)
    with pytest.raises(SettingsError, match="not JSON"):
        fix_record(world.database, uid, None, b"{", settings=world.settings, **WHO)
    whole = json.dumps(
        {"row_version": "29990101000000", "data": {"item_number": "B1", "item_description": "=1+1"}}
    ).encode()
    fix_record(world.database, uid, None, whole, settings=world.settings, **WHO)
    release_records(world.database, [uid], settings=world.settings, **WHO)
    assert world.rows()[("B1",)]["item_description"] == "=1+1"


def test_quarantine_is_found_by_reason_rule_text_and_time_and_expires(world: World) -> None:
    table = world.add_items(0)
    put_gate(world, RULES.replace("severity: review", "severity: reject"))
    table.put(item(1, weight_per_unit=0.5))
    table.put(item(2, weight_per_unit=2, base_uom="BOX"))
    table.put(item(3, weight_per_unit=0.1, base_uom="BOX"))
    world.sync(status=RunStatus.REJECTED)

    def found(**filters: Any) -> list[str]:
        return sorted(
            row["business_key"][0]
            for row in list_quarantine(world.database, "erp", "items", **filters)
        )

    assert found() == ["A00001", "A00002", "A00003"]
    assert found(reason="HEAVY") == ["A00001", "A00003"]
    assert found(rule="known_unit") == ["A00002", "A00003"]
    assert found(rule="known") == []
    assert found(rule=".*") == []
    assert found(text="item 2") == ["A00002"]
    assert found(text="a00003") == ["A00003"]
    (now,) = world.sql("SELECT now()")
    assert found(since=now[0]) == []
    assert expire_records(world.database, "erp", None, days=1, **WHO) == 0
    world.sql(
        "UPDATE bridge.quarantine SET last_seen_at = now() - interval '3 days' WHERE business_key = '[\"A00001\"]'"
    )
    assert expire_records(world.database, "erp", "items", days=2, **WHO) == 1
    assert found() == ["A00002", "A00003"]
    world.sync(full_refresh=True, status=RunStatus.REJECTED)
    assert found() == ["A00001", "A00002", "A00003"]


def test_the_trail_cannot_be_changed_afterwards(world: World) -> None:
    table = world.add_items(0)
    put_gate(world)
    table.put(item(1, weight_per_unit=0.5))
    world.sync(status=RunStatus.REJECTED)
    waive_record(world.database, only_uid(world), **WHO)
    for statement in (
        "UPDATE bridge.quarantine_log SET author = 'eve'",
        "DELETE FROM bridge.quarantine_log",
        "TRUNCATE bridge.quarantine_log",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match="only ever added to"):
            world.sql(statement)
