"""Reading a real twin over real HTTP: every record of every answer is staged, set aside or read again, and counted."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from sync_pipelines.batches.page import Page
from sync_pipelines.demo.twin import Fault, IntegerRowversions, TwinServer, TwinStore, TwinTable
from sync_pipelines.errors import (
    BrokenPageError,
    CursorProtocolError,
    GuardError,
    SourceContractError,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.settings import Settings
from sync_pipelines.sources.apismith.adapter import ApismithSource
from sync_pipelines.sources.apismith.protocol import fetch_apis
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.source import PagedSource, PageRequest
from sync_pipelines_tests.batches.helpers import entity_of, key
from sync_pipelines_tests.world import ITEM_COLUMNS, TOKEN, item


@pytest.fixture
def twin() -> Iterator[TwinServer]:
    with TwinServer(TwinStore(), token=TOKEN) as server:
        yield server


def table_of(twin: TwinServer, count: int, **options: Any) -> TwinTable:
    options.setdefault("rowversions", IntegerRowversions(1, width=6))
    table = twin.store.add(TwinTable("items", columns=ITEM_COLUMNS, **options))
    table.put_many(item(number) for number in range(count))
    return table


class Read:
    """One read of `items`, its batches already taken."""

    def __init__(
        self,
        twin: TwinServer,
        *,
        after: str | None = None,
        keyset: bool = True,
        full: bool = True,
        **options: Any,
    ) -> None:
        session = GuardedSession(
            twin.url, lambda: TOKEN, HttpLimits(tries=2), sleep=lambda seconds: None
        )
        connector = Connector(uuid4(), "erp", twin.url, None, "erp")
        entities, _ = parse_apis(fetch_apis(session), connector, Settings(_env_file=None))  # type: ignore[call-arg]
        self.entity = entities["items"]
        source = ApismithSource(session, self.entity.slug, options.pop("page_size", 10))
        self.extraction = Extraction(
            self.entity, source, **{"max_pages": 1000, "batch_rows": 25, **options}
        )
        self.batches: list[tuple[str, pa.Table]] = []
        self.error: Exception | None = None
        for batch in self.extraction.batches(after=after, keyset=keyset, full=full):
            self.batches.append(batch)
        assert (
            self.extraction.fetched
            == self.extraction.judge.staged
            + self.extraction.judge.rejected
            + self.extraction.reread
        )

    def rows(self, table_name: str | None = None) -> list[dict[str, Any]]:
        wanted = table_name or self.entity.records_table
        return [row for name, table in self.batches if name == wanted for row in table.to_pylist()]

    @property
    def keys(self) -> set[str]:
        return {row["c0"] for row in self.rows()}

    @property
    def rejects(self) -> list[dict[str, Any]]:
        return self.rows(self.entity.rejects_table)


ALL = {f"A{number:05d}" for number in range(35)}


@pytest.mark.parametrize("keyset", [True, False])
def test_everything_is_read_in_batches_with_growing_arrival_numbers(
    twin: TwinServer, keyset: bool
) -> None:
    table_of(twin, 35)
    read = Read(twin, keyset=keyset)
    assert read.keys == ALL
    arrivals = [row["arrival"] for row in read.rows()]
    assert arrivals == list(range(len(arrivals)))
    assert len(read.batches) > 1
    assert all(len(row["hash"]) == 32 for row in read.rows())
    if keyset:
        assert (read.extraction.reading.last, read.extraction.reading.below_last) == (
            "000035",
            "000034",
        )
        assert read.extraction.reading.codec is Codec.TEXT


def test_a_delta_reads_only_what_is_behind_the_cursor(twin: TwinServer) -> None:
    table_of(twin, 35)
    assert Read(twin, after="000030", full=False).keys == {
        f"A{number:05d}" for number in range(30, 35)
    }
    assert Read(twin, after="000035", full=False).batches == []


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "growing widths": lambda: {"rowversions": IntegerRowversions(1), "comparator": "integer"},
    "ties of four": lambda: {"rowversions": IntegerRowversions(1, width=6, burst=4)},
    "ties of a page": lambda: {"rowversions": IntegerRowversions(1, width=6, burst=10)},
    "ties of pages": lambda: {"rowversions": IntegerRowversions(1, width=6, burst=23)},
    "one tie": lambda: {"rowversions": IntegerRowversions(1, width=6, burst=100)},
    "ties in any order": lambda: {
        "rowversions": IntegerRowversions(1, width=6, burst=23),
        "order_ties": "unstable",
    },
    "a cap of three": lambda: {"page_cap": 3},
    "a cap of one": lambda: {"page_cap": 1},
    "a cap and ties": lambda: {
        "page_cap": 7,
        "rowversions": IntegerRowversions(1, width=6, burst=20),
    },
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_widths_ties_and_caps_lose_nothing(twin: TwinServer, kind: str) -> None:
    table_of(twin, 35, **OPTIONS[kind]())
    read = Read(twin)
    assert read.keys == ALL or not read.extraction.reading.drained


def walk_like_syncflow(twin: TwinServer) -> set[str]:
    import json

    session = GuardedSession(twin.url, lambda: TOKEN, HttpLimits())
    keys, number = set(), 1
    while rows := json.loads(session.get("/api/v1/data/items", {"page": number, "page_size": 10}))[
        "rows"
    ]:
        keys |= {row["data"]["item_number"] for row in rows}
        number += 1
    return keys


def move_rows_while_reading(twin: TwinServer, table: TwinTable) -> None:
    """Before the second answer an already read row is changed, so that all others move up by one."""
    done: list[int] = []

    def change(request: Any) -> None:
        if request.kind == "data":
            done.append(1)
            if len(done) == 2:
                table.put(item(3, base_uom="KG"))

    twin.faults.on_request = change


@pytest.mark.parametrize(
    ("read", "finds_all"),
    [(walk_like_syncflow, False), (lambda twin: Read(twin).keys, True)],
    ids=["SyncFlow", "ours"],
)
def test_a_row_that_moves_over_the_border_is_lost_by_syncflows_loop_and_not_by_ours(
    twin: TwinServer, read: Callable[[TwinServer], set[str]], finds_all: bool
) -> None:
    move_rows_while_reading(twin, table_of(twin, 35))
    assert (read(twin) == ALL) is finds_all


def test_poison_is_set_aside_with_its_place_and_its_bytes(twin: TwinServer) -> None:
    table = table_of(twin, 12)
    table.put_raw(("BAD",), b'{"item_number": "BAD", "weight_per_unit": "heavy"}')
    table.put_raw(("LONG",), b'{"item_number": "LONG", "base_uom": "12345678901"}')
    table.put_raw(("NONE",), b'{"item_number": null}')
    table.put_raw(("CUT",), b'{"item_number": "CUT", "item_description": "a\nb"}')
    read = Read(twin)
    assert read.keys == {f"A{number:05d}" for number in range(12)}
    reasons = {reject["column_name"]: reject["reason"] for reject in read.rejects}
    assert reasons["weight_per_unit"] == "a text (heavy) is not a numeric(10,3)."
    assert reasons["base_uom"].startswith("It has more than the 10 characters")
    assert reasons["item_number"] == "The business key is null."
    assert reasons[None].startswith("The record is not JSON")
    assert {reject["business_key"] for reject in read.rejects} == {'["BAD"]', '["LONG"]', None}
    for reject in read.rejects:
        assert bytes.fromhex(reject["record"][2:]).startswith(b'{"oracle_keys"')
    assert len(read.extraction.judge.sample) == 4


class Unordered(PagedSource):
    """A source in memory of S2's protocol, some of whose records have no rowversion."""

    def __init__(
        self,
        rows: list[tuple[int, str | None]],
        page_size: int,
        cap: int | None = None,
        *,
        sends_always: bool = False,
    ) -> None:
        self.rows, self.page_size, self.cap, self.sends_always = rows, page_size, cap, sends_always

    def page(self, decoder: Any, running: int, request: PageRequest, traffic: Any) -> Any:
        rowversion_gt, number, page_size = request
        size = min(page_size, self.cap or page_size)
        after = rowversion_gt or ""
        passing = [
            row
            for row in self.rows
            if not after or (self.sends_always if row[1] is None else row[1] > after)
        ]
        found = passing[(number - 1) * size :][:size]
        version = {
            key: "null" if rowversion is None else f'"{rowversion}"' for key, rowversion in found
        }
        rows = ",".join(
            f'{{"row_version":{version[key]},"data":{{"item_number":"A{key:05d}"}}}}'
            for key, _ in found
        )
        return decoder.decode(running, f'{{"rows":[{rows}]}}'.encode())


@pytest.mark.parametrize("cap", [None, 3])
@pytest.mark.parametrize(
    "ordered, unordered", [(0, 25), (3, 2), (25, 3), (20, 30), (21, 9), (40, 1), (7, 41), (30, 0)]
)
@pytest.mark.parametrize("nulls_first", [True, False])
def test_a_full_read_finds_every_record_without_rowversion(
    ordered: int, unordered: int, nulls_first: bool, cap: int | None
) -> None:
    with_version: list[tuple[int, str | None]] = [
        (number, f"{number:06d}") for number in range(ordered)
    ]
    without: list[tuple[int, str | None]] = [(100 + number, None) for number in range(unordered)]
    source = Unordered(without + with_version if nulls_first else with_version + without, 10, cap)
    entity = entity_of(key("item_number"))
    extraction = Extraction(entity, source, max_pages=1000, batch_rows=25)  # type: ignore[arg-type]
    batches = list(extraction.batches(after=None, keyset=True, full=True))
    keys = [row["c0"] for _, table in batches for row in table.to_pylist()]
    assert set(keys) == {f"A{number:05d}" for number, _ in source.rows}
    assert extraction.without_rowversion == unordered
    assert (
        extraction.fetched
        == extraction.judge.staged + extraction.judge.rejected + extraction.reread
    )
    if ordered:
        assert extraction.reading.last == f"{ordered - 1:06d}"


def test_a_source_that_sends_its_records_without_rowversion_in_every_delta_is_followed() -> None:
    source = Unordered(
        [*((number, f"{number:06d}") for number in range(30)), (100, None), (101, None)],
        10,
        sends_always=True,
    )
    extraction = Extraction(entity_of(key("item_number")), source, max_pages=100, batch_rows=25)
    batches = list(extraction.batches(after="000029", keyset=True, full=False))
    assert [row["c0"] for _, table in batches for row in table.to_pylist()] == ["A00100", "A00101"]


def test_a_page_that_is_repeated_without_any_rowversion_is_a_loop() -> None:
    source = Unordered([(number, None) for number in range(10)], 10)
    plain = source.page
    source.page = lambda decoder, running, request, traffic: plain(
        decoder, running, request._replace(number=1), traffic
    )  # type: ignore[method-assign]
    extraction = Extraction(entity_of(key("item_number")), source, max_pages=100, batch_rows=25)
    with pytest.raises(SourceContractError, match="looping"):
        list(extraction.batches(after=None, keyset=True, full=True))


def test_records_without_any_rowversion_are_read_by_page_number(twin: TwinServer) -> None:
    table_of(twin, 20, has_rowversion=False)
    read = Read(twin)
    assert read.keys == Read(twin, keyset=False).keys == {f"A{number:05d}" for number in range(20)}
    assert "read by page number" in read.extraction.reading.warnings[0]


def test_an_unsorted_source_is_refused_by_rowversion_and_read_by_page(twin: TwinServer) -> None:
    table_of(twin, 35, sorted_pages=False)
    with pytest.raises(CursorProtocolError, match="not sorted") as caught:
        Read(twin)
    assert caught.value.where["entity"] == "items"
    assert Read(twin, keyset=False).keys == ALL


def test_an_empty_answer_in_the_middle_of_a_full_read_is_no_end(twin: TwinServer) -> None:
    table_of(twin, 35)
    for nth in range(1, 6):
        twin.faults.clear()
        twin.faults.add(Fault(kind="data", empty_rows=True, nth=nth))
        assert Read(twin).keys == ALL


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="data", nth=2, times=None, body=b"<html>"), BrokenPageError),
        (Fault(kind="data", nth=2, times=None, body=b'{"rows": null}'), BrokenPageError),
        (Fault(kind="data", nth=2, times=None, truncate_at_byte=200), BrokenPageError),
        (Fault(kind="data", nth=2, times=None, deep_levels=10_000), BrokenPageError),
        (Fault(kind="data", nth=2, times=None, redirect_to="http://169.254.169.254/"), GuardError),
        (Fault(kind="data", nth=2, times=None, status=404), SourceContractError),
    ],
)
def test_an_answer_that_is_no_page_ends_the_read_and_says_where(
    twin: TwinServer, fault: Fault, error: type[Exception]
) -> None:
    table_of(twin, 35)
    twin.faults.add(fault)
    with pytest.raises(error, match="connector erp, entity items, page 2"):
        Read(twin)


def test_the_same_page_for_ever_ends_as_a_loop(twin: TwinServer) -> None:
    table = table_of(twin, 35)
    twin.faults.add(Fault(kind="data", times=None, body=table.page(None, 1, 10)))
    with pytest.raises(CursorProtocolError, match="was asked for rowversions greater"):
        Read(twin)
    with pytest.raises(SourceContractError, match="looping"):
        Read(twin, keyset=False)


def test_a_source_without_end_stops_at_max_pages(twin: TwinServer) -> None:
    table_of(twin, 100)
    for keyset in (True, False):
        with pytest.raises(SourceContractError, match="without coming to an end"):
            Read(twin, keyset=keyset, max_pages=3)


def test_a_width_that_grows_behind_the_cursor_is_refused_as_text(twin: TwinServer) -> None:
    table_of(
        twin,
        15,
        rowversions=IntegerRowversions(1),
        extra={"rowversion_codec": "text"},
        comparator="integer",
    )
    with pytest.raises(CursorProtocolError, match="'10' has 2 characters"):
        Read(twin, after="5", full=False)


@pytest.mark.parametrize("keyset", [True, False])
def test_an_extraction_and_its_pages_are_freed_without_the_cycle_collector(
    twin: TwinServer, monkeypatch: pytest.MonkeyPatch, keyset: bool
) -> None:
    table_of(twin, 200)
    alive: weakref.WeakSet[Decoded] = weakref.WeakSet()
    most_alive: list[int] = []
    plain = ApismithSource.page

    def page(*arguments: Any) -> Any:
        decoded = Decoded(**vars(plain(*arguments)))
        alive.add(decoded)
        most_alive.append(len(alive))
        return decoded

    monkeypatch.setattr(ApismithSource, "page", page)
    gc.disable()
    try:
        read = Read(twin, keyset=keyset, page_size=2)
        extraction = weakref.ref(read.extraction)
        del read
        assert extraction() is None
        assert len(alive) == 0
    finally:
        gc.enable()
    assert len(most_alive) >= 100
    assert max(most_alive) <= 25


class Decoded(Page):
    """A page that is known by its identity, so that it can be looked for."""

    __hash__ = object.__hash__
