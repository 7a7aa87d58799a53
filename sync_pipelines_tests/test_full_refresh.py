"""Strategies and full refreshes: what vanished is deleted softly, and only when that is believable."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin import Fault, IntegerRowversions
from sync_pipelines.errors import ConfigurationError, SyncError
from sync_pipelines.model.run import Mode, RunStatus
from sync_pipelines_tests.world import World, item


@pytest.mark.parametrize("strategy", ["full", "rowversion", "hash"])
def test_every_strategy_follows_inserts_updates_and_deletes(world: World, strategy: str) -> None:
    table = world.add_items(25, delta_strategy=strategy)
    first = world.sync()
    assert (first.mode, first.ledger.inserted) == (Mode.FULL, 25)
    identities = {key: row["_bridge_id"] for key, row in world.rows().items()}
    table.put(item(3, base_uom="KG"))
    table.put(item(99))
    table.delete(("A00007",))
    second = world.sync()
    assert (second.ledger.inserted, second.ledger.updated) == (1, 1)
    assert second.mode is (Mode.DELTA if strategy == "rowversion" else Mode.FULL)
    world.sync(full_refresh=True)
    world.assert_equal_to_truth()
    assert {
        key: row["_bridge_id"] for key, row in world.rows().items() if key in identities
    }.items() <= identities.items()
    assert world.sync(full_refresh=True).ledger.written == 0


@pytest.mark.parametrize("strategy", ["full", "rowversion", "hash"])
def test_an_entity_without_a_single_record_is_synced_too(world: World, strategy: str) -> None:
    table = world.add_items(0, delta_strategy=strategy)
    for _ in range(2):
        result = world.sync()
        assert (result.ledger.fetched, result.row_count) == (0, 0)
    world.assert_equal_to_truth()
    table.put(item(1))
    assert world.sync().ledger.inserted == 1
    world.assert_equal_to_truth()


def test_a_full_refresh_that_would_delete_too_much_publishes_the_rest_and_holds_the_deletions(
    world: World,
) -> None:
    table = world.add_items(20)
    world.sync()
    for number in range(11):
        table.delete((f"A{number:05d}",))
    table.put(item(15, base_uom="KG"))
    table.put(item(99))
    result = world.sync(full_refresh=True, status=RunStatus.INCOMPLETE)
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
    assert "--accept-vanished" in str(result.next_command)
    assert world.rows()[("A00015",)]["base_uom"] == "KG"
    assert world.sync().ledger.deleted == 0
    assert world.entity().position.held_deletions == 11, "a delta knows nothing of deletions"
    assert world.sync(full_refresh=True, accept_vanished=True).ledger.deleted == 11
    assert world.entity().position.held_deletions == 0
    world.assert_equal_to_truth()


def test_deletions_of_a_read_by_page_number_that_were_held_go_at_once_when_they_are_accepted(
    world: World,
) -> None:
    table = world.add_items(20, has_rowversion=False, delta_strategy="full")
    world.sync()
    for number in range(11):
        table.delete((f"A{number:05d}",))
    assert world.sync(status=RunStatus.INCOMPLETE).held_deletions == 11
    assert world.sync(accept_vanished=True).ledger.deleted == 11
    world.assert_equal_to_truth()


def test_exactly_the_configured_share_may_vanish(world: World) -> None:
    table = world.add_items(20)
    world.set(max_vanished_share=0.1)
    world.sync()
    table.delete(("A00001",))
    table.delete(("A00002",))
    assert world.sync(full_refresh=True).ledger.deleted == 2
    world.assert_equal_to_truth()


@pytest.mark.parametrize("strategy", ["full", "rowversion"])
def test_an_empty_source_does_not_empty_the_table(world: World, strategy: str) -> None:
    table = world.add_items(5, delta_strategy=strategy)
    world.sync()
    for key in list(table.truth()):
        table.delete(key)
    assert world.sync(full_refresh=True, status=RunStatus.INCOMPLETE).held_deletions == 5
    assert len(world.rows()) == 5


def test_one_empty_answer_to_a_full_refresh_is_not_believed(world: World) -> None:
    world.add_items(5)
    world.set(max_vanished_share=1)
    world.sync()
    world.faults.add(Fault(kind="data", empty_rows=True))
    assert world.sync(full_refresh=True).ledger.deleted == 0
    world.assert_equal_to_truth()


def test_an_empty_page_in_the_middle_of_a_full_refresh_deletes_nothing(world: World) -> None:
    world.add_items(35, rowversions=IntegerRowversions(), comparator="integer")
    world.set(max_vanished_share=1)
    world.sync()
    world.faults.add(Fault(kind="data", nth=3, empty_rows=True))
    assert world.sync(full_refresh=True).ledger.deleted == 0
    world.assert_equal_to_truth()


@pytest.mark.parametrize("strategy", ["full", "hash"])
def test_a_read_by_page_number_deletes_only_what_was_missed_twice(
    world: World, strategy: str
) -> None:
    table = world.add_items(15, has_rowversion=False, delta_strategy=strategy)
    world.sync()
    table.delete(("A00003",))
    first = world.sync()
    assert first.ledger.deleted == 0
    assert any("1 rows were not at the source" in warning for warning in first.warnings)
    assert world.runs()[0]["details"]["warnings"] == list(first.warnings)
    assert world.sync().ledger.deleted == 1
    world.assert_equal_to_truth()
    assert world.sync().ledger.deleted == 0


def test_a_row_missed_once_and_seen_again_starts_from_zero(world: World) -> None:
    table = world.add_items(15, has_rowversion=False, delta_strategy="full")
    world.sync()
    for _ in range(2):
        table.delete(("A00003",))
        assert world.sync().ledger.deleted == 0
        table.put(item(3))
        assert world.sync().ledger.unchanged == 15
    assert world.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    world.assert_equal_to_truth()


def test_a_rowversion_entity_without_rowversions_still_brings_its_records(world: World) -> None:
    world.add_items(15, has_rowversion=False)
    result = world.sync()
    assert result.ledger.inserted == 15
    assert any("read by page number" in warning for warning in result.warnings)
    world.assert_equal_to_truth()


def test_a_small_rowversion_entity_without_rowversions_still_brings_its_records(
    world: World,
) -> None:
    world.add_items(5, has_rowversion=False)
    assert world.sync().ledger.inserted == 5


def test_a_deleted_row_returns_under_its_old_id_and_counts_as_updated(world: World) -> None:
    table = world.add_items(15, has_rowversion=False, delta_strategy="full")
    world.sync()
    before = world.rows()[("A00003",)]
    table.delete(("A00003",))
    world.sync()
    world.sync()
    assert world.sync().row_count == 14
    table.put(item(3, base_uom="NEW"))
    result = world.sync()
    after = world.rows()[("A00003",)]
    assert (result.ledger.updated, result.row_count) == (1, 15)
    assert after["_bridge_id"] == before["_bridge_id"]
    assert after["_bridge_created_at"] == before["_bridge_created_at"]
    world.assert_equal_to_truth()


def test_the_row_count_carried_forward_equals_the_counted_one(world: World) -> None:
    table = world.add_items(12)
    world.sync()
    table.put(item(50))
    table.delete(("A00001",))
    world.sync(full_refresh=True)
    table.put(item(1))
    table.put(item(51))
    assert world.sync().row_count == 14 == len(world.rows())


def test_a_run_that_waits_for_a_person_names_the_way_out(world: World) -> None:
    world.add_items(3)
    world.sync()
    world.store.remove("items")
    world.add_items(1, slug="other")
    error = world.fails(ConfigurationError)
    assert "discover erp" in str(error)
    assert len(world.rows()) == 3


def test_a_failed_full_refresh_is_repeated_in_full(world: World) -> None:
    table = world.add_items(25)
    world.sync()
    world.set(full_refresh_pending=True)
    table.delete(("A00001",))
    world.faults.add(Fault(kind="data", nth=2, times=2, status=503))
    world.fails(SyncError)
    assert world.entity().timeline.consecutive_failures == 1
    result = world.sync()
    assert (result.mode, result.ledger.deleted) == (Mode.FULL, 1)
    assert not world.entity().position.full_refresh_pending
    assert world.entity().timeline.consecutive_failures == 0
    world.assert_equal_to_truth()


def test_a_bulk_load_into_an_empty_table_has_its_keys_and_index(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_pipelines.destinations.postgres.fill.BULK_ROWS", 10)
    world.add_items(25)
    world.sync()
    indexes = {
        name
        for (name,) in world.sql(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'items' AND schemaname = 'erp'"
        )
    }
    assert indexes == {"items_pkey", "items_business_key", "idx_items_rowversion"}
    world.assert_equal_to_truth()


def test_a_bulk_load_leaves_constraints_that_others_need(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_pipelines.destinations.postgres.fill.BULK_ROWS", 10)
    table = world.add_items(0)
    world.sync()
    world.sql("CREATE TABLE notes (item varchar(50) REFERENCES erp.items (item_number))")
    table.put_many([item(number) for number in range(25)])
    assert world.sync().ledger.inserted == 25
    assert world.sql(
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'notes'::regclass"
    ) == [(1,)]
    world.assert_equal_to_truth()
