"""`python -m benchmarks.decode`: CPU of decoding a declared source's pages beside S2's pages of the same records."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated
from uuid import uuid4

import msgspec
import numpy as np
import typer

from benchmarks.records import COLUMNS, KEY, render_page
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.layout import Layout
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.sources.declared.layout import DeclaredLayout

PAGE_ROWS = 1000
BATCH_PAGES = 20
CURSOR = Column("row_version", "TEXT")


def decode(
    pages: Annotated[int, typer.Option(help=f"Pages of {PAGE_ROWS} records.")] = 300,
    repeats: Annotated[
        int, typer.Option(help="Alternating repeats, of which the best is shown.")
    ] = 5,
) -> None:
    """CPU seconds for each way of reading the same records, and the ratio to S2's."""
    s2, flat, nested = _pages(pages)
    endpoint = {"path": "/items", "records": "$.data.items", "key": [KEY]}
    cursor = {"field": CURSOR.name, "param": "since"}
    plain = Endpoint.model_validate({**endpoint, "cursor": cursor})
    deep = Endpoint.model_validate(
        {**endpoint, "cursor": cursor, "mapping": _mapping(), "pagination": {"type": "page"}}
    )
    columns = (*(Column(name, kind, null, name == KEY) for name, kind, null in COLUMNS), CURSOR)
    keeper = Keeper(plain, [column.name for column in columns])
    ways: dict[str, Callable[[], float]] = {
        "S2": lambda: _measure(columns, s2, None),
        "declared": lambda: _measure(columns, flat, DeclaredLayout(plain, columns)),
        "declared, nested": lambda: _measure(columns, nested, DeclaredLayout(deep, columns)),
        "declared, by way of S2's form": lambda: _measure(
            columns, flat, None, lambda body: keeper.keep(body).body
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            seconds[name].append(run())
    floor = min(seconds["S2"])
    for name, taken in seconds.items():
        each_million = min(taken) * 1_000_000 / (pages * PAGE_ROWS)
        typer.echo(
            f"{name:<32} {each_million:6.2f} CPU s a million records, {min(taken) / floor:.2f} x S2's"
        )


def _measure(
    columns: tuple[Column, ...],
    bodies: list[bytes],
    layout: Layout | None,
    before: Callable[[bytes], bytes] = lambda body: body,
) -> float:
    entity = Entity(
        uuid4(), "shop", "items", "Items", "", DeltaStrategy.ROWVERSION, columns, "shop", "items"
    )
    decoder = PageDecoder(entity, layout=layout)
    started = time.process_time()
    for start in range(0, len(bodies), BATCH_PAGES):
        some = bodies[start : start + BATCH_PAGES]
        decoder.settle([decoder.decode(place, before(body)) for place, body in enumerate(some)])
    return time.process_time() - started


def _pages(count: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The same records for the same table: as S2 sends them, as plain objects, and with some fields in objects."""
    s2, flat, nested = [], [], []
    groups = set(_mapping())
    for page in range(count):
        keys = np.arange(page * PAGE_ROWS, (page + 1) * PAGE_ROWS, dtype=np.int64)
        body = render_page(keys, np.zeros_like(keys), keys)
        rows = msgspec.json.decode(body, type=dict[str, list[dict[str, msgspec.Raw]]])["rows"]
        records = []
        for row in rows:
            record = msgspec.json.decode(row["data"], type=dict[str, msgspec.Raw])
            records.append({**record, CURSOR.name: row["row_version"]})
        sent = [{"data": record, "row_version": record[CURSOR.name]} for record in records]
        s2.append(msgspec.json.encode({"rows": sent}))
        flat.append(msgspec.json.encode({"data": {"items": records}}))
        nested.append(
            msgspec.json.encode({"data": {"items": [_nest(record, groups) for record in records]}})
        )
    return s2, flat, nested


def _mapping() -> dict[str, str]:
    return {f"stock.{name}": name for name in ("warehouse", "quantity", "reorder_level")}


def _nest(record: dict[str, msgspec.Raw], groups: set[str]) -> dict[str, object]:
    inside = {path.partition(".")[2] for path in groups}
    outside = {name: value for name, value in record.items() if name not in inside}
    return {**outside, "stock": {name: record[name] for name in record if name in inside}}


if __name__ == "__main__":
    typer.run(decode)
