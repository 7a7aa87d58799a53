"""`sync-pipelines migrate`: catalog and Dagster's storage, created or upgraded; once, before anything is started."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sync_pipelines.catalog.dagster_storage import create_storage_schema
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.opening import open_migrated
from sync_pipelines.catalog.roles import ensure_roles
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say
from sync_pipelines.destinations.postgres.ahead import add_columns_ahead
from sync_pipelines.errors import RetriableError
from sync_pipelines.settings import Settings

_PAUSE_SECONDS = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("migrate", "migrate --wait 120"))(migrate)


def migrate(
    context: typer.Context,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to try again while the database does not answer.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Create or upgrade the catalog and the storage of the Dagster instance of DAGSTER_HOME; safe to repeat."""
    # Deferred: Dagster takes seconds, which `--help` and the other commands need not wait.
    from sync_pipelines.orchestrate.upgrade import upgrade_storage

    database = _opened(context.obj, time.monotonic() + wait)
    create_storage_schema(database)
    roles = ensure_roles(database)
    ahead = add_columns_ahead(database)
    storage = upgrade_storage()
    if as_json:
        print_json(
            {
                "catalog": database.location,
                "dagster_storage": storage,
                "roles": roles,
                "columns_ahead": ahead,
            }
        )
        return
    say(f"The catalog in {database.location} is up to date.")
    say(
        f"Roles to grant to logins: {', '.join(roles)}."
        if roles
        else "No roles were made: this role may not create any (docs/operations.md)."
    )
    if ahead:
        say(f"Tables that the loader may now mark rejected rows in: {', '.join(ahead)}.")
    say(
        f"Dagster keeps its runs in {storage}, which is up to date."
        if storage
        else "DAGSTER_HOME is not set: no Dagster storage to upgrade."
    )


def _opened(settings: Settings, deadline: float) -> Database:
    """The migrated catalog; what may pass is tried again until the deadline."""
    while True:
        try:
            return open_migrated(settings)
        except RetriableError as error:
            if time.monotonic() + _PAUSE_SECONDS > deadline:
                raise
            say(f"{error.what} Trying again.", stderr=True)
        time.sleep(_PAUSE_SECONDS)
