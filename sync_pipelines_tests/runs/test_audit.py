"""The audit finds what a sync could not have seen, and suggests the lookback that would have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sync_pipelines.demo.twin import IntegerRowversions, TimestampRowversions
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.runs.audit import AuditReport, audit_entity
from sync_pipelines_tests.world import World, item

START = 1_767_225_600  # 2026-01-01 00:00:00 UTC


class Clock:
    def __init__(self) -> None:
        self.seconds = float(START)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


def audit(world: World, slug: str = "items", **options: object) -> AuditReport:
    return audit_entity(world.database, "erp", slug, settings=world.settings, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", ["rowversion", "full", "hash"])
def test_a_table_that_equals_its_source_has_nothing_missed(world: World, strategy: str) -> None:
    world.add_items(35, delta_strategy=strategy, has_rowversion=strategy == "rowversion")
    world.sync()
    report = audit(world)
    assert (report.compared, report.equal, report.missed, report.extra) == (35, 35, 0, 0)
    assert sum(bucket.source_rows for bucket in report.buckets) == 35
    assert all(bucket.equal for bucket in report.buckets)


def test_what_the_next_sync_brings_is_waiting_and_not_missed(world: World) -> None:
    clock = Clock()
    table = world.add_items(0, rowversions=TimestampRowversions(clock=clock))
    for number in range(20):
        clock.seconds += 100
        table.put(item(number))
    world.sync()
    clock.seconds += 100
    table.put(item(99))
    report = audit(world)
    assert (report.waiting, report.missed) == (1, 0)


def test_a_late_commit_beyond_the_lookback_is_missed_and_the_needed_lookback_is_suggested(
    world: World,
) -> None:
    clock = Clock()
    table = world.add_items(0, rowversions=TimestampRowversions(clock=clock))
    for number in range(5):
        clock.seconds += 100
        table.put(item(number))
    late = table.begin(item(50))
    for number in range(5, 30):
        clock.seconds += 100
        table.put(item(number))
    world.sync()
    late.commit()
    world.sync()
    report = audit(world)
    assert report.missed == 1
    assert report.samples[0]["key"] == ["A00050"]
    assert report.samples[0]["finding"] == "not in the table"
    assert report.late_seconds == 2500
    assert report.suggested_lookback_seconds is not None
    assert report.suggested_lookback_seconds >= 2500
    assert not all(bucket.equal for bucket in report.buckets)


def test_random_ranges_find_a_row_that_somebody_changed_in_the_table(world: World) -> None:
    world.add_items(30)
    world.sync()
    world.sql("UPDATE erp.items SET _bridge_hash = left(_bridge_hash, 9) || md5(_bridge_hash)")
    report = audit(world, ranges=3, seed=1)
    assert 0 < report.compared <= 30
    assert report.equal == 0


def test_quarantined_records_and_extra_rows_are_counted_apart(world: World) -> None:
    table = world.add_items(10)
    table.put(item(77, base_uom="far too long for ten"))
    world.sync()
    table.delete(("A00003",))
    report = audit(world)
    assert (report.quarantined, report.missed, report.extra) == (0, 0, 1)


def test_an_audit_changes_nothing(world: World) -> None:
    table = world.add_items(10)
    world.sync()
    before = (world.rows(), world.entity(), world.runs())
    table.put(item(1, base_uom="KG"))
    audit(world)
    assert (world.rows(), world.entity(), world.runs()) == before


def test_an_entity_that_was_never_synced_cannot_be_audited(world: World) -> None:
    world.add_items(1)
    with pytest.raises(ConfigurationError, match="never synced"):
        audit(world)


def test_ranges_need_rowversions(world: World) -> None:
    world.add_items(1, delta_strategy="full", has_rowversion=False)
    world.sync()
    with pytest.raises(ConfigurationError, match="no rowversions"):
        audit(world, ranges=3)


@pytest.mark.parametrize("everything", [True, False])
def test_a_source_that_sorts_by_its_key_is_audited_as_it_is_read(
    world: World, everything: bool
) -> None:
    table = world.add_items(
        40, rowversions=IntegerRowversions(1), comparator="integer", sorted_pages=False
    )
    world.set(lookback_seconds=0)
    for _ in range(2):
        world.sync()
    for number in range(5):
        table.put(item(number, base_uom="KG"))
    report = audit_entity(
        world.database,
        "erp",
        "items",
        ranges=None if everything else 4,
        seed=1,
        settings=world.settings,
    )
    assert (report.missed, report.extra) == (0, 0)
    assert report.waiting or not everything
    if everything:
        assert (report.compared, report.equal, report.waiting) == (40, 35, 5)
