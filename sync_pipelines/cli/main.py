"""The command `sync-pipelines`."""

from __future__ import annotations

from typing import Annotated

import typer

import sync_pipelines
from sync_pipelines.cli.commands import (
    alerts,
    audit,
    backup,
    connectors,
    cursors,
    demo,
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
        typer.echo(f"sync-pipelines {sync_pipelines.__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
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
