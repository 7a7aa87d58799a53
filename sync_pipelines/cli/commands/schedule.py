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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("due", "due erp --all"))(due)


def due(
    context: typer.Context,
    connector: Annotated[
        str | None, typer.Argument(help="One connector; all when left out.", autocompletion=complete_connectors)
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every entity; by default the next 20 of each connector.")
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
        rows = agenda["entities"] if all_ else agenda["entities"][:20]
        show_table(
            f"{agenda['connector']}: {agenda['due_now']} of {len(agenda['entities'])} due",
            ("entity", "due", "because", "kept by", "failures in a row"),
            [
                (row["path"], _when(row["seconds"]), row["reason"], row["hindrance"], row["consecutive_failures"])
                for row in rows
            ],
            right=("failures in a row",),
            empty=f"{agenda['connector']} has no entity. Next: sync-pipelines discover {agenda['connector']}",
        )
        if len(rows) < len(agenda["entities"]):
            say(f"… and {len(agenda['entities']) - len(rows)} more: sync-pipelines due {agenda['connector']} --all")
        for what, found in agenda["crons"].items():
            if found:
                say(f"{what}: {found['cron']} ({agenda['time_zone']}), next {found['next_at']}")
        for error in agenda["cron_errors"]:
            say(error, "bold red")
        if agenda["probe"]["error"]:
            say(f"not probed for {agenda['probe']['silent_seconds']:.0f} s: {agenda['probe']['error']}", "yellow")


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
            row["hindrance"] is None and row["seconds"] is not None and row["seconds"] <= 0 for row in entities
        ),
        "entities": entities,
        "time_zone": crons.time_zone,
        "crons": {what: _cron(getattr(crons, what), crons, now) for what in ("sync", "full_refresh", "discovery")},
        "cron_errors": [error.what for error in errors],
        "probe_changes": connector.probe_changes,
        "probe": vars(source_health(database, connector.uid)),
    }


def _cron(cron: str | None, crons: Crons, now: datetime) -> dict[str, str] | None:
    return None if cron is None else {"cron": cron, "next_at": next_tick(cron, crons.time_zone, now).isoformat()}


def _when(seconds: float | None) -> str:
    """Seconds until due in words."""
    if seconds is None:
        return "by cron"
    if seconds <= 0:
        return "now"
    return f"in {timedelta(seconds=round(seconds))}"
