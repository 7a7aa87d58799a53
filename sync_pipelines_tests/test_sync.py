"""One entity from source to table and back again, in the plainest cases."""

from __future__ import annotations

import pytest

from sync_pipelines.model.run import Mode
from sync_pipelines.runs.release import release_records
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.world import World, item


def test_first_sync_brings_every_record(world: World) -> None:
    world.add_items(25)
    result = world.sync()
    assert result.mode is Mode.FULL
    assert result.ledger.inserted == 25
    assert result.row_count == 25
    world.assert_equal_to_truth()


def test_second_sync_writes_nothing(world: World) -> None:
    world.add_items(25)
    world.sync()
    again = world.sync()
    assert again.mode is Mode.DELTA
    assert again.ledger.written == 0
    world.assert_equal_to_truth()


def test_only_changed_records_are_updated_and_ids_stay(world: World) -> None:
    table = world.add_items(25)
    world.sync()
    before = world.rows()
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.updated) == (1, 1)
    after = world.rows()
    assert all(after[key]["_bridge_id"] == row["_bridge_id"] for key, row in before.items())
    assert after[("A00003",)]["_bridge_updated_at"] > before[("A00003",)]["_bridge_updated_at"]
    assert after[("A00004",)]["_bridge_updated_at"] == before[("A00004",)]["_bridge_updated_at"]
    world.assert_equal_to_truth()


def test_full_refresh_deletes_softly_and_return_keeps_the_id(world: World) -> None:
    table = world.add_items(10)
    world.sync()
    identity = world.rows()[("A00003",)]["_bridge_id"]
    table.delete(("A00003",))
    assert world.sync().ledger.deleted == 0
    assert world.sync(full_refresh=True).ledger.deleted == 1
    world.assert_equal_to_truth()
    assert ("A00003",) in world.rows(deleted=True)
    table.put(item(3))
    assert world.sync().ledger.updated == 1
    assert world.rows()[("A00003",)]["_bridge_id"] == identity
    world.assert_equal_to_truth()


def test_an_error_of_megabytes_is_kept_by_its_beginning(world: World) -> None:
    world.add_items(1)

    def fail() -> bool:
        raise ValueError("x\x00" * 1_000_000)

    with pytest.raises(ValueError, match="x"):
        sync_entity(world.database, "erp", "items", settings=world.settings, interrupted=fail)
    (run,) = world.runs()
    assert run["status"] == "failed"
    assert len(run["error_message"]) + len(run["error_details"]["what"]) < 50_000


def test_a_release_that_fails_leaves_the_entity_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.add_items(12)
    table.put_raw(("A00001",), b'{"item_number": "A00001", "weight_per_unit": "much"}')
    world.sync()
    outcome = (
        "SELECT last_sync_status, last_sync_at, last_success_at, next_due_at, consecutive_failures FROM"
        " bridge.entities"
    )
    before = world.sql(outcome)
    (row,) = world.quarantine()
    monkeypatch.setattr("sync_pipelines.runs.attempt.load_batches", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        release_records(
            world.database, [row["uid"]], author="ada", reason="asked", settings=world.settings
        )
    assert world.runs()[0]["status"] == "failed"
    assert world.sql(outcome) == before
