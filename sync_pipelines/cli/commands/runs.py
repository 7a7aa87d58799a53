"""`sync-pipelines runs`: what was synced, with the balance sheet of each run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.runs import get_run, list_runs
from sync_pipelines.cli.shell.completion import complete_paths
from sync_pipelines.cli.shell.context import split_path
from sync_pipelines.cli.shell.failures import ListingGroup
from sync_pipelines.cli.shell.ledgers import LEDGER_COLUMNS, LEDGER_NUMBERS, run_row
from sync_pipelines.cli.shell.output import (
    JsonOption,
    cell,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)
from sync_pipelines.cli.shell.uids import Kind, UidArgument, find_uid, short

group = typer.Typer(
    cls=ListingGroup,
    help="Runs: `runs [PATH]` lists them, `runs show UID` gives one with its balance sheet.",
    epilog=examples("runs erp/items --limit 5", "runs show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f"),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="runs")


@group.command("list", epilog=examples("runs", "runs erp/items --limit 5 --json"))
def list_(
    context: typer.Context,
    path: Annotated[
        str | None, typer.Argument(metavar="[CONNECTOR[/ENTITY]]", autocompletion=complete_paths)
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first (also without the word `list`)."""
    database = open_catalog(context.obj)
    connector, slug = split_path(path) if path else (None, None)
    if connector is not None and slug:
        get_entity(database, connector, slug)
    elif connector is not None:
        get_connector(database, connector)
    found = list_runs(database, connector, slug, limit)
    if as_json:
        print_json(found)
        return
    show_table(
        "Runs",
        ("run", "started", "status", "mode", *LEDGER_COLUMNS),
        [
            (short(run["uid"]), run["started_at"], run["status"], run["mode"], *run_row(run))
            for run in found
        ],
        right=LEDGER_NUMBERS,
        least=(
            "rows/s",
            "balance",
            "superseded",
            "mode",
            "unchanged",
            "seconds",
            "started",
            "inserted",
            "updated",
            "deleted",
        ),
        empty="There was no run yet. Next: sync-pipelines sync CONNECTOR",
    )


@group.command(
    epilog=examples(
        "runs show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f",
        "runs show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f --json",
    )
)
def show(context: typer.Context, uid: UidArgument, as_json: JsonOption = False) -> None:
    """Show one run: balance sheet, stages, warnings, error."""
    database = open_catalog(context.obj)
    run = get_run(database, find_uid(database, Kind.RUN, uid))
    if as_json:
        print_json(run)
        return
    details: dict[str, Any] = run["details"] or {}
    show_fields(
        f"Run {run['uid']}",
        {
            "entity": run["path"],
            "status": run["status"],
            "mode": run["mode"],
            "triggered by": run["triggered_by"],
            "started": run["started_at"],
            "completed": run["completed_at"],
            "cursor before": run["rowversion_start"],
            "cursor after": run["rowversion_end"],
        },
    )
    show_table("Balance sheet", LEDGER_COLUMNS, [run_row(run)], right=LEDGER_NUMBERS)
    # The rest is what the stages wrote down; names may come with time.
    show_table(
        "Details",
        ("what", "value"),
        [
            (name, _one_line(value))
            for name, value in details.items()
            if value not in (None, [], {}, "")
        ],
    )
    for warning in details.get("warnings") or ():
        say(f"Warning: {cell(warning)}", "yellow")
    if run["error_message"]:
        error: dict[str, Any] = run["error_details"] or {}
        show_fields(
            "Error",
            {
                "message": run["error_message"],
                **{name: _one_line(value) for name, value in error.items()},
            },
        )
        if error.get("next_command"):
            say(f"Next: {cell(error['next_command'])}", "cyan")
    if run["records_quarantined"]:
        say(f"Next: sync-pipelines quarantine list {run['path']} --run {short(run['uid'])}", "cyan")


def _one_line(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_one_line(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(str(_one_line(inner)) for inner in value)
    return round(value, 4) if isinstance(value, float) else value
