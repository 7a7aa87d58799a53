"""`sync-pipelines write-back`: one corrected record to its source, by order only."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.cli.commands.declared import parse_inputs
from sync_pipelines.cli.commands.entities import PathArgument
from sync_pipelines.cli.shell.context import split_entity_path
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say, show_table
from sync_pipelines.errors import SettingsError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "write-back",
        epilog=examples(
            "write-back processgit/customers C-17 --set email=ada@example.com",
            "write-back processgit/customers C-17 --null email --yes",
        ),
    )(write_back)


def write_back(
    context: typer.Context,
    path: PathArgument,
    key: Annotated[str, typer.Argument(help="Business key of the row.")],
    values: Annotated[
        list[str] | None, typer.Option("--set", help="A new value, column=value; repeatable.")
    ] = None,
    nulls: Annotated[
        list[str] | None, typer.Option("--null", help="A column that becomes null; repeatable.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Change one record at the source, where its endpoint declares it.

    The table follows by a sync. Exit code 1: the source did otherwise.
    """
    # Deferred: dlt and pyarrow take more than a second, which `--help` and the other commands need not wait.
    from sync_pipelines.runs.write_back import apply_write_back, plan_write_back

    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    wanted = {**parse_inputs(values or []), **dict.fromkeys(nulls or [])}
    if not wanted:
        raise SettingsError(
            "Nothing to write: give --set column=value or --null column.", state="Nothing was sent."
        )
    plan = plan_write_back(database, connector, slug, key, wanted, context.obj)
    if not plan.changes:
        if as_json:
            print_json({"path": path, "key": key, "sent": False})
        else:
            say(f"{path} {key} is so already; nothing was sent.")
        return
    if not as_json:
        rows = [(name, before, after) for name, (before, after) in plan.changes.items()]
        show_table(f"PUT {plan.path}", ("column", "now", "will be"), rows)
    if not yes and not typer.confirm(f"Send this to {plan.connector.base_url}?", err=True):
        raise SettingsError(
            "Not confirmed.",
            state="Nothing was sent.",
            next_command=f"sync-pipelines write-back {path} {key} … --yes",
        )
    differing = apply_write_back(database, plan, context.obj)
    if as_json:
        done = {"changes": plan.changes, "not_taken_over": differing}
        print_json({"path": path, "key": key, "sent": True, **done})
    elif differing:
        say(f"The source answered well, but shows other values: {differing}.", "yellow")
    else:
        say(f"The source has it, and so has {path}.")
    if differing:
        raise typer.Exit(1)
