"""SIGKILL syncs at random instants while the source writes and changes its columns, then look for what was lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import IntegerRowversions, RequestInfo, TwinColumn
from sync_pipelines.errors import SyncError
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import TOKEN, World, item

PAGE_SIZE = 20
BATCH_ROWS = 60
ROWS = 240
EXTRA_COLUMNS = ("colour", "size", "shape")
KILLS_BEFORE_A_CHECK = 3
DECLARED_TYPES = {
    "base_uom": ("VARCHAR(10)", "VARCHAR(20)", "VARCHAR(60)", "TEXT"),
    "weight_per_unit": ("NUMERIC(10, 3)", "NUMERIC(12, 4)", "NUMERIC(16, 6)"),
}

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    ["sync_pipelines_tests.soak.kills", "sync_pipelines.destinations.postgres.adapter"]
)


def doomed_sync(url: str, home: str, full_refresh: bool, started: Any) -> None:
    """The child: sync erp/items until the parent kills it, or to the end."""
    os.environ.update(TWIN_TOKEN=TOKEN, TMPDIR=home)
    settings = Settings(
        _env_file=None,
        home=Path(home) / "home",
        max_page_size=PAGE_SIZE,
        batch_rows=BATCH_ROWS,
        entity_wait_seconds=10,
    )
    started.set()
    sync_entity(Database(url), "erp", "items", settings=settings, full_refresh=full_refresh)


@dataclass
class Tally:
    """What was done: `killed` runs died, `survived` ended before their kill, `checks` compared table and truth."""

    killed: int = 0
    survived: int = 0
    checks: int = 0
    schema_changes: int = 0
    statuses: dict[str, int] = field(default_factory=dict)


class KillSoak:
    """One entity whose syncs are killed; everything random comes from `seed`, except the instant that a kill hits."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.tally = Tally()
        self.world.settings = world.settings.model_copy(
            update={
                "max_page_size": PAGE_SIZE,
                "batch_rows": BATCH_ROWS,
                "entity_wait_seconds": 10.0,
            }
        )
        self.table = world.add_items(ROWS, rowversions=IntegerRowversions(1), comparator="integer")
        world.set(lookback_seconds=0)
        self._next_key = ROWS
        self._lock = threading.Lock()
        self._ids: dict[tuple[Any, ...], Any] = {}
        self._run_seconds: dict[bool, float] = {}

    def run(self, kills: int) -> Tally:
        """Kill until `kills` runs died; compare with the truth after every few."""
        for full_refresh in (True, False):
            self._run_seconds[full_refresh] = self._measure(full_refresh=full_refresh)
        while self.tally.killed < kills:
            for _ in range(self.random.randint(1, KILLS_BEFORE_A_CHECK)):
                self._change_the_source()
                self._kill_one()
            self.check()
        return self.tally

    def _measure(self, *, full_refresh: bool) -> float:
        """Seconds of a sync in a child, so that kills fall anywhere in a run."""
        child, started = self._start(full_refresh=full_refresh)
        started.wait(60)
        started_monotonic = time.monotonic()
        child.join(120)
        assert child.exitcode == 0
        return time.monotonic() - started_monotonic

    def _start(self, *, full_refresh: bool) -> tuple[Any, Any]:
        started = _forkserver.Event()
        home = str(self.world.settings.home.parent)
        child = _forkserver.Process(
            target=doomed_sync, args=(self.world.database.url, home, full_refresh, started)
        )
        child.start()
        return child, started

    def _kill_one(self) -> None:
        """Start a sync, change the source at a random request of it, and kill it at a random instant."""
        changed_at = self.random.randint(1, ROWS // PAGE_SIZE)
        requests = 0

        def hook(request: RequestInfo) -> None:
            nonlocal requests
            with self._lock:
                requests += request.kind == "data"
                due = requests == changed_at and request.kind == "data"
            if due:
                self._change_the_source()

        full_refresh = self.random.random() < 0.4
        delay_seconds = self.random.uniform(0, self._run_seconds[full_refresh])
        self.world.faults.on_request = hook
        try:
            child, started = self._start(full_refresh=full_refresh)
            assert started.wait(60)
            child.join(delay_seconds)
            if child.exitcode is None:
                os.kill(child.pid, signal.SIGKILL)
            child.join(60)
        finally:
            self.world.faults.on_request = None
        if child.exitcode == -signal.SIGKILL:
            self.tally.killed += 1
        else:
            self.tally.survived += 1
        # 1: ended by an error of ours, which the check below judges by its effect.
        assert child.exitcode in (-signal.SIGKILL, 0, 1), child.exitcode

    def _change_the_source(self) -> None:
        with self._lock:
            for _ in range(self.random.randint(1, 8)):
                self._write_one()
            if self.random.random() < 0.35:
                self._change_a_column()

    def _write_one(self) -> None:
        kind = self.random.choice(["update", "update", "insert", "delete", "poison", "repair"])
        keys = sorted(self.table.keys())
        if kind == "insert":
            self._put(self._next_key)
            self._next_key += 1
        elif kind == "delete" and len(keys) > ROWS // 2:
            self.table.delete(self.random.choice(keys))
        elif kind == "poison":
            key = self.random.choice(keys)
            self.table.put_raw(
                key, b'{"item_number": "%s", "weight_per_unit": "x"}' % key[0].encode()
            )
        elif kind == "repair" and self.table.poison_keys:
            self._put(int(sorted(self.table.poison_keys)[0][0][1:]))
        else:
            self._put(int(self.random.choice(keys)[0][1:]))

    def _put(self, number: int) -> None:
        record = item(number, weight_per_unit=self.random.randint(0, 9_000_000) / 8)
        extra = [column.name for column in self.table.columns if column.name in EXTRA_COLUMNS]
        self.table.put(record | {name: f"v{self.random.randint(0, 99)}" for name in extra})

    def _change_a_column(self) -> None:
        """Add, drop or widen a column; a discovery sees it at once, later, or not before the check."""
        self.tally.schema_changes += 1
        names = {column.name for column in self.table.columns}
        kind = self.random.choice(["add", "drop", "widen"])
        if kind == "widen":
            self._widen(self.random.choice(sorted(DECLARED_TYPES)))
        else:
            name = self.random.choice(EXTRA_COLUMNS)
            if name in names:
                self.table.drop_column(name)
            else:
                self.table.add_column(TwinColumn(name, "VARCHAR(20)"), "filled")
        if self.random.random() < 0.5:
            self.world.discover()

    def _widen(self, name: str) -> None:
        types = DECLARED_TYPES[name]
        now = types.index(self.table.column(name).data_type)
        if now + 1 < len(types):
            self.table.change_column(name, types[now + 1])

    def check(self) -> None:
        """Discover and sync: nothing is lost, doubled or left behind, and a further sync writes nothing."""
        self.tally.checks += 1
        self.world.discover()
        self._sync()
        self._sync(full_refresh=True, accept_vanished=True)
        self._sync(full_refresh=True, accept_vanished=True)
        self.world.assert_nothing_left_behind()
        self._assert_equal()
        again = self._sync()
        assert again.ledger.written == 0, "a second sync wrote rows"
        self._assert_ids_are_stable()
        self._assert_runs_have_ended()

    def _sync(self, **options: Any) -> Any:
        result = sync_entity(
            self.world.database, "erp", "items", settings=self.world.settings, **options
        )
        assert result.ledger.balances, result.ledger
        assert result.duplicate_keys == 0
        return result

    def _assert_equal(self) -> None:
        poison = self.table.poison_keys
        held = {
            tuple(row["business_key"]) for row in self.world.quarantine() if row["business_key"]
        }
        assert held == set(poison), (held, poison)
        self.world.assert_equal_to_truth()

    def _assert_ids_are_stable(self) -> None:
        rows = {**self.world.rows(), **self.world.rows(deleted=True)}
        ids = {key: row["_bridge_id"] for key, row in rows.items()}
        assert self._ids.items() <= ids.items(), "a key has another _bridge_id, or its row is gone"
        self._ids = ids

    def _assert_runs_have_ended(self) -> None:
        runs = self.world.sql("SELECT status, count(*) FROM bridge.sync_runs GROUP BY status")
        self.tally.statuses = dict(runs)
        assert "running" not in self.tally.statuses


def run_kills(world: World, kills: int, seed: int) -> Tally:
    """Kill `kills` syncs of a fresh world; every fault found raises AssertionError or the SyncError itself.

    Raises:
        AssertionError: a row was lost, doubled or changed, or something was left behind.
        SyncError: a clean sync did not go through.
    """
    try:
        return KillSoak(world, seed).run(kills)
    except (AssertionError, SyncError) as error:
        error.add_note(
            f"to repeat it: python -m sync_pipelines_tests.soak --kills {kills} --seed {seed}"
        )
        raise
