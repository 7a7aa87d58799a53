"""The promise, told once and kept by every destination: the same scenes on PostgreSQL and on a real Trino."""

from __future__ import annotations

from sync_pipelines.model.run import Mode
from sync_pipelines_tests.world import World, item


def test_first_sync_brings_every_record_and_the_second_writes_nothing(any_world: World) -> None:
    any_world.add_items(125)
    first = any_world.sync()
    assert (first.mode, first.ledger.inserted, first.row_count, first.duplicate_keys) == (Mode.FULL, 125, 125, 0)
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
        assert (after[key]["_bridge_updated_at"] > row["_bridge_updated_at"]) is (key == ("A00003",))
    any_world.assert_equal_to_truth()
    any_world.assert_nothing_left_behind()
