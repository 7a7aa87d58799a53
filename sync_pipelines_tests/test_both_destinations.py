"""Every destination keeps the promise: the same scenes on PostgreSQL, a real Trino, and duckdb through dlt."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from sync_pipelines.catalog.entities import change_destination
from sync_pipelines.demo.twin import IntegerRowversions, TwinColumn
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.errors import (
    CursorProtocolError,
    InterruptedRunError,
    SchemaDriftError,
    SettingsError,
    SupersededRunError,
)
from sync_pipelines.model.run import Mode, RunStatus
from sync_pipelines.runs.audit import audit_entity
from sync_pipelines_tests.test_moving_rows import at_request
from sync_pipelines_tests.trino import TrinoWorld
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item


@pytest.fixture(params=["world", "trino_world", "duckdb_world"])
def any_world(request: pytest.FixtureRequest) -> World:
    """A world of each destination in turn, also of one behind dlt."""
    return request.getfixturevalue(request.param)


def test_first_sync_brings_every_record_and_the_second_writes_nothing(any_world: World) -> None:
    any_world.add_items(125)
    first = any_world.sync()
    assert (first.mode, first.ledger.inserted, first.row_count, first.duplicate_keys) == (
        Mode.FULL,
        125,
        125,
        0,
    )
    any_world.assert_equal_to_truth()
    again = any_world.sync()
    assert (again.mode, again.ledger.written) == (Mode.DELTA, 0)
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()


def test_only_changed_records_are_updated_and_ids_stay(any_world: World) -> None:
    table = any_world.add_items(25)
    any_world.sync()
    before = any_world.rows()
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    result = any_world.sync()
    assert (result.ledger.inserted, result.ledger.updated, result.row_count) == (1, 1, 26)
    after = any_world.rows()
    for key, row in before.items():
        assert after[key]["_bridge_id"] == row["_bridge_id"]
        assert after[key]["_bridge_created_at"] == row["_bridge_created_at"]
        assert (after[key]["_bridge_updated_at"] > row["_bridge_updated_at"]) is (
            key == ("A00003",)
        )
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()


@pytest.mark.parametrize("strategy", ["full", "rowversion"])
def test_every_strategy_follows_inserts_updates_and_deletes(
    any_world: World, strategy: str
) -> None:
    table = any_world.add_items(25, delta_strategy=strategy)
    any_world.sync()
    identities = {key: row["_bridge_id"] for key, row in any_world.rows().items()}
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    table.delete(("A00007",))
    second = any_world.sync()
    assert (second.ledger.inserted, second.ledger.updated) == (1, 1)
    third = any_world.sync(full_refresh=True)
    assert second.ledger.deleted + third.ledger.deleted == 1
    any_world.assert_equal_to_truth()
    assert {
        key: row["_bridge_id"] for key, row in any_world.rows().items() if key in identities
    }.items() <= identities.items()
    assert any_world.sync(full_refresh=True).ledger.written == 0


def test_an_entity_without_a_single_record_is_synced_too(any_world: World) -> None:
    table = any_world.add_items(0)
    for _ in range(2):
        result = any_world.sync()
        assert (result.ledger.fetched, result.row_count) == (0, 0)
    table.put(item(1))
    assert any_world.sync().ledger.inserted == 1
    any_world.assert_equal_to_truth()


def test_a_full_refresh_that_would_delete_too_much_publishes_the_rest_and_holds_the_deletions(
    any_world: World,
) -> None:
    table = any_world.add_items(20)
    any_world.sync()
    for number in range(11):
        table.delete((f"A{number:05d}",))
    table.put(item(15, base_uom="KG"))
    table.put(item(99))
    result = any_world.sync(full_refresh=True, status=RunStatus.INCOMPLETE)
    assert (
        result.ledger.inserted,
        result.ledger.updated,
        result.ledger.deleted,
        result.held_deletions,
    ) == (
        1,
        1,
        0,
        11,
    )
    assert "11 of 20" in str(result.status_reason)
    assert any_world.rows()[("A00015",)]["base_uom"] == "KG"
    assert any_world.sync(full_refresh=True, accept_vanished=True).ledger.deleted == 11
    any_world.assert_equal_to_truth()


def test_an_empty_source_does_not_empty_the_table(any_world: World) -> None:
    table = any_world.add_items(5)
    any_world.sync()
    for key in list(table.truth()):
        table.delete(key)
    any_world.sync(full_refresh=True, status=RunStatus.INCOMPLETE)
    assert len(any_world.rows()) == 5


def test_a_read_by_page_number_deletes_only_what_was_missed_twice_and_takes_it_back(
    any_world: World,
) -> None:
    table = any_world.add_items(15, has_rowversion=False, delta_strategy="full")
    any_world.sync()
    before = any_world.rows()[("A00003",)]
    table.delete(("A00003",))
    first = any_world.sync()
    assert first.ledger.deleted == 0
    assert any("1 rows were not at the source" in warning for warning in first.warnings)
    table.put(item(3))
    assert any_world.sync().ledger.unchanged == 15
    assert any_world.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    table.delete(("A00003",))
    assert [any_world.sync().ledger.deleted for _ in range(3)] == [0, 1, 0]
    any_world.assert_equal_to_truth()
    assert any_world.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    table.put(item(3, base_uom="NEW"))
    result = any_world.sync()
    after = any_world.rows()[("A00003",)]
    assert (result.ledger.updated, result.row_count) == (1, 15)
    assert after["_bridge_id"] == before["_bridge_id"]
    any_world.assert_equal_to_truth()


def test_a_key_whose_record_is_rejected_is_at_the_source_and_was_not_missed_twice(
    any_world: World,
) -> None:
    table = any_world.add_items(15, has_rowversion=False, delta_strategy="full")
    any_world.sync()
    table.delete(("A00003",))
    assert any_world.sync().ledger.deleted == 0
    table.put(item(3, base_uom="far too long for ten"))
    assert any_world.sync().ledger.quarantined == 1
    assert any_world.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    table.delete(("A00003",))
    assert [any_world.sync().ledger.deleted for _ in range(2)] == [0, 1]
    any_world.assert_equal_to_truth()


def test_a_row_whose_record_is_rejected_now_is_marked_until_a_good_one_comes(
    any_world: World,
) -> None:
    table = any_world.add_items(20)
    any_world.sync()
    assert "_bridge_rejected_at" not in any_world.rows()[("A00003",)], (
        "only where something was rejected"
    )
    for key in (3, 4):
        table.put(item(key, base_uom="far too long for ten"))
    table.put(item(99, base_uom="far too long for ten"))
    any_world.sync()
    rows = any_world.rows()
    assert sorted(key for (key,), row in rows.items() if row["_bridge_rejected_at"]) == [
        "A00003",
        "A00004",
    ]
    assert ("A00099",) not in rows
    marked_at = rows[("A00003",)]["_bridge_rejected_at"]
    any_world.sync(full_refresh=True)
    assert any_world.rows()[("A00003",)]["_bridge_rejected_at"] == marked_at, (
        "since when it is not current"
    )
    table.put(item(3))
    table.delete(("A00004",))
    any_world.sync()
    assert any_world.rows()[("A00003",)]["_bridge_rejected_at"] is None
    any_world.sync(full_refresh=True)
    assert ("A00004",) not in any_world.rows(), "the source has it in no form any more"
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()


def test_bad_records_go_to_quarantine_and_leave_it_when_they_are_good(any_world: World) -> None:
    table = any_world.add_items(12)
    any_world.sync()
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "x"}')
    table.put_raw(
        ("A00002",),
        b'{"item_number": "A00002", "item_description": "bad now", "weight_per_unit": 1.23456}',
    )
    table.put(item(50))
    result = any_world.sync()
    assert (result.ledger.quarantined, result.ledger.inserted, result.ledger.updated) == (2, 1, 0)
    assert {tuple(row["business_key"]) for row in any_world.quarantine()} == {("BAD",), ("A00002",)}
    assert len(result.quarantine_sample) == 2
    any_world.assert_equal_to_truth()
    # A key in quarantine is at the source: its row has not vanished.
    assert any_world.sync(full_refresh=True).ledger.deleted == 0
    table.put(item(2, base_uom="KG"))
    table.put({**item(7), "item_number": "BAD"})
    good = any_world.sync()
    assert (good.ledger.inserted, good.ledger.updated, good.ledger.quarantined) == (1, 1, 0)
    assert any_world.sql("SELECT count(*) FROM bridge.quarantine WHERE resolved_at IS NULL") == [
        (0,)
    ]
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()


def test_a_new_and_a_wider_column_are_taken_over_and_old_rows_are_filled(any_world: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("stock", "INTEGER"))
    table = any_world.add_items(0, columns=columns)
    table.put_many([{**item(number), "stock": number} for number in range(12)])
    any_world.sync()
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    table.change_column("stock", "BIGINT")
    table.change_column("weight_per_unit", "NUMERIC(14, 3)")
    any_world.discover()
    result = any_world.sync()
    assert len(result.table_changes) == 3
    assert {row["colour"] for row in any_world.rows().values()} == {"red"}
    table.put({**item(3), "stock": 2**40, "colour": "blue", "weight_per_unit": 12345678901.125})
    assert any_world.sync().ledger.updated == 1
    any_world.assert_equal_to_truth()


def test_a_column_that_is_null_almost_everywhere_rewrites_only_the_rows_that_have_it(
    any_world: World,
) -> None:
    table = any_world.add_items(30)
    any_world.sync()
    before = {key: row["_bridge_hash"] for key, row in any_world.rows().items()}
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), None)
    table.put(item(7, colour="red"))
    any_world.discover()
    result = any_world.sync()
    assert (result.mode, result.ledger.updated, result.ledger.unchanged) == (Mode.FULL, 1, 29)
    after = {key: row["_bridge_hash"] for key, row in any_world.rows().items()}
    assert [key for key in before if before[key] != after[key]] == [("A00007",)]
    any_world.assert_equal_to_truth()
    report = audit_entity(any_world.database, "erp", "items", settings=any_world.settings)
    assert (report.equal, report.missed) == (30, 0)
    assert all(bucket.equal for bucket in report.buckets)


def test_a_change_that_would_lose_data_stops_the_entity_and_accepting_it_starts_a_new_table(
    any_world: World,
) -> None:
    table = any_world.add_items(8)
    any_world.sync()
    before = any_world.state()
    table.change_column("weight_per_unit", "INTEGER")
    any_world.discover()
    with pytest.raises(SchemaDriftError, match="--accept items"):
        any_world.sync()
    assert any_world.state() == before
    report = any_world.discover("items")
    assert "items__" in report.set_aside["items"]
    table.put_many([item(number, weight_per_unit=number) for number in range(8)])
    assert any_world.sync().ledger.inserted == 8
    any_world.assert_equal_to_truth()


def test_json_spelled_another_way_is_no_change_and_another_value_is_one(any_world: World) -> None:
    columns = (*ITEM_COLUMNS, TwinColumn("doc", "JSON"))
    table = any_world.add_items(0, columns=columns, delta_strategy="full")
    table.put(item(1, doc={"a": 1, "b": [1, 2]}))
    any_world.sync()
    before = any_world.rows()[("A00001",)]
    table.put(item(1, doc={"b": [1, 2], "a": 1.0}))
    assert any_world.sync().ledger.unchanged == 1
    assert any_world.rows()[("A00001",)]["_bridge_updated_at"] == before["_bridge_updated_at"]
    table.put(item(1, doc={"b": [2, 1], "a": 1}))
    assert any_world.sync().ledger.updated == 1


@pytest.mark.parametrize("rows", [25, 95])
def test_of_one_key_twice_in_a_run_the_newest_wins(any_world: World, rows: int) -> None:
    table = any_world.add_items(rows, rowversions=IntegerRowversions(8), comparator="integer")
    any_world.set(lookback_seconds=0)
    at_request(any_world, 3, lambda: table.put(item(0, base_uom="KG")))
    result = any_world.sync()
    assert (result.ledger.inserted, result.ledger.superseded >= 1) == (rows, True)
    assert any_world.rows()[("A00000",)]["base_uom"] == "KG"
    any_world.assert_equal_to_truth()


def test_a_record_below_its_row_with_other_content_stops_the_run_and_overwrites_nothing(
    any_world: World,
) -> None:
    table = any_world.add_items(0, rowversions=IntegerRowversions(95), comparator="integer")
    table.put_many([item(number) for number in range(10)])
    any_world.set(lookback_seconds=0)
    any_world.sync()
    # The table knows of a version that the source has forgotten: it must survive a delta.
    newer = "100000000000000000000000000000000000000000000000"
    any_world.change_row("A00004", _bridge_rowversion=newer, base_uom="NEW", _bridge_hash="other:x")
    table.put(item(4, base_uom="OLD"))
    table.put(item(5, base_uom="KG"))
    error = any_world.fails(CursorProtocolError)
    assert f"where the row has '{newer}'" in error.what
    rows = any_world.rows()
    assert (rows[("A00004",)]["base_uom"], rows[("A00005",)]["base_uom"]) == ("NEW", "PCS")
    assert any_world.sync(full_refresh=True).ledger.updated == 2
    any_world.assert_equal_to_truth()


def test_a_cancelled_run_publishes_nothing(any_world: World) -> None:
    any_world.add_items(40)
    any_world.fails(InterruptedRunError, interrupted=lambda: True)
    assert any_world.runs()[0]["status"] == RunStatus.CANCELLED
    any_world.sync()
    any_world.assert_equal_to_truth()


def test_a_run_that_was_closed_while_it_worked_publishes_nothing(any_world: World) -> None:
    any_world.add_items(40)
    any_world.sync()
    any_world.store["items"].put(item(77))
    closed = []

    def close() -> bool:
        if not closed:
            closed.append(
                any_world.sql(
                    "UPDATE bridge.sync_runs SET status = 'failed' WHERE status = 'running'"
                )
            )
        return False

    any_world.fails(SupersededRunError, interrupted=close)
    assert any_world.sync().ledger.inserted == 1
    any_world.assert_equal_to_truth()


def test_pages_that_move_while_they_are_read_delete_nothing_and_say_so(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = any_world.add_items(35, delta_strategy="full", has_rowversion=False)
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "much"}')
    assert any_world.sync().ledger.quarantined == 1
    honest, dice = table.page, random.Random(3)

    def shuffled(rowversion_gt: str | None = None, page: int = 1, page_size: int = 1000) -> bytes:
        everything = [
            row
            for row in json.loads(honest(None, 1, 1000))["rows"]
            if row["data"]["item_number"] != "BAD"
        ]
        dice.shuffle(everything)
        return json.dumps({"rows": everything[(page - 1) * page_size : page * page_size]}).encode()

    monkeypatch.setattr(table, "page", shuffled)
    for _ in range(2):
        result = any_world.sync()
        assert any("came twice" in warning for warning in result.warnings)
        assert result.ledger.deleted == 0
    assert any_world.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    assert len(any_world.quarantine()) == 1, (
        "what pages that moved do not show is settled as little as deleted"
    )
    monkeypatch.setattr(table, "page", honest)
    any_world.sync()
    any_world.assert_equal_to_truth()


def test_an_entity_moves_to_the_other_destination_and_its_old_table_stays(
    trino_world: TrinoWorld,
) -> None:
    table = trino_world.add_items(12)
    trino_world.sync()
    change_destination(trino_world.database, trino_world.entity(), "postgres")
    table.put(item(3, base_uom="KG"))
    result = trino_world.sync()
    assert (result.mode, result.ledger.inserted) == (Mode.FULL, 12)
    assert World.rows(trino_world)[("A00003",)]["base_uom"] == "KG"
    assert trino_world.rows()[("A00003",)]["base_uom"] == "PCS"


def test_the_registry_says_which_destinations_there_are() -> None:
    with pytest.raises(SettingsError, match="postgres, trino"):
        kind_of("oracle")


def test_many_first_syncs_at_once_do_not_stand_in_each_others_way(any_world: World) -> None:
    slugs = [f"items{number}" for number in range(4)]
    for slug in slugs:
        any_world.add_items(60, slug=slug)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(any_world.sync, slugs))
    assert [result.ledger.inserted for result in results] == [60] * 4
    for slug in slugs:
        any_world.assert_equal_to_truth(slug)


def test_an_audit_finds_what_the_table_lacks(any_world: World) -> None:
    table = any_world.add_items(20)
    any_world.sync()
    audit = partial(audit_entity, any_world.database, "erp", "items", settings=any_world.settings)
    clean = audit()
    assert (clean.compared, clean.equal, clean.missed, clean.extra) == (20, 20, 0, 0)
    assert all(bucket.equal for bucket in clean.buckets)
    any_world.change_row("A00004", _bridge_hash="00000000:" + "0" * 32, base_uom="MINE")
    table.delete(("A00005",))
    found = audit()
    assert (found.missed + found.waiting, found.extra) == (1, 1)
    assert audit(ranges=2, seed=1).compared > 0
