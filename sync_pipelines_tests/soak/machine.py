"""A state machine that does to one entity whatever sources, networks and operators do, and checks the promise after every step.

Time is simulated: the twin's clock moves only by the rule `time_passes`, and before every sync the marks of earlier reads are
put to the age that they have by that clock. What the machine may do is what docs/promise.md assumes of a source.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import (
    Fault,
    HexRowversions,
    IntegerRowversions,
    IsoRowversions,
    Pending,
    RequestInfo,
    TimestampRowversions,
    TwinColumn,
    TwinServer,
    TwinStore,
    TwinTable,
)
from sync_pipelines.demo.twin.rows import encode_json
from sync_pipelines.errors import EntityBusyError, RetriableError, SourceContractError, SyncError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.run import PUBLISHED, RunStatus
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.test_crashes import POINTS, die_at
from sync_pipelines_tests.world import TOKEN, World, comparable

PAGE_SIZE = 5
KEYS = 30
LOOKBACK_SECONDS = 60
LATEST_SECONDS = 45  # a write is open for at most so long; the rest is for a machine that is slow between two steps
MAX_KILLS = 1
KINDS = ("digits", "integer", "integer in order", "hexadecimal", "iso", "full", "full unsorted")
EXTRA_COLUMNS = ("colour", "size")

_numbers = itertools.count(1)
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    ["sync_pipelines_tests.soak.machine", "sync_pipelines.destinations.postgres.adapter"]
)

picks = st.lists(st.integers(0, KEYS - 1), min_size=1, max_size=6)


@dataclass
class Ground:
    """What all examples of one run of the machine share; counts what was done."""

    database: Database
    settings: Settings
    connection: psycopg.Connection[Any]
    examples: int = 0
    steps: int = 0
    syncs: int = 0
    failed: int = 0
    kills: int = 0


def doomed_sync(
    url: str, home: str, connector: str, slug: str, point: str, full_refresh: bool
) -> None:
    """The child: syncs until it dies at the point, or to the end if it never comes there."""
    os.environ.update(TWIN_TOKEN=TOKEN, TMPDIR=home)
    settings = Settings(
        _env_file=None, home=Path(home), max_page_size=PAGE_SIZE, entity_wait_seconds=10
    )
    die_at(POINTS[point])
    sync_entity(Database(url), connector, slug, settings=settings, full_refresh=full_refresh)


class SoakMachine(RuleBasedStateMachine):
    """One entity of one kind; a subclass sets `ground` and `kind`."""

    ground: Ground
    kind: str

    def __init__(self) -> None:
        super().__init__()
        number = next(_numbers)
        self.connector, self.slug = f"soak{number}", f"items{number}"
        self.now = datetime(2020, 1, 1, tzinfo=UTC)
        self.versions = itertools.count(1)
        self.pending: dict[int, tuple[Pending, datetime]] = {}
        self.twinned: set[int] = set()
        self.mark_times: dict[str, datetime] = {}
        self.ids: dict[str, str] = {}
        self.kills = 0
        self.drifted = self.wide = self.wider = self.may_run = False
        self.checked = True
        store = TwinStore()
        self.server = TwinServer(store, token=TOKEN).start()
        add_connector(
            self.ground.database,
            self.connector,
            self.server.url,
            "env:TWIN_TOKEN",
            settings={"backoff_seconds": 0.01},
        )
        self.world = World(
            self.ground.database, self.ground.settings, store, self.server, self.connector
        )
        self.ground.examples += 1

    @initialize(rows=st.integers(0, 14), small_batches=st.booleans(), burst=st.sampled_from([1, 3]))
    def start(self, rows: int, small_batches: bool, burst: int) -> None:
        if small_batches:
            self.world.settings = self.ground.settings.model_copy(update={"batch_rows": 7})
        columns = (
            TwinColumn("item_number", "VARCHAR(50)", is_nullable=False, is_business_key=True),
            TwinColumn("item_description", "TEXT"),
            TwinColumn("base_uom", "VARCHAR(10)"),
            TwinColumn("weight_per_unit", "NUMERIC(10, 3)"),
        )
        full = self.kind.startswith("full")
        integers = self.kind.startswith("integer")
        rowversions = {
            "digits": TimestampRowversions(clock=lambda: self.now),
            "iso": IsoRowversions(clock=lambda: self.now),
            "hexadecimal": HexRowversions(burst=burst),
        }.get(self.kind, IntegerRowversions(7, burst=burst))
        self.table = TwinTable(
            self.slug,
            columns=columns,
            delta_strategy="full" if full else "rowversion",
            comparator="integer" if integers else "text",
            rowversions=rowversions,
            has_rowversion=not full,
            sorted_pages=self.kind != "full unsorted",
        )
        self.world.add(self.table)
        lookback = 0 if self.kind == "integer in order" else LOOKBACK_SECONDS
        self.sql(
            "UPDATE bridge.entities SET lookback_seconds = %s WHERE slug = %s", lookback, self.slug
        )
        for number in range(rows):
            self.put(number)

    # What a source does.

    @rule(numbers=picks)
    def write(self, numbers: list[int]) -> None:
        for number in self.free(numbers):
            self.put(number)

    @rule(numbers=st.lists(st.integers(0, KEYS - 1), min_size=6, max_size=14, unique=True))
    def write_many_with_one_rowversion(self, numbers: list[int]) -> None:
        version = None if self.kind.startswith("full") else self.table.rowversions()
        for number in self.free(numbers):
            self.put(number, version)

    @rule(numbers=picks)
    def touch(self, numbers: list[int]) -> None:
        for number in self.free(numbers):
            if key_of(number) in self.table and number not in self.twinned:
                self.table.touch(key_of(number))

    @rule(numbers=picks)
    def delete(self, numbers: list[int]) -> None:
        for number in self.free(numbers):
            self.remove(number)

    @rule(number=st.integers(0, KEYS - 1))
    def begin_a_write(self, number: int) -> None:
        if self.kind != "integer in order" and self.free([number]):
            self.pending[number] = (self.table.begin(self.record(number)), self.now)

    @precondition(lambda self: self.pending)
    @rule()
    def commit_the_open_writes(self) -> None:
        self.commit()

    @rule(seconds=st.sampled_from([1, 2, 20, 44, 61, 200]))
    def time_passes(self, seconds: int) -> None:
        later = self.now + timedelta(seconds=seconds)
        for number, (_, begun_at) in list(self.pending.items()):
            if (later - begun_at).total_seconds() > LATEST_SECONDS:
                self.commit(number)
        self.now = later

    @rule(number=st.integers(0, KEYS - 1), how=st.integers(0, 3))
    def poison(self, number: int, how: int) -> None:
        if not self.free([number]):
            return
        name = key_of(number)[0].encode()
        bodies = (
            b'{"item_number": "%s", "weight_per_unit": "x"}' % name,
            b'{"item_number": "%s", "base_uom": "far too long to be a unit of anything that was ever counted, weighed or measured"}'
            % name,
            b'{"item_number": null, "base_uom": "%s"}' % name,
            b'{"item_number": "%s", "item_description": "\\u0000"}' % name,
        )
        self.twinned.discard(number)
        self.table.put_raw(key_of(number), bodies[how])

    @rule(number=st.integers(0, KEYS - 1), sync=st.booleans())
    def break_and_put_back(self, number: int, sync: bool) -> None:
        """The same content again, at once: for a clock of seconds even with the same rowversion."""
        record = self.table.get(key_of(number))
        if record is None or number in self.twinned or not self.free([number]):
            return
        self.poison(number, 0)
        if sync:
            self.run()
        self.table.put(record)

    @rule()
    def repair(self) -> None:
        for key in sorted(self.table.poison_keys):
            if self.free([number_of(key)]):
                self.put(number_of(key))

    @rule(number=st.integers(0, KEYS - 1))
    def send_a_key_twice(self, number: int) -> None:
        if not self.free([number]) or key_of(number) not in self.table:
            return
        self.time_passes(1)
        if number in self.pending or self.table.get(key_of(number)) is None:
            return
        # Of two records with one rowversion, and ties in any order, nobody knows the newer.
        used = {entry.rowversion for entry in self.table.log if entry.key == key_of(number)}
        version = next(
            (one for one in (self.table.rowversions() for _ in range(5)) if one not in used), None
        )
        if version is None:
            return
        if self.kind.startswith("full"):
            version = None
        self.table.put_raw(
            key_of(number), encode_json(self.record(number)), version, duplicate=True, poison=False
        )
        self.twinned.add(number)
        self.time_passes(1)

    @precondition(lambda self: not self.drifted)
    @rule(name=st.sampled_from(EXTRA_COLUMNS))
    def add_or_drop_a_column(self, name: str) -> None:
        if any(column.name == name for column in self.table.columns):
            self.table.drop_column(name)
        else:
            self.table.add_column(TwinColumn(name, "VARCHAR(20)"), f"v{next(self.versions)}")
        self.drifted = True

    @precondition(lambda self: not self.drifted and not self.wider)
    @rule()
    def widen_columns(self) -> None:
        self.table.change_column("base_uom", "VARCHAR(60)" if self.wide else "VARCHAR(20)")
        if self.wide:
            self.table.change_column("weight_per_unit", "NUMERIC(14, 5)")
        self.wider, self.wide, self.drifted = self.wide, True, True

    # What goes wrong on the way.

    @rule(
        what=st.sampled_from(
            ["503", "always 503", "cut", "cut politely", "empty", "slow", "dropped", "html"]
        ),
        nth=st.integers(1, 6),
    )
    def misbehave(self, what: str, nth: int) -> None:
        options: dict[str, dict[str, Any]] = {
            "503": {"status": 503},
            "always 503": {"status": 503, "times": None},
            "cut": {"cut_at_byte": 60},
            "cut politely": {"truncate_at_byte": 60},
            "empty": {"empty_rows": True},
            "slow": {"delay_seconds": 0.05, "times": 3},
            "dropped": {"drop_connection": True},
            "html": {"body": b"<html>busy</html>", "content_type": "text/html"},
        }
        self.server.faults.clear()
        self.server.faults.add(Fault(what, kind="data", nth=nth, **options[what]))

    @rule()
    def behave(self) -> None:
        self.server.faults.clear()
        self.table.order_ties = None

    # A source without rowversions that orders anew every time cannot be read by page number at all.
    @precondition(lambda self: not self.kind.startswith("full"))
    @rule()
    def order_ties_anew_every_time(self) -> None:
        self.table.order_ties = "unstable"

    # What an operator or a schedule does.

    @rule()
    def sync(self) -> None:
        self.run()

    @rule(accept=st.booleans())
    def full_refresh(self, accept: bool) -> None:
        self.run(full_refresh=True, accept_vanished=accept)

    @rule(
        nth=st.integers(1, 7),
        numbers=picks,
        how=st.sampled_from(["write", "delete", "commit", "touch", "tie", "drift", "disconnect"]),
        full_refresh=st.booleans(),
        again=st.booleans(),
    )
    def sync_while_rows_move(
        self, nth: int, numbers: list[int], how: str, full_refresh: bool, again: bool
    ) -> None:
        changes: dict[str, Callable[[], None]] = {
            "write": lambda: SoakMachine.write(self, numbers),
            "delete": lambda: SoakMachine.delete(self, numbers),
            "commit": self.commit,
            "touch": lambda: SoakMachine.touch(self, numbers),
            "drift": lambda: self.drift(numbers[0]),
            "disconnect": self.disconnect,
            "tie": lambda: SoakMachine.write_many_with_one_rowversion(
                self, [*{*numbers, *range(8)}]
            ),
        }
        count, lock = itertools.count(1), threading.Lock()

        def hook(request: RequestInfo) -> None:
            with lock:
                number = next(count) if request.kind == "data" else 0
            if number == nth or (again and number == nth + 2):
                changes[how]()

        self.server.faults.on_request = hook
        try:
            self.run(moving=True, full_refresh=full_refresh)
        finally:
            self.server.faults.on_request = None

    @rule(full_refresh=st.booleans())
    def sync_twice_at_once(self, full_refresh: bool) -> None:
        errors: list[BaseException] = []

        def other() -> None:
            try:
                sync_entity(
                    self.ground.database,
                    self.connector,
                    self.slug,
                    settings=self.world.settings,
                    full_refresh=full_refresh,
                )
            except SyncError as error:
                if not isinstance(error, (RetriableError, SourceContractError)):
                    errors.append(error)

        self.age_marks()
        thread = threading.Thread(target=other)
        thread.start()
        try:
            self.run(aged=True, moving=True)
        finally:
            thread.join()
            self.look()
        assert not errors, errors

    @precondition(lambda self: self.kills < MAX_KILLS)
    @rule(point=st.sampled_from(sorted(POINTS)), full_refresh=st.booleans())
    def kill_a_sync(self, point: str, full_refresh: bool) -> None:
        self.kills += 1
        self.ground.kills += 1
        self.server.faults.clear()
        self.age_marks()
        home = str(self.ground.settings.home.parent)
        arguments = (self.ground.database.url, home, self.connector, self.slug, point, full_refresh)
        child = _forkserver.Process(target=doomed_sync, args=arguments)
        child.start()
        child.join(120)
        # 1: it ended by an error of ours, such as too many vanished rows, before it came to the point.
        assert child.exitcode in (-signal.SIGKILL, 0, 1)
        self.may_run = True
        self.look()

    @rule()
    def discover(self) -> None:
        report = self.world.discover()
        assert not report.needs_action, report
        self.drifted = False

    # The promise.

    @invariant()
    def nothing_is_broken(self) -> None:
        self.ground.steps += 1
        if self.checked:
            return
        self.checked = True
        runs = self.sql(
            "SELECT status, records_fetched - records_inserted - records_updated - records_unchanged - records_superseded"
            " - records_quarantined FROM bridge.sync_runs WHERE entity_uid = %s",
            self.world.entity(self.slug).uid,
        )
        assert all(difference == 0 for status, difference in runs if status in PUBLISHED), (
            "a ledger does not balance"
        )
        running = [status for status, _ in runs if status == "running"]
        assert len(running) <= (1 if self.may_run else 0), "a run was left open"
        self.check_ids()
        self.check_cursor()

    def check_ids(self) -> None:
        entity = self.world.entity(self.slug)
        if (
            self.sql("SELECT to_regclass(%s)", quote(entity.target_schema, entity.target_table))[0][
                0
            ]
            is None
        ):
            return
        rows = self.sql(
            f"SELECT item_number, _bridge_id::text FROM {quote(entity.target_schema, entity.target_table)}"
        )
        found = dict(rows)
        assert len(found) == len(rows), "a key is there twice"
        assert self.ids.items() <= found.items(), "a key has another _bridge_id, or its row is gone"
        self.ids = found

    def check_cursor(self) -> None:
        """Oracle (c): what is still to come lies above the cursor."""
        entity = self.world.entity(self.slug)
        if entity.position.cursor is None or entity.position.cursor_codec is None:
            return
        cursor = order_key(Codec(entity.position.cursor_codec), entity.position.cursor)
        for pending, _ in self.pending.values():
            coming = order_key(Codec(entity.position.cursor_codec), pending.rowversion)
            assert coming > cursor, (
                f"the cursor {entity.position.cursor} is past {pending.rowversion}, which is not committed yet"
            )

    def check_caught_up(self) -> None:
        """After a clean sync every good record of the source is in the table, whatever went wrong before."""
        entity = self.world.entity(self.slug)
        rows, held = self.world.rows(self.slug), self.held()
        known = {column.name for column in entity.columns}
        for key, record in self.table.truth().items():
            if key in held or key in self.table.poison_keys:
                continue
            assert key in rows, f"{key} is missing"
            expected = {name: value for name, value in record.items() if name in known}
            assert comparable({name: rows[key][name] for name in expected}) == comparable(
                expected
            ), key

    def check_equal(self) -> None:
        """Oracle (a), (e), (g), once the source rests."""
        self.check_caught_up()
        gone = self.world.rows(self.slug).keys() - self.table.truth().keys() - self.held()
        assert not gone, f"not at the source any more: {gone}"
        repaired = (self.held() & self.table.truth().keys()) - self.table.poison_keys
        assert not repaired, f"still in quarantine although good: {repaired}"
        self.world.assert_nothing_left_behind(self.slug)
        assert all(run["status"] != RunStatus.RUNNING for run in self.world.runs(self.slug))
        assert self.world.entity(self.slug).position.row_count == len(self.world.rows(self.slug)), (
            "row_count is wrong"
        )

    def teardown(self) -> None:
        try:
            if hasattr(self, "table"):
                self.come_to_rest()
        finally:
            self.server.stop()
        for schema in (self.connector, f"{self.connector}_staging"):
            self.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        self.sql("DELETE FROM bridge.connectors WHERE name = %s", self.connector)

    def come_to_rest(self) -> None:
        self.behave()
        self.commit()
        self.discover()
        self.time_passes(LOOKBACK_SECONDS + 1)
        self.run(accept_vanished=True)
        self.run(full_refresh=True, accept_vanished=True)
        if self.kind.startswith("full"):
            self.run(full_refresh=True, accept_vanished=True)
        self.check_equal()
        assert self.run(accept_vanished=True).ledger.written == 0, "a second sync wrote rows"
        self.check_equal()
        self.nothing_is_broken()

    # Helpers.

    def drift(self, number: int) -> None:
        """A column comes or goes, and a discovery sees it, while a run reads."""
        if not self.drifted:
            SoakMachine.add_or_drop_a_column(self, EXTRA_COLUMNS[number % 2])
        self.discover()

    def disconnect(self) -> None:
        """The server ends every connection of the run, its lock with them."""
        with psycopg.connect(self.ground.database.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid NOT IN (pg_backend_pid(), %s)",
                [self.ground.connection.info.backend_pid],
            )

    def run(self, *, moving: bool = False, aged: bool = False, **options: Any) -> Any:
        """Sync; when nothing was wrong it must succeed and catch up."""
        if not aged:
            self.age_marks()
        faults = self.server.faults
        faults.forget_requests()
        self.ground.syncs += 1
        result = None
        try:
            result = sync_entity(
                self.ground.database,
                self.connector,
                self.slug,
                settings=self.world.settings,
                **options,
            )
        except SyncError as error:
            self.ground.failed += 1
            disturbed = moving or any(request.fault for request in faults.requests_log)
            unavoidable = isinstance(error, (RetriableError, SourceContractError)) and disturbed
            if isinstance(error, EntityBusyError) or not unavoidable:
                raise
        self.may_run = False
        self.look()
        if result is not None:
            assert result.ledger.balances
            assert result.duplicate_keys == 0
            holds = result.status is RunStatus.INCOMPLETE
            if (
                not moving
                and not holds
                and not any(request.fault not in (None, "slow") for request in faults.requests_log)
            ):
                self.check_caught_up()
        return result

    def age_marks(self) -> None:
        """Give every mark the age that it has by the simulated clock."""
        ((now,),) = self.sql("SELECT now()")
        marks, times = [], {}
        for mark in self.marks():
            made_at = self.mark_times[mark["at"]]
            at = (now - (self.now - made_at)).isoformat()
            marks.append({**mark, "at": at})
            times[at] = made_at
        self.mark_times = times
        self.sql(
            "UPDATE bridge.entities SET cursor_marks = %s WHERE slug = %s", Jsonb(marks), self.slug
        )

    def look(self) -> None:
        """Note when the new marks were made, and check after this step."""
        for mark in self.marks():
            self.mark_times.setdefault(mark["at"], self.now)
        self.checked = False

    def marks(self) -> list[dict[str, str]]:
        ((marks,),) = self.sql(
            "SELECT cursor_marks FROM bridge.entities WHERE slug = %s", self.slug
        )
        return marks

    def held(self) -> set[tuple[str, ...]]:
        return {
            tuple(row["business_key"])
            for row in self.world.quarantine(self.slug)
            if row["business_key"]
        }

    def free(self, numbers: list[int]) -> list[int]:
        """Those of the keys that no open write has locked."""
        return [number for number in dict.fromkeys(numbers) if number not in self.pending]

    def record(self, number: int) -> dict[str, Any]:
        version = next(self.versions)
        values = {
            "item_number": key_of(number)[0],
            "item_description": f"version {version}",
            "base_uom": "a unit of 15 ch" if self.wide and version % 3 == 0 else "PCS",
            "weight_per_unit": version / 8,
        }
        return {
            column.name: values.get(column.name, f"v{version}") for column in self.table.columns
        }

    def put(self, number: int, rowversion: str | None = None) -> None:
        self.twinned.discard(number)
        self.table.put(self.record(number), rowversion)

    def remove(self, number: int) -> None:
        if key_of(number) in self.table:
            self.twinned.discard(number)
            self.table.delete(key_of(number))

    def commit(self, *numbers: int) -> None:
        for number in numbers or list(self.pending):
            pending, _ = self.pending.pop(number)
            # A column may have come or gone since the write began.
            names = {column.name for column in self.table.columns}
            kept = {name: value for name, value in pending.record.items() if name in names}
            pending.record = {**dict.fromkeys(names), **kept}
            self.twinned.discard(number)
            pending.commit()

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.ground.connection.execute(statement, parameters or None)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


def key_of(number: int) -> tuple[str]:
    return (f"A{number:05d}",)


def number_of(key: tuple[Any, ...]) -> int:
    return int(key[0][1:])
