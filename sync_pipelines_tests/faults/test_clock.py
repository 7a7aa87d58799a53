"""Fault 41: clocks that are wrong, on our side or theirs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.demo.twin import Fault, TimestampRowversions
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.audit import audit_entity
from sync_pipelines.sources.http.connector_session import open_session
from sync_pipelines_tests.faults.helpers import healed, settled
from sync_pipelines_tests.world import World, item

HOUR = 3600


class Clock:
    """The source's clock: a second passes with every write, and it can jump."""

    def __init__(self, offset_seconds: int) -> None:
        self.now = datetime.now(UTC) + timedelta(seconds=offset_seconds)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def jump(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)


def test_fault_41_clocks_that_jump_or_disagree(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for skew in (HOUR, -HOUR):
        slug = f"skewed{skew}"
        clock = Clock(skew)
        world.server.clock = lambda skew=skew: time.time() + skew
        table = world.add_items(20, slug, rowversions=TimestampRowversions(clock=clock))
        world.sync(slug)
        newest = max(str(row["_bridge_rowversion"]) for row in world.rows(slug).values())
        assert (world.entity(slug).position.cursor or "") < newest, (
            "the cursor stays behind what the source wrote last"
        )
        clock.jump(HOUR)
        table.put(item(1, base_uom="AHEAD"))
        healed(world, 1, slug)
        # Within the lookback a clock set back, as by the end of summer time, loses nothing.
        world.set(slug, lookback_seconds=2 * HOUR, last_rowversion=None, cursor_marks="[]")
        world.sync(slug)
        clock.jump(-HOUR)
        table.put(item(2, base_uom="BACK"))
        result = world.sync(slug)
        assert (result.mode, result.ledger.updated) == (Mode.DELTA, 1)
        settled(world, slug)
        # Beyond it the rows are found by the audit and brought by a full refresh.
        world.set(slug, lookback_seconds=60)
        world.sync(slug)
        clock.jump(-3 * HOUR)
        table.put(item(3, base_uom="LOST"))
        assert world.sync(slug).ledger.written == 0
        assert audit_entity(world.database, "erp", slug, settings=world.settings).missed == 1
        world.sync(slug, full_refresh=True)
        world.assert_equal_to_truth(slug)
        # A Retry-After date is meant by the clock of the one who wrote it.
        pauses: list[float] = []
        monkeypatch.setattr(
            open_session(get_connector(world.database, "erp"), world.settings),
            "_sleep",
            pauses.append,
        )
        until = formatdate(time.time() + skew + 20, usegmt=True)
        world.faults.add(Fault(kind="data", status=429, headers={"Retry-After": until}))
        world.sync(slug)
        assert [15 < pause < 25 for pause in pauses] == [True]
        world.faults.clear()
