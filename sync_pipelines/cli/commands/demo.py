"""`sync-pipelines demo`: five tables from a REST API into PostgreSQL or Trino, twice, with proof."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_pipelines.cli.shell.output import JsonOption, examples


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("demo", "demo --rows 2000"))(demo)


def demo(
    context: typer.Context,
    rows: Annotated[
        int | None,
        typer.Option(min=20, help="At most so many records per table; all 367,687 by default."),
    ] = None,
    trino: Annotated[
        bool,
        typer.Option(
            "--trino", help="Into Iceberg tables of a real Trino, which is fetched the first time."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start from nothing, sync five APIs with Dagster, change the source, sync again, and prove that the tables are
    equal.
    """
    # The demo is an extra; no other command loads it.
    from sync_pipelines.demo.demo import run_demo

    run_demo(context.obj, rows, trino=trino, as_json=as_json)
