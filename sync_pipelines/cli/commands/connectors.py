"""`sync-pipelines connector`: the sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sync_pipelines.catalog.connectors import (
    change_connector,
    get_connector,
    list_connectors,
    remove_connector,
)
from sync_pipelines.catalog.fingerprints import learn_secrets
from sync_pipelines.catalog.opening import open_catalog, open_migrated
from sync_pipelines.cli.commands.checks import check_connector, conclude
from sync_pipelines.cli.commands.declared import apply_file, export_file, show_endpoints
from sync_pipelines.cli.shell.completion import complete_connectors
from sync_pipelines.cli.shell.output import (
    JsonOption,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)
from sync_pipelines.cli.shell.running import show_in_dagster
from sync_pipelines.declare.register import register_connector
from sync_pipelines.declare.shipped_gates import copy_shipped
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector
from sync_pipelines.network.origins import travels_in_clear
from sync_pipelines.network.outbound import agree_to_private
from sync_pipelines.schedule.cron import DEFAULT, OFF, check_time_zone, resolve_cron

_CRON_HELP = "Five fields, H as minute or hour lets the name choose; off, or default."

_YES_HELP = (
    "Do not ask: agrees to every address, variable and table that is shown and to each secret going where it is"
    " shown to go, and remembers it. Not to addresses that are not public (--allow-private), nor to what"
    " SECRET_ORIGINS forbids."
)
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private",
        help="Its addresses need not be public: name an intranet host. Loopback, written as such, needs no flag.",
    ),
]

NameArgument = Annotated[str, typer.Argument(autocompletion=complete_connectors)]

group = typer.Typer(
    no_args_is_help=True,
    help="Sources: add or apply, change, list, show, test, remove.",
    epilog=examples(
        "connector add erp https://erp.example.com --token env:ERP_TOKEN", "connector list"
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="connector")


@group.command(
    epilog=examples(
        "connector add erp https://erp.example.com --token env:ERP_TOKEN",
        "connector add erp https://erp.example.com --set requests_per_second=5 --set max_connections=2",
        "connector add erp https://erp.example.com --destination trino --trino host=trino.example.com --trino"
        " password=env:TRINO_PASS",
    )
)
def add(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(help="Lower-case name; also the asset group and, by default, the schema."),
    ],
    url: Annotated[str, typer.Argument(help="Base URL, without credentials.")],
    token: Annotated[
        str | None, typer.Option(help="Reference to the bearer token: env:NAME.")
    ] = None,
    schema: Annotated[str | None, typer.Option(help="Schema of the target tables.")] = None,
    limits: Annotated[
        list[str] | None, typer.Option("--set", help="A limit, key=value; repeatable.")
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(help="Where its tables go: postgres (the default), trino or duckdb."),
    ] = None,
    trino: Annotated[
        list[str] | None,
        typer.Option(
            "--trino",
            "--destination-option",
            help="How Trino is reached, key=value, where it differs from TRINO_…, or credentials=… of duckdb;"
            " repeatable. Secrets as env:NAME.",
        ),
    ] = None,
    allow_private: AllowPrivate = False,
    as_json: JsonOption = False,
) -> None:
    """Register a source, or change the one of that name; naming both agrees that the token goes to the address."""
    settings = parse_limits(limits or [])
    database = open_migrated(context.obj)
    connector = register_connector(
        database,
        name,
        url,
        token,
        target_schema=schema,
        settings=settings,
        destination=destination,
        destination_settings=parse_limits(trino, "--trino") if trino else None,
        allow_private=allow_private,
    )
    learn_secrets(database, context.obj)
    show_in_dagster(context.obj, database, quiet=True)
    if connector.auth_token and travels_in_clear(connector.base_url):
        say(
            f"Warning: the token goes to {connector.base_url} over plain http; whoever is on the way can read it.",
            "yellow",
            stderr=True,
        )
    if as_json:
        print_json(_shown(connector))
        return
    say(
        f"{name} is registered: {connector.base_url}, tables go to the schema {connector.target_schema} in"
        f" {connector.destination}."
    )
    say(f"Next: sync-pipelines connector test {name} && sync-pipelines discover {name}", "cyan")


@group.command(
    "set",
    epilog=examples(
        "connector set erp --full-refresh-cron '0 3 * * *' --time-zone Europe/Berlin",
        "connector set erp --sync-cron '0 * * * *' --no-probe",
    ),
)
def set_(
    context: typer.Context,
    name: NameArgument,
    sync_cron: Annotated[
        str | None,
        typer.Option(
            help=f"When all entities are synced, instead of their intervals. {_CRON_HELP}"
        ),
    ] = None,
    full_refresh_cron: Annotated[
        str | None, typer.Option(help=f"When all entities are read whole. {_CRON_HELP}")
    ] = None,
    discovery_cron: Annotated[
        str | None, typer.Option(help=f"When the source is asked what it offers. {_CRON_HELP}")
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(help="In which the crons are meant, for example Europe/Berlin, or default."),
    ] = None,
    probe: Annotated[
        bool | None,
        typer.Option("--probe/--no-probe", help="Look for changes between the intervals, or not."),
    ] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Sync it at all, or not.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--set", help="A limit, key=value; key=null takes it away; repeatable."),
    ] = None,
    allow_private: AllowPrivate = False,
    as_json: JsonOption = False,
) -> None:
    """Change when and how a source is synced.

    What is not named stays. Reload the definitions to see new crons in Dagster.
    """
    database = open_catalog(context.obj)
    connector = get_connector(database, name)
    crons = {
        "sync_cron": sync_cron,
        "full_refresh_cron": full_refresh_cron,
        "discovery_cron": discovery_cron,
    }
    changes = _schedule_changes(name, crons, time_zone)
    switches = {"probe_changes": probe, "is_active": active}
    changes |= _given(switches)
    if limits:
        changes["settings"] = _given({**connector.settings, **parse_limits(limits)})
    if allow_private:
        changes["agreed"] = agree_to_private(connector)
    if not changes:
        raise SettingsError(
            "Nothing to set.",
            state="Nothing was changed.",
            next_command="sync-pipelines connector set --help",
        )
    changed = change_connector(database, connector, **changes)
    if as_json:
        print_json(_shown(changed))
        return
    say(f"{name}: " + ", ".join(f"{field} = {getattr(changed, field)}" for field in changes))
    if {"sync_cron", "full_refresh_cron", "discovery_cron", "time_zone", "is_active"} & set(
        changes
    ):
        say(
            "Dagster shows it after its definitions are reloaded (Deployment, Reload); the sensor obeys at once.",
            "cyan",
        )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _schedule_changes(
    connector: str, crons: dict[str, str | None], time_zone: str | None
) -> dict[str, Any]:
    """The crons and the time zone that are given, checked."""
    changes: dict[str, Any] = {
        field: _checked_cron(cron, connector, field.replace("_", " "))
        for field, cron in crons.items()
        if cron is not None
    }
    if time_zone is not None:
        changes["time_zone"] = None if time_zone == DEFAULT else check_time_zone(time_zone)
    return changes


def _checked_cron(cron: str, name: str, what: str) -> str | None:
    if cron == DEFAULT:
        return None
    if cron != OFF:
        resolve_cron(cron, name, what)
    return cron


@group.command(
    epilog=examples("connector copy processgit connectors", "connector copy randomuser .")
)
def copy(
    name: Annotated[str, typer.Argument(help="Name of a shipped connector.")],
    folder: Annotated[str, typer.Argument(help="Where its files go; none there is overwritten.")],
) -> None:
    """Copy a shipped connector with its gate and its other files, to change it and apply it by path."""
    path = copy_shipped(name, Path(folder))
    say(f"{name} is copied to {folder}.")
    say(f"Next: sync-pipelines connector apply {path}", "cyan")


@group.command(
    epilog=examples(
        "connector apply connectors/crm.yaml",
        "connector apply processgit --base-url https://data.example.com --yes",
    )
)
def apply(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A connector file, or the name of a shipped one.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--set", help="An input of the file, name=value; repeatable."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Base URL instead of the file's.")] = None,
    infer_again: Annotated[
        bool,
        typer.Option("--infer-again", help="Take a new sample for columns that were inferred."),
    ] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show what it would use and change, and change nothing.")
    ] = False,
    allow_private: AllowPrivate = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=_YES_HELP)] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a declared source to its file: what it would use and the plan are shown first.

    Exit code 3: somebody has to decide.
    """
    apply_file(
        context.obj,
        file,
        inputs or [],
        base_url,
        infer_again=infer_again,
        plan_only=plan_only,
        allow_private=allow_private,
        yes=yes,
        as_json=as_json,
    )


@group.command(epilog=examples("connector show crm", "connector show crm --json"))
def show(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one source; secrets only as references."""
    connector = get_connector(open_catalog(context.obj), name)
    if as_json:
        print_json(_shown(connector))
        return
    show_fields(
        name, {field: value for field, value in _shown(connector).items() if field != "declaration"}
    )
    if connector.declaration is not None:
        show_endpoints(connector)


@group.command(
    epilog=examples("connector export crm", "connector export crm > connectors/crm.yaml")
)
def export(context: typer.Context, name: NameArgument) -> None:
    """Print a declared source as a connector file, with the columns that were inferred."""
    typer.echo(export_file(get_connector(open_catalog(context.obj), name)), nl=False)


@group.command("list", epilog=examples("connector list", "connector list --json"))
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the sources."""
    connectors = list_connectors(open_catalog(context.obj))
    if as_json:
        print_json([_shown(connector) for connector in connectors])
        return
    show_table(
        "Connectors",
        (
            "connector",
            "base URL",
            "token",
            "schema",
            "active",
            "last discovered",
            "last discovery error",
        ),
        [
            (
                c.name,
                c.base_url,
                c.auth_token,
                c.target_schema,
                c.is_active,
                c.last_discovered_at,
                c.last_discovery_error,
            )
            for c in connectors
        ],
        empty="There is no connector yet. Next: sync-pipelines connector add NAME URL --token env:NAME",
    )


@group.command(epilog=examples("connector test erp", "connector test erp --json"))
def test(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Check secret, source, token, shape of the answers and database, each by itself."""
    database = open_catalog(context.obj)
    conclude(check_connector(database, get_connector(database, name), context.obj), as_json=as_json)


@group.command(epilog=examples("connector remove erp", "connector remove erp --yes"))
def remove(
    context: typer.Context,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget a source with its entities, runs and quarantine; its tables stay."""
    database = open_catalog(context.obj)
    connector = get_connector(database, name)
    if not yes and not typer.confirm(
        f"Forget {name} with its entities, cursors, runs and quarantine? The tables in {connector.target_schema} stay.",
        err=True,
    ):
        raise SettingsError(
            "Not confirmed.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines connector remove {name} --yes",
        )
    count = remove_connector(database, name)
    show_in_dagster(context.obj, database, quiet=True)
    if as_json:
        print_json(
            {"connector": name, "entities_forgotten": count, "schema_kept": connector.target_schema}
        )
        return
    say(
        f"{name} and its {count} entities are forgotten; the tables in the schema {connector.target_schema} stay as"
        " they are."
    )


def parse_limits(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    """`key=value` texts as settings; values are JSON where they can be.

    Raises:
        SettingsError: no `=`.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(
                f"{option} takes key=value; one of them has no = or no key.",
                state="Nothing was stored.",
            )
        try:
            settings[key.strip()] = json.loads(value)
        except ValueError:
            settings[key.strip()] = value
    return settings


def _shown(connector: Connector) -> dict[str, Any]:
    return {**vars(connector), "uid": str(connector.uid)}
