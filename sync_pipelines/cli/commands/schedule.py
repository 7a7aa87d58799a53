"""`sync-pipelines due`: what would run now and why, and what comes next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from sync_pipelines.catalog.connectors import get_connector, list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.dues import list_agenda
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.probes import source_health
from sync_pipelines.cli.shell.completion import complete_connectors
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say, show_table
from sync_pipelines.model.entity import Connector
from sync_pipelines.schedule.cron import Crons, next_tick, usable_crons
from sync_pipelines.settings import Settings

SHOWN_ENTITIES = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("due", "due erp --all"))(due)


def due(
    context: typer.Context,
    connector: Annotated[
        str | None,
        typer.Argument(
            help="One connector; all when left out.", autocompletion=complete_connectors
        ),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help=f"Every entity; by default the next {SHOWN_ENTITIES} of each connector."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is due now and why, what keeps it, and what comes next. Nothing is started."""
    database = open_catalog(context.obj)
    connectors = [get_connector(database, connector)] if connector else list_connectors(database)
    agendas = [_agenda(database, one, context.obj) for one in connectors]
    if as_json:
        print_json(agendas)
        return
    for agenda in agendas:
        _show_due(agenda, None if all_ else SHOWN_ENTITIES)
        _show_schedule(agenda)


def _show_due(agenda: dict[str, Any], limit: int | None) -> None:
    connector = agenda["connector"]
    entities = agenda["entities"]
    shown = entities[:limit]
    show_table(
        f"{connector}: {agenda['due_now']} of {len(entities)} due",
        ("entity", "due", "because", "kept by", "failures in a row"),
        [
            (
                row["path"],
                _when(row["seconds"]),
                row["reason"],
                row["hindrance"],
                row["consecutive_failures"],
            )
            for row in shown
        ],
        right=("failures in a row",),
        empty=f"{connector} has no entity. Next: sync-pipelines discover {connector}",
    )
    if len(shown) < len(entities):
        say(f"… and {len(entities) - len(shown)} more: sync-pipelines due {connector} --all")


def _show_schedule(agenda: dict[str, Any]) -> None:
    for what, found in agenda["crons"].items():
        if found:
            say(f"{what}: {found['cron']} ({agenda['time_zone']}), next {found['next_at']}")
    for error in agenda["cron_errors"]:
        say(error, "bold red")
    probe = agenda["probe"]
    if probe["error"]:
        say(f"not probed for {probe['silent_seconds']:.0f} s: {probe['error']}", "yellow")


def _agenda(database: Database, connector: Connector, settings: Settings) -> dict[str, Any]:
    crons, errors = usable_crons(connector, settings)
    now = datetime.now(UTC)
    entities = [
        {**row, "path": f"{connector.name}/{row['slug']}"}
        for row in list_agenda(database, connector.uid, by_cron=crons.sync is not None)
    ]
    return {
        "connector": connector.name,
        "due_now": sum(
            row["hindrance"] is None and row["seconds"] is not None and row["seconds"] <= 0
            for row in entities
        ),
        "entities": entities,
        "time_zone": crons.time_zone,
        "crons": {
            what: _cron(getattr(crons, what), crons, now)
            for what in ("sync", "full_refresh", "discovery")
        },
        "cron_errors": [error.what for error in errors],
        "probe_changes": connector.probe_changes,
        "probe": vars(source_health(database, connector.uid)),
    }


def _cron(cron: str | None, crons: Crons, now: datetime) -> dict[str, str] | None:
    return (
        None
        if cron is None
        else {"cron": cron, "next_at": next_tick(cron, crons.time_zone, now).isoformat()}
    )


def _when(seconds: float | None) -> str:
    """Seconds until due in words."""
    if seconds is None:
        return "by cron"
    if seconds <= 0:
        return "now"
    return f"in {timedelta(seconds=round(seconds))}"
