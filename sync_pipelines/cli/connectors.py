"""`sync-pipelines connector`: the sources."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from sync_pipelines.catalog.connectors import add_connector, get_connector, list_connectors, remove_connector
from sync_pipelines.cli.checks import check_connector, conclude
from sync_pipelines.cli.context import open_catalog, open_migrated
from sync_pipelines.cli.output import JsonOption, examples, print_json, say, show_fields, show_table
from sync_pipelines.cli.running import show_in_dagster
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector

group = typer.Typer(
    no_args_is_help=True,
    help="Sources: add or apply, list, show, test, remove.",
    epilog=examples("connector add erp https://erp.example.com --token env:ERP_TOKEN", "connector list"),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="connector")


@group.command(
    epilog=examples(
        "connector add erp https://erp.example.com --token env:ERP_TOKEN",
        "connector add erp https://erp.example.com --set requests_per_second=5 --set max_connections=2",
    )
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case name; also the asset group and, by default, the schema.")],
    url: Annotated[str, typer.Argument(help="Base URL, without credentials.")],
    token: Annotated[str | None, typer.Option(help="Reference to the bearer token: env:NAME.")] = None,
    schema: Annotated[str | None, typer.Option(help="Schema of the target tables.")] = None,
    limits: Annotated[list[str] | None, typer.Option("--set", help="A limit, key=value; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a source, or change the one of that name."""
    settings = parse_limits(limits or [])
    database = open_migrated(context.obj)
    connector = add_connector(database, name, url, token, target_schema=schema, settings=settings)
    show_in_dagster(context.obj, database, quiet=True)
    if as_json:
        print_json(_shown(connector))
        return
    say(f"{name} is registered: {connector.base_url}, tables go to the schema {connector.target_schema}.")
    say(f"Next: sync-pipelines connector test {name} && sync-pipelines discover {name}", "cyan")


@group.command(
    epilog=examples("connector apply connectors/crm.yaml", "connector apply processgit --base-url https://data.example.com --yes")
)
def apply(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A connector file, or the name of a shipped one.")],
    inputs: Annotated[list[str] | None, typer.Option("--set", help="An input of the file, name=value; repeatable.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Base URL instead of the file's.")] = None,
    infer_again: Annotated[bool, typer.Option("--infer-again", help="Take a new sample for columns that were inferred.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a declared source to its file: the plan is shown first. Exit code 3: somebody has to decide."""
    from sync_pipelines.cli.declared import apply_file

    apply_file(
        context.obj, file, inputs or [], base_url, infer_again=infer_again, plan_only=plan_only, yes=yes, as_json=as_json
    )


@group.command(epilog=examples("connector show crm", "connector show crm --json"))
def show(context: typer.Context, name: str, as_json: JsonOption = False) -> None:
    """Show one source; secrets only as references."""
    connector = get_connector(open_catalog(context.obj), name)
    if as_json:
        print_json(_shown(connector))
        return
    show_fields(name, {field: value for field, value in _shown(connector).items() if field != "declaration"})
    if connector.declaration is not None:
        from sync_pipelines.cli.declared import show_endpoints

        show_endpoints(connector)


@group.command(epilog=examples("connector export crm", "connector export crm > connectors/crm.yaml"))
def export(context: typer.Context, name: str) -> None:
    """Print a declared source as a connector file, with the columns that were inferred."""
    from sync_pipelines.cli.declared import export_file

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
        ("connector", "base URL", "token", "schema", "active", "last discovered", "last discovery error"),
        [
            (c.name, c.base_url, c.auth_token, c.target_schema, c.is_active, c.last_discovered_at, c.last_discovery_error)
            for c in connectors
        ],
        empty="There is no connector yet. Next: sync-pipelines connector add NAME URL --token env:NAME",
    )


@group.command(epilog=examples("connector test erp", "connector test erp --json"))
def test(context: typer.Context, name: str, as_json: JsonOption = False) -> None:
    """Tell unreachable, refused token, wrong shape, missing secret and database trouble apart."""
    database = open_catalog(context.obj)
    conclude(check_connector(database, get_connector(database, name), context.obj), as_json=as_json)


@group.command(epilog=examples("connector remove erp", "connector remove erp --yes"))
def remove(
    context: typer.Context,
    name: str,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget a source with its entities, runs and quarantine; its tables stay."""
    database = open_catalog(context.obj)
    connector = get_connector(database, name)
    if not yes and not typer.confirm(
        f"Forget {name} with its entities, cursors, runs and quarantine? The tables in {connector.target_schema} stay.", err=True
    ):
        raise SettingsError("Not confirmed.", state="Nothing was changed.", next_command=f"sync-pipelines connector remove {name} --yes")
    count = remove_connector(database, name)
    show_in_dagster(context.obj, database, quiet=True)
    if as_json:
        print_json({"connector": name, "entities_forgotten": count, "schema_kept": connector.target_schema})
        return
    say(f"{name} and its {count} entities are forgotten; the tables in the schema {connector.target_schema} stay as they are.")


def parse_limits(pairs: list[str]) -> dict[str, Any]:
    """`key=value` texts as settings; values are JSON where they can be.

    Raises:
        SettingsError: no `=`.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"--set takes key=value, not {pair!r}.", state="Nothing was stored.")
        try:
            settings[key.strip()] = json.loads(value)
        except ValueError:
            settings[key.strip()] = value
    return settings


def _shown(connector: Connector) -> dict[str, Any]:
    return {**vars(connector), "uid": str(connector.uid)}
