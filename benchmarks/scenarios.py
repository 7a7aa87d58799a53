"""What is measured: chains of tasks on one database, our sync and the floor in turns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import CHANGES
from benchmarks.world import World, open_world
from sync_pipelines.demo.trino_server import ServerOptions, TrinoProcess

NAMES = (
    "first",
    "refresh",
    "delta",
    "nothing",
    "concurrent",
    "dlt",
    "definitions",
    "due",
    "fifty",
    "latency",
    "trino",
    "gate",
    "memory",
)
_CHAIN = ("first", "refresh", "delta", "nothing")
ENTITIES = 12
DEFINED = (10, 1_000, 10_000)


@dataclass(frozen=True)
class Sample:
    """One measurement: what was done, by whom, in which repeat, and what was found."""

    work: str
    who: str
    repeat: int
    found: dict[str, Any]


@dataclass(frozen=True)
class Scope:
    """How much to measure.

    Attributes:
        rows: records of the main scenarios.
        repeats: how often the chain runs for each contender.
        only: names of NAMES.
        memory_rows, dlt_rows: records of those scenarios.
        lookback_seconds: of our entity; "nothing, rested" sleeps so long.
    """

    rows: int
    repeats: int
    only: frozenset[str]
    memory_rows: int
    dlt_rows: int
    lookback_seconds: int = 60


def measure_all(scope: Scope, say: Callable[[str], None]) -> Iterator[Sample]:
    """Run every scenario of the scope; contenders take turns within a repeat."""
    if scope.only & set(_CHAIN):
        for repeat in range(scope.repeats):
            for chain in (_absolute, _floor, _ours):
                say(f"repeat {repeat + 1} of {scope.repeats}: {chain.__name__[1:]}")
                yield from chain(scope, repeat)
    scenarios = {
        "dlt": _dlt,
        "concurrent": _concurrent,
        "definitions": _definitions,
        "due": _due,
        "fifty": _fifty,
        "latency": _latency,
        "trino": _trino,
        "gate": _gate,
        "memory": _memory,
    }
    for name, scenario in scenarios.items():
        if name in scope.only:
            say(name)
            yield from scenario(scope)


def _wanted(scope: Scope) -> set[str]:
    """The chain up to the last step that is asked for: each step needs those before it."""
    last = max(_CHAIN.index(name) for name in scope.only & set(_CHAIN))
    return set(_CHAIN[: last + 1])


def _absolute(scope: Scope, repeat: int) -> Iterator[Sample]:
    with open_world(scope.rows) as world:
        yield Sample(
            "first load",
            "absolute floor",
            repeat,
            _checked(world.run("floor:absolute"), scope.rows),
        )


def _floor(scope: Scope, repeat: int) -> Iterator[Sample]:
    with open_world(scope.rows) as world:
        yield from _chain(scope, world, "floor", repeat)
        if "nothing" in scope.only:
            yield Sample("nothing changed", "floor", repeat, world.run("floor:nothing"))


def _ours(scope: Scope, repeat: int) -> Iterator[Sample]:
    with open_world(scope.rows) as world:
        world.run("ours:prepare", lookback_seconds=scope.lookback_seconds)
        yield from _chain(scope, world, "ours", repeat)
        if "nothing" in scope.only:
            yield Sample("nothing changed", "ours", repeat, world.run("ours:nothing"))
            if repeat == 0:
                found = world.run("ours:nothing", rested=scope.lookback_seconds + 1)
                yield Sample("nothing changed, lookback over", "ours", repeat, found)


def _chain(scope: Scope, world: World, who: str, repeat: int) -> Iterator[Sample]:
    wanted, live = _wanted(scope), scope.rows
    yield Sample("first load", who, repeat, _checked(world.run(f"{who}:first"), live))
    if "refresh" in wanted:
        live -= world.place.control("evolve", changed=0.05, gone=0.01)["items00"]["gone"]
        yield Sample(
            "full refresh, 5 % changed, 1 % gone",
            who,
            repeat,
            _checked(world.run(f"{who}:refresh"), live),
        )
    if "delta" in wanted:
        world.place.control("append", **CHANGES)
        live += CHANGES["new"]
        yield Sample(
            "1000 changes, new process",
            who,
            repeat,
            _cold(_checked(world.run(f"{who}:delta"), live)),
        )
        live += 2 * CHANGES["new"]
        yield Sample(
            "1000 changes, warm process",
            who,
            repeat,
            _checked(world.run(f"{who}:delta", warm=True), live),
        )


def _cold(found: dict[str, Any]) -> dict[str, Any]:
    """From the start of the process to its end, imports included."""
    return {**found, "wall_seconds": found["process_seconds"]}


def _checked(found: dict[str, Any], live: int) -> dict[str, Any]:
    if found["live"] != live:
        raise RuntimeError(f"the table has {found['live']} live rows where the source has {live}")
    return found


def _dlt(scope: Scope) -> Iterator[Sample]:
    work = f"first load of {scope.dlt_rows:,}"
    for who, task in (
        ("stock dlt rest_api", "dlt_stock:first"),
        ("floor", "floor:first"),
        ("ours", "ours:first"),
    ):
        with open_world(scope.dlt_rows) as world:
            if who == "ours":
                world.run("ours:prepare")
            yield Sample(work, who, 0, _checked(world.run(task), scope.dlt_rows))


def _concurrent(scope: Scope) -> Iterator[Sample]:
    threads, rows = (
        int(os.environ.get("SYNC_WORKER_THREADS", ENTITIES)),
        max(scope.rows // 10, 1000),
    )
    work = f"{ENTITIES} entities of {rows:,} at once, {threads} threads"
    for who in ("floor", "ours"):
        with open_world(rows, ENTITIES) as world:
            if who == "ours":
                world.run("ours:prepare")
            yield Sample(
                work,
                who,
                0,
                _checked(world.run(f"{who}:concurrent", threads=threads), rows * ENTITIES),
            )


def _definitions(scope: Scope) -> Iterator[Sample]:
    for entities in DEFINED:
        with open_world(entities) as world:
            world.run("definitions:prepare")
            for snapshot, work in (
                (False, "definitions of {:,} entities, as a run"),
                (True, "definitions of {:,} entities, as a code server"),
            ):
                found = world.run("definitions:load", snapshot=snapshot)
                if found["fetched"] != entities:
                    raise RuntimeError(
                        f"{found['fetched']} assets where the catalog has {entities} entities"
                    )
                yield Sample(work.format(entities), "ours", 0, found)


def _due(scope: Scope) -> Iterator[Sample]:
    for entities in (10, 1000, 10_000):
        for due in dict.fromkeys((0, min(100, entities), entities)):
            with open_world(10) as world:
                world.run("ours:prepare")
                yield Sample(
                    f"due-sensor tick, {due:,} of {entities:,} due",
                    "ours",
                    0,
                    world.run("schedule:tick", entities=entities, due=due),
                )


def _fifty(scope: Scope) -> Iterator[Sample]:
    with open_world(100, 50) as world:
        world.run("ours:prepare")
        yield Sample(
            "50 first syncs of 100, 200 ms latency, one run",
            "ours",
            0,
            world.run("schedule:fifty", latency_seconds=0.2),
        )
        world.place.control("append", new=5, changed=5, same=0)
        yield Sample(
            "50 due entities, 200 ms latency, one run",
            "ours",
            0,
            world.run("schedule:fifty", latency_seconds=0.2),
        )


def _latency(scope: Scope) -> Iterator[Sample]:
    with open_world(1000) as world:
        world.run("ours:prepare")
        yield Sample(
            "from change to row, by probe, worst of three", "ours", 0, world.run("schedule:latency")
        )


def _gate(scope: Scope) -> Iterator[Sample]:
    for repeat in range(scope.repeats):
        for who, task in (
            ("no gate", "ours:first"),
            ("gate of 5 rules, score and table", "ours:gated"),
        ):
            with open_world(scope.rows) as world:
                world.run("ours:prepare")
                yield Sample(
                    "first load through a gate", who, repeat, _checked(world.run(task), scope.rows)
                )


def _memory(scope: Scope) -> Iterator[Sample]:
    work = f"first load of {scope.memory_rows:,}"
    for who in ("floor", "ours"):
        with open_world(scope.memory_rows) as world:
            if who == "ours":
                world.run("ours:prepare")
            yield Sample(work, who, 0, _checked(world.run(f"{who}:first"), scope.memory_rows))


def _trino(scope: Scope) -> Iterator[Sample]:
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_bench_trino_") as folder:
        server = TrinoProcess(Path(folder) / "trino", ServerOptions(heap_mb=2048))
        with server.serving() as running, open_world(scope.rows) as world:
            lake = str(running.lake)
            reach = {
                "host": "127.0.0.1",
                "port": running.port,
                "staging_url": f"file://{lake}/staging",
                "staging_location": "local:///staging",
            }
            options: dict[str, Any] = {"trino": reach, "trino_pid": server.pid, "lake": lake}
            world.run("ours:prepare", lookback_seconds=scope.lookback_seconds, **options)
            work = "first load into Iceberg"
            # The floor goes first, so that the Java machine is warm for neither more than for the other.
            yield Sample(work, "floor", 0, world.run("trino:floor", **options))
            yield Sample(work, "ours", 0, _checked(world.run("trino:first", **options), scope.rows))
            yield Sample(
                "1000 changes into Iceberg, warm process",
                "ours",
                0,
                _changed(world, scope, options),
            )
            yield Sample(
                "INSERT … VALUES of the trino client",
                "plain",
                0,
                world.run("trino:insert_values", **options),
            )


def _changed(world: World, scope: Scope, options: dict[str, Any]) -> dict[str, Any]:
    return _checked(world.run("trino:delta", warm=True, **options), scope.rows + 2 * CHANGES["new"])
