"""A state machine that does to one entity whatever sources, networks and operators do.

It checks the promise after every step. Time is simulated: the twin's clock moves only by the rule
`time_passes`, and before every sync the marks of earlier reads get the age that they have by that
clock. The machine does no more than what docs/promise.md assumes of a source.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import (
    RequestInfo,
)
from sync_pipelines.errors import EntityBusyError, RetriableError, SourceContractError, SyncError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.run import PUBLISHED, RunStatus
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.soak.source import (
    EXTRA_COLUMNS,
    KEYS,
    LOOKBACK_SECONDS,
    MAX_KILLS,
    PAGE_SIZE,
    SoakSource,
    key_of,
    picks,
)
from sync_pipelines_tests.test_crashes import POINTS, die_at
from sync_pipelines_tests.world import TOKEN, comparable

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    ["sync_pipelines_tests.soak.machine", "sync_pipelines.destinations.postgres.adapter"]
)


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


class SoakMachine(SoakSource):
    """Everything at once: a source that changes, syncs, deaths, and the promise after every step."""

    # What an operator or a schedule does.

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
            "SELECT status, records_fetched - records_inserted - records_updated - records_unchanged"
            " - records_superseded - records_quarantined FROM bridge.sync_runs WHERE entity_uid = %s",
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
        table = quote(entity.target_schema, entity.target_table)
        ((existing,),) = self.sql("SELECT to_regclass(%s)", table)
        if existing is None:
            return
        rows = self.sql(f"SELECT item_number, _bridge_id::text FROM {table}")
        found = dict(rows)
        assert len(found) == len(rows), "a key is there twice"
        assert self.ids.items() <= found.items(), "a key has another _bridge_id, or its row is gone"
        self.ids = found

    def check_cursor(self) -> None:
        """Oracle (c): what is still to come is above the cursor."""
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
