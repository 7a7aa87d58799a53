"""Many rejected records are an incident until they are gone."""

from __future__ import annotations

import pytest

from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.observe.conftest import Watch
from sync_pipelines_tests.world import item


@pytest.fixture
def rejecting(watch: Watch) -> Watch:
    """Ten records, five of them bad, and an incident because of it."""
    table = watch.world.add_items(10)
    for number in range(5):
        table.put(item(number, base_uom="far too long for ten"))
    watch.world.sync(status=RunStatus.REJECTED)
    watch.look()
    assert watch.incidents() == [("rejection_rate", "erp/items", "open")]
    return watch


def test_many_rejects_are_over_when_nothing_is_in_quarantine_any_more(rejecting: Watch) -> None:
    rejecting.world.sql("UPDATE bridge.quarantine SET resolved_at = now()")
    rejecting.look()
    assert rejecting.incidents() == [("rejection_rate", "erp/items", "over")]


@pytest.mark.parametrize(("good", "expected"), [(10, "open"), (90, "over")])
def test_many_rejects_are_over_when_a_later_sync_has_few(
    rejecting: Watch, good: int, expected: str
) -> None:
    for number in range(100, 100 + good):
        rejecting.world.store["items"].put(item(number))
    status = RunStatus.REJECTED if expected == "open" else RunStatus.SUCCESS
    rejecting.world.sync(full_refresh=True, status=status)
    rejecting.look()
    assert rejecting.incidents() == [("rejection_rate", "erp/items", expected)]


def test_a_clean_sync_ends_them_although_something_old_is_still_in_quarantine(
    rejecting: Watch,
) -> None:
    for number in range(5):
        rejecting.world.store["items"].put(item(number))
    rejecting.world.sync(full_refresh=True)
    rejecting.world.sql("UPDATE bridge.quarantine SET resolved_at = NULL")
    rejecting.look()
    assert rejecting.incidents() == [("rejection_rate", "erp/items", "over")]


def test_one_bad_record_read_again_by_every_delta_does_not_cry(watch: Watch) -> None:
    table = watch.world.add_items(10)
    table.put(item(1, base_uom="far too long for ten"))
    for _ in range(3):
        watch.world.sync()
    watch.look()
    assert watch.incidents() == []
