"""What a run may take: it ends before it takes more, nothing is published, and the next command says what to raise."""

from __future__ import annotations

import time

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.slots import writer_place
from sync_pipelines.errors import RunLimitError, SourceContractError
from sync_pipelines.runs.bounds import RunBounds
from sync_pipelines.sources.descriptions import MAX_APIS, parse_apis
from sync_pipelines_tests.faults.helpers import configure, healed, refused
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.world import World


def test_a_run_ends_at_the_limit_that_its_connector_sets_and_goes_on_when_it_is_raised(
    world: World,
) -> None:
    changed_items(world)
    world.settings = world.settings.model_copy(update={"max_page_size": 3})
    for name, value, words in (
        ("max_run_rows", 2, "more than the 2 of a run"),
        ("max_run_bytes", 1024, "more than the 1024 of a run"),
        ("max_run_seconds", 0.000001, "longer than the 1e-06 s of a run"),
    ):
        configure(world, **{name: value})
        refused(world, RunLimitError, words, f"sync-pipelines connector set erp --set {name}=")
    configure(world)
    healed(world)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("max_run_rows", 2, "MAX_RUN_ROWS"),
        ("max_process_memory_bytes", 1_000_000, "MAX_PROCESS_MEMORY_BYTES"),
        ("min_free_disk_bytes", 10**18, "MIN_FREE_DISK_BYTES"),
    ],
)
def test_the_limits_of_the_process_end_a_run_too(
    world: World, setting: str, value: int, words: str
) -> None:
    changed_items(world)
    world.settings = world.settings.model_copy(update={"max_page_size": 2, setting: value})
    refused(world, RunLimitError, words)


def test_by_default_a_run_may_take_four_fifths_of_the_memory_and_a_day(world: World) -> None:
    world.add_items(1)
    bounds = RunBounds.of(world.settings, get_connector(world.database, "erp"))
    bounds.check(rows=10**8, read_bytes=10**11, started_monotonic=time.monotonic())
    assert 10**8 < bounds.max_memory_bytes < 10**14
    assert bounds.max_seconds == 86_400


def test_a_source_that_lists_a_million_apis_is_refused_and_what_is_known_is_not_taken_for_vanished(
    world: World,
) -> None:
    world.add_items(1)
    asked = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal asked
        while True:
            asked += 1
            yield {"slug": f"a{asked}", "columns": []}

    with pytest.raises(SourceContractError, match=f"more than {MAX_APIS} APIs"):
        parse_apis(endless(), get_connector(world.database, "erp"), world.settings)
    assert asked == MAX_APIS + 1


def test_a_run_that_waits_for_a_place_among_the_writers_ends_at_its_limit(world: World) -> None:
    world.add_items(5)
    world.settings = world.settings.model_copy(
        update={"max_destination_writers": 1, "max_run_seconds": 1.0}
    )
    with (
        world.database.connect(autocommit=True) as other,
        writer_place(other, "bridge", 1, lambda: None),
    ):
        refused(world, RunLimitError, "longer than the 1 s of a run")
    world.settings = world.settings.model_copy(update={"max_run_seconds": 600.0})
    assert world.sync().ledger.inserted == 5
