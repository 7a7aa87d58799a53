"""`python -m benchmarks`: measure, show a table, and write it as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.report import as_markdown, as_table, summarize
from benchmarks.scenarios import NAMES, Sample, Scope, measure_all
from benchmarks.world import open_world

QUICK_ROWS = 50_000
MEMORY_ROWS = 10_000_000
_BY_DEFAULT = tuple(name for name in NAMES if name != "memory")


def bench(
    rows: Annotated[
        int, typer.Option(min=10_000, help="Records of the main scenarios.")
    ] = 1_000_000,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(NAMES)}; may be repeated. All but memory by default."
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Alternating repeats, of which the median is shown.")
    ] = 3,
    memory_rows: Annotated[int, typer.Option(help="Records of --only memory.")] = MEMORY_ROWS,
    out: Annotated[Path | None, typer.Option(help="Write the table as Markdown here.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Write every sample as JSON here.")] = None,
    quick: Annotated[
        bool, typer.Option(help=f"{QUICK_ROWS:,} records, one repeat, short lookback.")
    ] = False,
    profile: Annotated[bool, typer.Option(help="Only profile our first load.")] = False,
) -> None:
    """Measure our syncs beside the hand-written floor and stock dlt, each in fresh processes and a fresh database."""
    console = Console(stderr=True)
    names = frozenset(only or _BY_DEFAULT)
    if unknown := names - set(NAMES):
        raise typer.BadParameter(
            f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}"
        )
    if quick:
        scope = Scope(
            QUICK_ROWS, 1, names, min(memory_rows, 2 * QUICK_ROWS), 10_000, lookback_seconds=3
        )
    else:
        scope = Scope(rows, repeats, names, memory_rows, QUICK_ROWS)
    if profile:
        with open_world(scope.rows) as world:
            world.run("ours:prepare")
            print(world.run("ours:profile")["output"])
        return
    machine = describe_machine()
    console.print(machine)
    found: list[Sample] = []
    failure: RuntimeError | None = None
    try:
        for sample in measure_all(scope, lambda text: console.print(f"[dim]{text}[/]")):
            found.append(sample)
            console.print(f"  {sample.who}: {sample.work}: {sample.found['wall_seconds']:.2f} s")
            if samples is not None:
                samples.write_text(json.dumps([vars(one) for one in found], indent=1))
    except RuntimeError as error:
        failure = error  # what was measured before is shown all the same
    lines = summarize(found)
    Console(width=190).print(as_table(lines))
    if out is not None:
        out.write_text(f"{machine}\n\n{as_markdown(lines)}")
    if failure is not None:
        console.print(str(failure), style="red", markup=False)
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(bench)
    app()
