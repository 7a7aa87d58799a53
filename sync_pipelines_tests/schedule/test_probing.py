"""The change probe: one cheap request per entity shows whether a sync is worth it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import change_connector, get_connector
from sync_pipelines.demo.twin import Fault, IsoRowversions, TimestampRowversions
from sync_pipelines.model.cursor import Codec
from sync_pipelines.schedule.probing import Probing, probe_changes
from sync_pipelines.schedule.tick import Situation, tick_due
from sync_pipelines.sources.probe import UNVERSIONED, is_news
from sync_pipelines_tests.world import World, item


def probe(world: World, **options: Any) -> Probing:
    world.settings = world.settings.model_copy(update={"probe_interval_seconds": 0.001})
    return probe_changes(
        world.database,
        get_connector(world.database, "erp"),
        world.settings,
        by_cron=False,
        **options,
    )


def data_requests(world: World) -> list[Any]:
    return [request for request in world.server.requests_log if request.kind == "data"]


def forget_silence(world: World) -> None:
    world.sql("UPDATE bridge.connectors SET next_probe_at = now() - interval '1 second'")


@pytest.fixture
def synced(world: World) -> World:
    world.add_items(5, rowversions=IsoRowversions())
    world.set(sync_interval_seconds=86_400)
    world.sync()
    world.faults.forget_requests()
    return world


def test_no_news_costs_one_request_and_no_run(synced: World) -> None:
    """Also inside the lookback, where the cursor is lower than what was read."""
    assert (
        synced.entity().position.cursor
        != synced.sql("SELECT seen_rowversion FROM bridge.entities")[0][0]
    )
    found = probe(synced)
    assert (found.probed, found.news) == (1, {})
    [request] = data_requests(synced)
    assert (request.page, request.page_size) == (1, 1)
    assert len(synced.runs()) == 1


def test_news_makes_the_entity_due_and_the_sync_brings_it_and_ends_the_news(synced: World) -> None:
    synced.store["items"].put(item(1, base_uom="NEW"))
    done = tick_due(synced.database, "erp", synced.settings, Situation(["items"]))
    [(lease, run)] = done.runs
    assert run.trigger == "source changed"
    assert "probed 1, 1 with news" in done.message
    synced.sync(lease=lease)
    synced.assert_equal_to_truth()
    for _ in range(3):
        assert probe(synced).news == {}


def test_every_later_change_is_news_again(synced: World) -> None:
    for number in range(3):
        synced.store["items"].put(item(number, base_uom="NEW"))
        assert len(probe(synced).news) == 1
        synced.sync()
    synced.assert_equal_to_truth()


def test_a_record_in_quarantine_is_news_only_once(synced: World) -> None:
    synced.store["items"].put(item(9, base_uom="far too long for ten"))
    assert len(probe(synced).news) == 1
    synced.sync()
    assert probe(synced).news == {}


def test_news_that_a_sync_never_reads_does_not_start_one_for_ever(synced: World) -> None:
    """A source whose probe answers what its pages do not: the interval goes on, the loop does not."""
    body = b'{"rows": [{"item_number": "X", "row_version": "2099-12-31T23:59:59+00:00"}]}'
    fault = synced.faults.add(Fault(kind="data", body=body, times=1))
    assert len(probe(synced).news) == 1
    assert synced.faults.fired(fault) == 1
    synced.sync()
    synced.faults.add(Fault(kind="data", body=body, times=1))
    assert probe(synced).news == {}


def test_a_late_commit_below_what_was_seen_is_left_to_the_interval(world: World) -> None:
    table = world.add_items(3, rowversions=IsoRowversions())
    late = table.begin(item(7))
    table.put(item(8))
    world.sync()
    late.commit()
    assert probe(world).news == {}
    assert world.entity().timeline.due_reason == "follow-up"
    world.sync()
    world.assert_equal_to_truth()


def test_what_shares_the_last_rowversion_is_no_news_but_comes_with_the_follow_up(
    world: World,
) -> None:
    """SyncFlow's rowversions are seconds, so a write may tie with what was read a moment before."""
    now = datetime.now(UTC)
    table = world.add_items(3, rowversions=TimestampRowversions(clock=lambda: now))
    world.set(sync_interval_seconds=86_400)
    world.sync()
    table.put(item(1, base_uom="TIED"))
    assert probe(world).news == {}
    entity = world.entity()
    assert (
        entity.timeline.due_reason,
        entity.timeline.next_due_at < datetime.now(UTC) + timedelta(seconds=70),
    ) == (
        "follow-up",
        True,
    )
    world.sync()
    world.assert_equal_to_truth()
    assert world.entity().timeline.due_reason == "interval"


def test_what_is_not_rowversioned_failing_or_in_the_future_is_not_probed(synced: World) -> None:
    synced.set(delta_strategy="hash")
    assert probe(synced).probed == 0
    synced.set(delta_strategy="rowversion", consecutive_failures=2)
    assert probe(synced).probed == 0
    synced.set(consecutive_failures=0, seen_rowversion=None)
    assert probe(synced).probed == 0


def test_an_entity_is_not_probed_more_often_than_its_interval(synced: World) -> None:
    connector = get_connector(synced.database, "erp")
    change_connector(
        synced.database, connector, settings={**connector.settings, "probe_interval_seconds": 3600}
    )
    assert [probe(synced).probed for _ in range(3)] == [1, 0, 0]


def test_probing_can_be_switched_off(synced: World) -> None:
    change_connector(synced.database, get_connector(synced.database, "erp"), probe_changes=False)
    assert probe(synced).probed == 0
    assert data_requests(synced) == []


def test_a_dead_source_is_asked_a_few_times_and_then_left_alone_for_longer_and_longer(
    world: World,
) -> None:
    for number in range(30):
        world.add_items(1, slug=f"e{number}")
        world.sync(f"e{number}")
    world.faults.forget_requests()
    world.faults.add(Fault(kind="data", status=503, times=None))
    silences = []
    for _ in range(4):
        forget_silence(world)
        before = len(data_requests(world))
        found = probe(world)
        assert found.trouble
        assert len(data_requests(world)) - before <= 13, "at most a wave and the patience of three"
        silences.append(found.silent_seconds)
    assert silences == [30, 60, 120, 240]
    asked = len(data_requests(world))
    assert "again in" in str(probe(world))
    assert len(data_requests(world)) == asked
    world.faults.clear()
    forget_silence(world)
    assert probe(world).trouble is None
    assert world.sql(
        "SELECT probe_failures, probe_error, next_probe_at FROM bridge.connectors"
    ) == [(0, None, None)]


def test_one_broken_entity_does_not_silence_the_others(world: World) -> None:
    for slug in ("items", "orders", "parts"):
        world.add_items(1, slug=slug, rowversions=IsoRowversions())
        world.sync(slug)
    world.faults.add(Fault(kind="data", slug="orders", status=503, times=None))
    world.store["parts"].put(item(2))
    found = probe(world)
    assert (found.trouble, len(found.news), len(found.failed)) == (None, 1, 1)


def test_what_the_deadline_leaves_is_probed_first_by_the_next_tick(world: World) -> None:
    slugs = [f"e{number}" for number in range(6)]
    for slug in slugs:
        world.add_items(1, slug=slug)
        world.sync(slug)
    connector = get_connector(world.database, "erp")
    change_connector(world.database, connector, settings={"max_connections": 2})
    world.faults.forget_requests()
    world.faults.add(Fault(kind="data", delay_seconds=0.4, times=None))
    first = probe(world, deadline_seconds=0.2)
    assert (first.probed, first.left) == (2, 4)
    probe(world, deadline_seconds=0.2)
    probe(world, deadline_seconds=0.2)
    assert sorted(request.slug for request in data_requests(world)) == slugs


def test_probes_use_at_most_half_of_a_rate_limit(world: World) -> None:
    for number in range(8):
        world.add_items(1, slug=f"e{number}")
        world.sync(f"e{number}")
    change_connector(
        world.database, get_connector(world.database, "erp"), settings={"requests_per_second": 4}
    )
    assert probe(world, deadline_seconds=1.1).probed == 2


@pytest.mark.parametrize(
    ("codec", "seen", "first", "found", "news"),
    [
        (Codec.INTEGER, "9", "10", None, True),
        (Codec.INTEGER, "10", "9", None, False),
        (Codec.INTEGER, "10", "10", None, False),
        (Codec.INTEGER, "10", "11", "11", False),
        (Codec.INTEGER, "10", "12", "11", True),
        (Codec.INTEGER, "10", "x", None, True),
        (Codec.INTEGER, "10", UNVERSIONED, None, True),
        (Codec.INTEGER, "10", None, None, False),
        (Codec.OPAQUE, "b", "a", None, True),
        (Codec.OPAQUE, "b", "b", None, False),
        (Codec.TEXT, "a", "b", None, True),
    ],
)
def test_what_counts_as_news(
    codec: Codec, seen: str, first: str | None, found: str | None, news: bool
) -> None:
    assert is_news(codec, seen, first, found) is news
