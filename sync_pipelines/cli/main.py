"""The command `sync-pipelines`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from sync_pipelines.cli.commands import (
    alerts,
    audit,
    backup,
    connectors,
    cursors,
    discovery,
    doctor,
    entities,
    gates,
    maintenance,
    migrate,
    quarantine,
    runs,
    schedule,
    syncing,
    up,
    writing,
)
from sync_pipelines.cli.shell.context import prepare
from sync_pipelines.cli.shell.failures import SafeGroup
from sync_pipelines.cli.shell.output import examples
from sync_pipelines.demo import demo

app = typer.Typer(
    name="sync-pipelines",
    cls=SafeGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Keep tables equal to the REST APIs they come from: incrementally, losslessly, with proof.",
    epilog=examples("demo", "connector add erp https://erp.example.com --token env:ERP_TOKEN")
    + "\n\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 somebody has to act.",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"sync-pipelines {version('sync_pipelines')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Read the settings before any command."""
    # `doctor` reports wrong settings itself.
    if context.invoked_subcommand != "doctor":
        context.obj = prepare()


COMMANDS = (
    connectors,
    discovery,
    entities,
    cursors,
    syncing,
    writing,
    runs,
    schedule,
    gates,
    quarantine,
    audit,
    alerts,
    doctor,
    migrate,
    maintenance,
    backup,
    demo,
    up,
)
for module in COMMANDS:
    module.register(app)

if __name__ == "__main__":
    app()
