"""`sync-pipelines maintain`: look after the Iceberg tables behind Trino."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.cli.shell.completion import complete_paths
from sync_pipelines.cli.shell.context import split_path
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, show_table
from sync_pipelines.destinations.registry import kind_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("maintain", "maintain erp", "maintain erp/items --json"))(maintain)


def maintain(
    context: typer.Context,
    path: Annotated[
        str | None,
        typer.Argument(
            help="connector or connector/entity; all by default.", autocompletion=complete_paths
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Join small files, expire snapshots and remove orphans of Trino tables, where TRINO_MAINTENANCE_… says that it is
    due.
    """
    database = open_catalog(context.obj)
    connector, slug = split_path(path) if path else (None, None)
    chosen = [one for one in list_entities(database, connector) if slug in (None, one.slug)]
    done = [
        kind_of(one.destination).maintain(database, one, context.obj.runs.entity_wait_seconds)
        for one in chosen
    ]
    upkeeps = [upkeep for upkeep in done if upkeep is not None]
    if as_json:
        print_json(
            [{**vars(one), "before": vars(one.before), "after": vars(one.after)} for one in upkeeps]
        )
        return
    show_table(
        "Maintenance",
        ("entity", "done", "small files", "delete files", "snapshots"),
        [
            (
                one.entity,
                ", ".join(one.steps) or "nothing due",
                f"{one.before.small_files} → {one.after.small_files}",
                f"{one.before.delete_files} → {one.after.delete_files}",
                f"{one.before.snapshots} → {one.after.snapshots}",
            )
            for one in upkeeps
        ],
        empty="No entity has an Iceberg table.",
    )
