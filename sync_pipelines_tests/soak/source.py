"""One entity of a twin, and the rules by which a source changes it and misbehaves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import (
    Fault,
    HexRowversions,
    IntegerRowversions,
    IsoRowversions,
    Pending,
    TimestampRowversions,
    TwinColumn,
    TwinServer,
    TwinStore,
    TwinTable,
)
from sync_pipelines.demo.twin.rows import encode_json
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import TOKEN, World

PAGE_SIZE = 5
KEYS = 30
LOOKBACK_SECONDS = 60
# A write is open for at most so long; the rest is for a machine that is slow between two steps.
LATEST_SECONDS = 45
MAX_KILLS = 1
KINDS = ("digits", "integer", "integer in order", "hexadecimal", "iso", "full", "full unsorted")
EXTRA_COLUMNS = ("colour", "size")

_numbers = itertools.count(1)

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


class SoakSource(RuleBasedStateMachine):
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
        too_long = (
            b"far too long to be a unit of anything that was ever counted, weighed or measured"
        )
        bodies = (
            b'{"item_number": "%s", "weight_per_unit": "x"}' % name,
            b'{"item_number": "%s", "base_uom": "%s"}' % (name, too_long),
            b'{"item_number": null, "base_uom": "%s"}' % name,
            b'{"item_number": "%s", "item_description": "\\u0000"}' % name,
        )
        self.twinned.discard(number)
        self.table.put_raw(key_of(number), bodies[how])

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
        # Of two records with one rowversion, and ties in any order, the newer is unknown.
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

    # Helpers.

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
