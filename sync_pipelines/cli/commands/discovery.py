"""`sync-pipelines discover`: what the sources offer."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.opening import open_catalog, open_migrated
from sync_pipelines.cli.commands.defaults import register_default
from sync_pipelines.cli.shell.completion import complete_connectors
from sync_pipelines.cli.shell.failures import show_error
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say, show_table
from sync_pipelines.cli.shell.running import show_in_dagster
from sync_pipelines.discovery.discover import discover as ask
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import ConfigurationError, SettingsError, SyncError
from sync_pipelines.settings import Settings

ACTION_REQUIRED = 3
_KINDS = ("added", "changed", "returned", "vanished", "stopped", "invalid")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("discover", "discover erp --accept items"))(discover)


def discover(
    context: typer.Context,
    connector: Annotated[
        str | None,
        typer.Argument(
            help="One connector; all when left out.", autocompletion=complete_connectors
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="Slug whose breaking change is accepted: its table is set aside, a new one is read; repeatable."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the sources for their APIs and bring the catalog to them.

    Nothing is dropped. Exit code 3: somebody has to decide.
    """
    if accept and connector is None:
        raise SettingsError("--accept needs a connector.", state="Nothing was changed.")
    settings: Settings = context.obj
    has_default = bool(settings.sources.default_apismith_url)
    database = open_migrated(settings) if has_default else open_catalog(settings)
    register_default(database, settings)
    names = [connector] if connector else _active_connectors(database)
    reports, errors = _ask_all(database, settings, names, tuple(accept or ()))
    if errors and connector is not None:
        raise errors[0]
    definitions = show_in_dagster(settings, database, quiet=as_json)
    if as_json:
        shown = {
            "reports": [report.as_dict() for report in reports],
            "errors": [error.details() for error in errors],
            "definitions": definitions,
        }
        print_json(shown)
    else:
        _show_all(reports, errors)
    code = _exit_code(reports, errors)
    if code:
        raise typer.Exit(code)


def _active_connectors(database: Database) -> list[str]:
    names = [one.name for one in list_connectors(database) if one.is_active]
    if not names:
        raise ConfigurationError(
            "There is no connector to discover.",
            state="Nothing was changed.",
            next_command="sync-pipelines connector add NAME URL --token env:NAME",
        )
    return names


def _show_all(reports: list[DiscoveryReport], errors: list[SyncError]) -> None:
    for report in reports:
        _show(report)
    for error in errors:
        show_error(error)


def _exit_code(reports: list[DiscoveryReport], errors: list[SyncError]) -> int:
    codes = [0, *(error.exit_code for error in errors)]
    if any(report.needs_action for report in reports):
        codes.append(ACTION_REQUIRED)
    return max(codes)


def _ask_all(
    database: Database, settings: Settings, names: list[str], accept: tuple[str, ...]
) -> tuple[list[DiscoveryReport], list[SyncError]]:
    """Discover each connector; one that fails does not stop the others."""
    reports: list[DiscoveryReport] = []
    errors: list[SyncError] = []
    for name in names:
        try:
            reports.append(ask(database, name, accept=accept, settings=settings))
        except SyncError as error:
            errors.append(error)
    return reports, errors


def _show(report: DiscoveryReport) -> None:
    rows = []
    for kind in _KINDS:
        found = getattr(report, kind)
        words = found if isinstance(found, dict) else dict.fromkeys(found, "")
        rows += [(slug, kind, why) for slug, why in words.items()]
    for slug, table in report.set_aside.items():
        rows.append((slug, "set aside", _aside(report, slug, table)))
    name = report.connector
    unchanged = len(report.unchanged)
    nothing = f"{name} offers nothing."
    if unchanged:
        nothing = f"{name}: nothing changed, {unchanged} unchanged."
    show_table(f"Discovery of {name}", ("entity", "found", "why"), rows, empty=nothing)
    if rows and unchanged:
        say(f"{unchanged} unchanged.")
    for statements in report.to_do.values():
        for statement in statements:
            say(f"After the next sync: {statement}", "cyan")
    for slug in report.stopped:
        accepting = f"sync-pipelines discover {name} --accept {slug}"
        say(f"Next: {accepting}, or undo the change at the source", "cyan")


def _aside(report: DiscoveryReport, slug: str, table: str) -> str:
    kept = f"its table is kept as {table}"
    followers = report.followers.get(slug, ())
    if not followers:
        return kept
    return f"{kept}; {', '.join(followers)} read the new one"
