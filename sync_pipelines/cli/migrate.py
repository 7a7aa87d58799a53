"""`sync-pipelines migrate`: catalog and Dagster's storage, created or upgraded; once, before anything is started."""

from __future__ import annotations

import typer

from sync_pipelines.catalog.dagster_storage import create_storage_schema
from sync_pipelines.catalog.roles import ensure_roles
from sync_pipelines.cli.context import open_migrated
from sync_pipelines.cli.output import JsonOption, examples, print_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("migrate", "migrate --json"))(migrate)


def migrate(context: typer.Context, as_json: JsonOption = False) -> None:
    """Create or upgrade the catalog and the storage of the Dagster instance of DAGSTER_HOME; safe to repeat."""
    from sync_pipelines.orchestrate.upgrade import upgrade_storage

    database = open_migrated(context.obj)
    create_storage_schema(database)
    roles = ensure_roles(database)
    storage = upgrade_storage()
    if as_json:
        print_json({"catalog": database.location, "dagster_storage": storage, "roles": roles})
        return
    say(f"The catalog in {database.location} is up to date.")
    say(f"Roles to grant to logins: {', '.join(roles)}." if roles else "No roles were made: this role may not create any (docs/operations.md).")
    say(f"Dagster keeps its runs in {storage}, which is up to date." if storage else "DAGSTER_HOME is not set: no Dagster storage to upgrade.")
