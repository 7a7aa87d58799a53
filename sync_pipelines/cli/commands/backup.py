"""`sync-pipelines backup` and `restore`: one file with tables, cursors, quarantine and Dagster's history, consistent
with each other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from sync_pipelines.catalog.database import Database, open_database
from sync_pipelines.catalog.migrate import migrate
from sync_pipelines.cli.shell.homes import own_home
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say
from sync_pipelines.cli.shell.processes import sole_user
from sync_pipelines.cli.shell.progress import step
from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError, SettingsError
from sync_pipelines.postgres_server.embedded import postgres_program
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

# What libpq reads from the environment, so that no password is among the arguments, which every user of the machine can
# see.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "channel_binding": "PGCHANNELBINDING",
}
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file of the backup.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("backup bridge.dump", "backup bridge.dump --without-history"))(
        backup
    )
    app.command(epilog=examples("restore bridge.dump", "restore bridge.dump --replace"))(restore)


def backup(
    context: typer.Context,
    file: FileArgument,
    without_history: Annotated[
        bool, typer.Option("--without-history", help="Leave out Dagster's runs and events.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the whole database into one file, readable by this user alone, while everything runs on."""
    if file.exists():
        raise SettingsError(
            f"{file} exists already.",
            state="Nothing was written.",
            next_command="name another file",
        )
    database = open_database(context.obj)
    partial = file.with_name(f"{file.name}.partial")
    history = ["--exclude-schema", f"{database.bridge_schema}_dagster"] if without_history else []
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600)
        with step(f"Write {database.location} into {file}"):
            _run(
                "pg_dump",
                ["--format=custom", "--no-owner", "--no-acl", f"--file={partial}", *history],
                database,
            )
        partial.replace(file)
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be written: {error.strerror}.", state="No backup was made."
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    size_bytes = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "bytes": size_bytes})
        return
    say(f"{file} has {size_bytes:,} bytes. Secrets are not in it: the catalog holds their names.")


def restore(
    context: typer.Context,
    file: FileArgument,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the catalog and the tables that are there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a backup into the database in one transaction and upgrade it where it is older.

    Stop `up` and the containers before.
    """
    settings: Settings = context.obj
    if not file.is_file():
        raise SettingsError(f"There is no file {file}.", state="Nothing was changed.")
    with ExitStack() as stack:
        if settings.database.embedded:
            home = own_home(settings)
            stack.enter_context(sole_user(home.lock, f"The home {home.root}"))
        database = open_database(settings)
        if not replace and _holds_catalog(database):
            raise ConfigurationError(
                f"{database.location} holds a catalog already.",
                state="Nothing was changed.",
                next_command=f"sync-pipelines backup OTHER_FILE, then sync-pipelines restore {file} --replace",
            )
        cleaning = ["--clean", "--if-exists"] if replace else []
        with step(f"Restore {file} into {database.location}"):
            arguments = [
                "--single-transaction",
                "--exit-on-error",
                "--no-owner",
                "--no-acl",
                *cleaning,
                str(file),
            ]
            _run("pg_restore", ["--dbname", _database_name(database), *arguments], database)
        with step("Bring the catalog up to date"):
            migrate(database)
    if as_json:
        print_json({"file": str(file), "database": database.location})
        return
    say(
        f"{database.location} is as it was when {file} was written; syncs go on from the cursors in it."
    )


def _holds_catalog(database: Database) -> bool:
    with psycopg.connect(database.url) as connection:
        row = connection.execute(
            "SELECT to_regnamespace(%s) IS NOT NULL", [database.bridge_schema]
        ).fetchone()
    return bool(row and row[0])


def _database_name(database: Database) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(database.url).get("dbname") or "postgres")


def _run(program: str, arguments: Sequence[str], database: Database) -> None:
    """Run a program of PostgreSQL against the database.

    Raises:
        DatabaseRefusedError: it failed; with its own words.
    """
    known = psycopg.conninfo.conninfo_to_dict(database.url)
    variables = {
        _VARIABLES[name]: str(value)
        for name, value in known.items()
        if value is not None and name in _VARIABLES
    }
    done = subprocess.run(
        [postgres_program(program), *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = printable(" ".join(done.stderr.split()) or f"code {done.returncode}", 1000)
        raise DatabaseRefusedError(
            f"{program} failed: {said}",
            where={"database": database.location},
            state="The database is as it was.",
        )
