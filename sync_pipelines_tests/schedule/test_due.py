"""Due entities and their leases in a real catalog: who is taken, by whom, for how long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from sync_pipelines.catalog.connectors import change_connector, get_connector
from sync_pipelines.catalog.dues import list_agenda, list_leases
from sync_pipelines.catalog.entities import change_entity
from sync_pipelines.catalog.runs import hold_entity
from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import EntityBusyError, SourceUnreachableError, SyncError
from sync_pipelines.model.due import Kind
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.schedule.tick import (
    Ending,
    Situation,
    Tick,
    tick_cron,
    tick_due,
    tick_full_read,
)
from sync_pipelines_tests.world import World, item


def tick(
    world: World,
    known: list[str] | None = None,
    endings: dict[UUID, Ending] | None = None,
    **options: Any,
) -> Tick:
    known = [table.slug for table in world.store.tables()] if known is None else known
    return tick_due(
        world.database,
        "erp",
        world.settings,
        Situation(known, endings=lambda leases: endings or {}, **options),
    )


def taken(done: Tick) -> dict[str, list[str]]:
    return {run.kind.value: sorted(entity.slug for entity in run.entities) for _, run in done.runs}


def wait_for(world: World, slug: str = "items", seconds: float = 0) -> None:
    """Let an entity be due by its interval in so many seconds, negative = late."""
    world.sql(
        "UPDATE bridge.entities SET next_due_at = now() + %s * interval '1 second' WHERE slug = %s",
        seconds,
        slug,
    )


def seconds_until_due(world: World, slug: str = "items") -> float:
    return float(
        world.sql(
            "SELECT extract(epoch FROM next_due_at - now()) FROM bridge.entities WHERE slug = %s",
            slug,
        )[0][0]
    )


def lease_of(world: World, slug: str = "items") -> UUID | None:
    return world.sql("SELECT lease_uid FROM bridge.entities WHERE slug = %s", slug)[0][0]


@pytest.fixture
def quiet(world: World) -> World:
    """Without probes, and with an item that was synced once."""
    change_connector(world.database, get_connector(world.database, "erp"), probe_changes=False)
    world.add_items(3)
    world.sync()
    return world


def test_a_new_entity_is_due_at_once_and_then_by_its_interval(world: World) -> None:
    world.add_items(3)
    done = tick(world)
    assert taken(done) == {"large": ["items"]}
    assert done.runs[0][1].trigger == "first sync"
    world.sync(lease=done.runs[0][0])
    assert lease_of(world) is None
    assert 50 < seconds_until_due(world) < 70, "a follow-up, for what came late"
    world.sync()
    assert 260 < seconds_until_due(world) <= 300
    again = tick(world)
    assert again.runs == []
    assert "nothing is due; next: items in" in again.message


def test_missed_ticks_run_once(quiet: World) -> None:
    wait_for(quiet, seconds=-86_400)
    done = tick(quiet)
    quiet.sync(lease=done.runs[0][0])
    assert tick(quiet).runs == []
    assert seconds_until_due(quiet) > 0


def test_what_is_taken_is_not_taken_again_while_its_run_goes_on_however_long(quiet: World) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    assert tick(quiet).runs == []
    quiet.sql("UPDATE bridge.entities SET leased_until = now() - interval '1 hour'")
    assert tick(quiet, endings={lease: Ending.UNFINISHED}).runs == []
    assert lease_of(quiet) == lease


def test_a_lease_of_a_run_that_never_came_ends_by_itself(quiet: World) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    quiet.sql("UPDATE bridge.entities SET leased_until = now() - interval '1 second'")
    [(other, _)] = tick(quiet).runs
    assert other != lease
    quiet.sync()
    quiet.sql("UPDATE bridge.entities SET leased_until = now() - interval '1 second'")
    assert tick(quiet).runs == []
    assert lease_of(quiet) is None, "nothing is left of it although it is not due"


@pytest.mark.parametrize(
    ("ending", "failures", "soon"),
    [(Ending.FAILED, 1, False), (Ending.CANCELED, 0, False), (Ending.SUCCEEDED, 0, True)],
)
def test_the_lease_ends_with_the_run_whatever_its_end(
    quiet: World, ending: Ending, failures: int, soon: bool
) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    done = tick(quiet, endings={lease: ending})
    assert bool(done.runs) is soon
    assert quiet.entity().timeline.consecutive_failures == failures
    assert soon or (lease_of(quiet) is None and 55 < seconds_until_due(quiet) < 70)


def test_a_failure_is_due_again_with_growing_pauses_and_a_success_forgets_them(
    quiet: World,
) -> None:
    quiet.faults.add(Fault(drop_connection=True, times=None))
    pauses = []
    for _ in range(10):
        wait_for(quiet)
        [(lease, run)] = tick(quiet).runs
        assert run.trigger in ("interval", "retry")
        quiet.fails(SourceUnreachableError, lease=lease)
        assert lease_of(quiet) is None
        pauses.append(seconds_until_due(quiet))
    assert all(later >= 0.99 * earlier for earlier, later in zip(pauses, pauses[1:], strict=False))
    assert 55 < pauses[0] < 70
    assert 3500 < pauses[-1] < 4000
    quiet.faults.clear()
    quiet.sync()
    assert seconds_until_due(quiet) <= 300
    assert quiet.entity().timeline.consecutive_failures == 0


def test_a_failure_that_is_tried_again_at_once_is_not_counted_and_keeps_its_lease(
    quiet: World,
) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    quiet.faults.add(Fault(drop_connection=True, times=None))
    quiet.fails(SourceUnreachableError, lease=lease, will_try_again=True)
    assert (lease_of(quiet), quiet.entity().timeline.consecutive_failures) == (lease, 0)
    quiet.fails(SourceUnreachableError, lease=lease)
    assert (lease_of(quiet), quiet.entity().timeline.consecutive_failures) == (None, 1)


def test_a_run_of_a_person_leaves_the_lease_of_a_waiting_run_alone(quiet: World) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    quiet.sync()
    assert lease_of(quiet) == lease


@pytest.mark.parametrize(
    "columns",
    [{"sync_enabled": False}, {"status": "action_required"}, {"status": "vanished"}],
    ids=lambda columns: str(columns),
)
def test_what_may_not_be_synced_is_not_due(quiet: World, columns: dict[str, Any]) -> None:
    wait_for(quiet)
    quiet.set(**columns)
    assert tick(quiet).runs == []
    [row] = list_agenda(quiet.database, get_connector(quiet.database, "erp").uid, by_cron=False)
    assert row["hindrance"] is not None


def test_nothing_of_an_inactive_connector_is_due(quiet: World) -> None:
    wait_for(quiet)
    change_connector(quiet.database, get_connector(quiet.database, "erp"), is_active=False)
    done = tick(quiet)
    assert done.runs == []
    assert "switched off" in done.message


def test_what_a_person_syncs_right_now_is_left_alone(quiet: World) -> None:
    wait_for(quiet)
    with hold_entity(quiet.database, quiet.entity(), 1):
        assert tick(quiet).runs == []
    assert taken(tick(quiet)) == {"regular": ["items"]}


def test_what_waits_in_a_run_of_a_person_is_left_alone_until_that_run_came_to_it(
    quiet: World,
) -> None:
    wait_for(quiet)
    asked = datetime.now(UTC) + timedelta(seconds=1)
    assert tick(quiet, queued={"items": asked}).runs == []
    assert taken(tick(quiet, queued={"items": asked - timedelta(hours=1)})) == {
        "regular": ["items"]
    }


def test_what_the_definitions_do_not_know_yet_is_not_started(quiet: World) -> None:
    quiet.add_items(3, slug="orders")
    wait_for(quiet)
    assert taken(tick(quiet, ["items"])) == {"regular": ["items"]}
    assert tick(quiet, []).runs == []


def test_two_daemons_at_once_take_every_entity_once(world: World) -> None:
    for number in range(40):
        world.add_items(0, slug=f"e{number:02d}")
    with ThreadPoolExecutor(6) as pool:
        ticks = list(pool.map(lambda _: tick(world), range(6)))
    slugs = [entity.slug for done in ticks for _, run in done.runs for entity in run.entities]
    assert sorted(slugs) == [f"e{number:02d}" for number in range(40)]
    leases = list_leases(world.database, get_connector(world.database, "erp").uid)
    assert sum(lease.entities for lease in leases) == 40


def test_a_run_holds_at_most_so_many_entities_as_the_connector_says(world: World) -> None:
    for number in range(7):
        world.add_items(0, slug=f"e{number}")
    change_connector(
        world.database, get_connector(world.database, "erp"), settings={"max_entities_per_run": 3}
    )
    assert [len(run.entities) for _, run in tick(world).runs] == [3]
    assert [len(run.entities) for _, run in tick(world, unfinished=[Kind.LARGE]).runs] == [3]
    assert tick(world, unfinished=[Kind.LARGE, Kind.LARGE]).runs == []


def test_a_full_reconciliation_reads_everything_once_and_finds_what_was_deleted(
    quiet: World,
) -> None:
    quiet.store["items"].delete(("A00001",))
    done = tick_full_read(
        quiet.database, "erp", quiet.settings, Situation(["items"]), datetime.now(UTC)
    )
    assert taken(done) == {"full read": ["items"]}
    assert tick(quiet).runs == []
    quiet.sync(lease=done.runs[0][0], full_refresh=True)
    assert tick(quiet).runs == []
    quiet.assert_equal_to_truth()


def test_an_entity_that_is_busy_when_its_full_read_comes_gets_it_afterwards(quiet: World) -> None:
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    assert (
        tick_full_read(
            quiet.database, "erp", quiet.settings, Situation(["items"]), datetime.now(UTC)
        ).runs
        == []
    )
    quiet.sync(lease=lease)
    assert taken(tick(quiet)) == {"full read": ["items"]}


def test_a_full_read_is_tried_again_and_given_up_so_that_deltas_go_on(quiet: World) -> None:
    quiet.faults.add(Fault(drop_connection=True, times=None))
    done = tick_full_read(
        quiet.database, "erp", quiet.settings, Situation(["items"]), datetime.now(UTC)
    )
    for _ in range(3):
        [(lease, run)] = done.runs
        assert run.kind is Kind.FULL_READ
        quiet.fails(SourceUnreachableError, lease=lease, full_refresh=True)
        assert tick(quiet).runs == [], "it waits for its pause"
        wait_for(quiet)
        done = tick(quiet)
    assert taken(done) == {"regular": ["items"]}


def test_with_a_cron_intervals_rest_but_retries_and_first_syncs_do_not(quiet: World) -> None:
    change_connector(quiet.database, get_connector(quiet.database, "erp"), sync_cron="0 * * * *")
    wait_for(quiet, seconds=-10)
    done = tick(quiet)
    assert done.runs == []
    assert "cron 0 * * * * comes next at" in done.message
    quiet.set(due_reason="retry")
    assert taken(tick(quiet)) == {"regular": ["items"]}


def test_when_the_cron_comes_everything_is_due_once(quiet: World) -> None:
    quiet.add_items(2, slug="orders")
    quiet.sync("orders")
    change_connector(quiet.database, get_connector(quiet.database, "erp"), sync_cron="0 * * * *")
    done = tick_cron(
        quiet.database, "erp", quiet.settings, Situation(["items", "orders"]), datetime.now(UTC)
    )
    assert taken(done) == {"regular": ["items", "orders"]}
    assert done.runs[0][1].trigger == "cron"
    for slug in ("items", "orders"):
        quiet.sync(slug, lease=done.runs[0][0])
    assert tick(quiet).runs == []


def test_a_shorter_interval_counts_from_now(quiet: World) -> None:
    change_entity(quiet.database, quiet.entity(), sync_interval_seconds=86_400)
    quiet.sync()
    assert seconds_until_due(quiet) > 80_000
    change_entity(quiet.database, quiet.entity(), sync_interval_seconds=60)
    assert seconds_until_due(quiet) <= 60


def test_an_entity_never_overlaps_itself_whoever_asks(quiet: World) -> None:
    """A run of a sensor, one of the UI and one of the command line at the same moment."""
    quiet.settings = quiet.settings.model_copy(update={"entity_wait_seconds": 0.1})
    quiet.store["items"].put(item(7))
    wait_for(quiet)
    [(lease, _)] = tick(quiet).runs
    quiet.faults.add(Fault(kind="data", delay_seconds=1, times=None))

    def attempt(lease: UUID | None) -> Any:
        try:
            return sync_entity(quiet.database, "erp", "items", settings=quiet.settings, lease=lease)
        except SyncError as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(attempt, [lease, None, None]))
    assert sum(isinstance(one, EntityBusyError) for one in found) == 2
    assert sum(run["records_inserted"] for run in quiet.runs()) == 4
    quiet.assert_equal_to_truth()
