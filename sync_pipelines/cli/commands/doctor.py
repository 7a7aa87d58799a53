"""`sync-pipelines doctor`: is everything there that a sync needs?"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Annotated

import typer
from alembic.config import Config
from alembic.script import ScriptDirectory

from sync_pipelines.catalog import migrate as migration
from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.database import Database, open_database, require_catalog
from sync_pipelines.catalog.session_options import has_schema
from sync_pipelines.cli.commands.checks import check_connector, conclude
from sync_pipelines.cli.shell.context import prepare
from sync_pipelines.cli.shell.homes import shipped_file
from sync_pipelines.cli.shell.output import JsonOption, examples
from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError, SyncError
from sync_pipelines.model.check import Check, Verdict, attempt, failed, passed, skipped
from sync_pipelines.model.entity import staging_schema
from sync_pipelines.observe.sign_of_life import sign_file
from sync_pipelines.orchestrate.reload import (
    code_server_target,
    read_only_url,
    up_seconds,
    web_server_trouble,
    webserver_url,
)
from sync_pipelines.postgres_server.embedded import embedded_trouble
from sync_pipelines.settings import Settings
from sync_pipelines.supervise.ping import Pulse, ping

MIGRATE = "sync-pipelines doctor --migrate"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("doctor", "doctor --migrate"))(doctor)


def doctor(
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Create or upgrade the catalog first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, database, catalog, connectors and Dagster's files; each failure says what to type next."""
    try:
        settings = prepare()
    except SyncError as error:
        conclude([failed("settings", error)], as_json=as_json)
        return
    checks = [passed("settings", f"environment {settings.app_env}, home {settings.home}")]
    checks += check_database(settings, migrate=migrate)
    checks.append(check_dagster())
    checks += check_alive(settings)
    conclude(checks, as_json=as_json)


def check_database(settings: Settings, *, migrate: bool) -> list[Check]:
    """Server, privileges, catalog, and each connector."""
    folder = settings.home / "postgres"
    version = folder / "PG_VERSION"
    if settings.database.embedded and not migrate and not version.exists():
        missing = f"there is no embedded database in {folder} yet"
        return [failed("database", missing, MIGRATE), *_needing_the_database()]
    database: Database | None = None

    def reach() -> str:
        nonlocal database
        opened = open_database(settings)
        with opened.connect() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version') AS version, current_user AS role"
            ).fetchone()
        assert row is not None
        database = opened
        return f"PostgreSQL {row['version']} at {opened.location}, role {row['role']}"

    hint = "start the server, or correct POSTGRES_URL or POSTGRES_HOST"
    checks = [attempt("database", reach, hint)]
    if database is None:
        return [*checks, *_needing_the_database()]
    found: Database = database
    if settings.database.embedded:
        checks.append(attempt("embedded", lambda: _closed(folder)))
    checks.append(attempt("privileges", lambda: _privileges(found)))
    catalog = attempt("catalog", lambda: _catalog(found, migrate=migrate), MIGRATE)
    checks.append(catalog)
    if catalog.verdict is Verdict.PASSED:
        checks += _connectors(found, settings)
    else:
        checks.append(skipped("connectors", "needs the catalog"))
    return checks


def _needing_the_database() -> list[Check]:
    names = ("privileges", "catalog", "connectors")
    return [skipped(name, "needs the database") for name in names]


def _connectors(database: Database, settings: Settings) -> list[Check]:
    """Each connector that is switched on."""
    connectors = list_connectors(database)
    if not connectors:
        hint = "there is none; sync-pipelines connector add NAME URL --token env:NAME"
        return [skipped("connectors", hint)]
    checks = []
    for connector in connectors:
        if connector.is_active:
            prefix = f"{connector.name}: "
            checks += check_connector(database, connector, settings, prefix=prefix)
        else:
            checks.append(skipped(connector.name, "switched off"))
    return checks


def _closed(data_dir: Path) -> str:
    trouble = embedded_trouble(data_dir)
    if trouble is not None:
        raise ConfigurationError(
            f"Other users of this machine may get into the embedded PostgreSQL: {trouble}.",
            next_command=f"stop what uses it, chmod 700 {data_dir}, and start it again",
        )
    return "closed to the other users of this machine"


def _privileges(database: Database) -> str:
    with database.connect() as connection:
        row = connection.execute(
            """
            SELECT has_database_privilege(current_database(), 'CREATE') AS may_create, pg_is_in_recovery() AS standby,
                   current_setting('default_transaction_read_only') = 'on' AS read_only, current_user AS role
            """
        ).fetchone()
    assert row is not None
    if row["standby"] or row["read_only"]:
        raise DatabaseRefusedError(
            "The database is read-only.", next_command="name the primary server in POSTGRES_HOST"
        )
    missing = [] if row["may_create"] else _missing_schemas(database)
    if missing:
        raise DatabaseRefusedError(
            f"The role {row['role']} may not create schemas in {database.name}, and it lacks {', '.join(missing)}.",
            next_command=f'GRANT CREATE ON DATABASE "{database.name}" TO "{row["role"]}", or CREATE SCHEMA'
            f' "{missing[0]}" AUTHORIZATION "{row["role"]}"',
        )
    return "may create schemas" if row["may_create"] else "every schema is there"


def _missing_schemas(database: Database) -> list[str]:
    """Schemas that the catalog needs and the database does not have."""
    with database.connect() as connection:
        wanted = [database.bridge_schema]
        if connection.execute("SELECT to_regclass('entities') AS found").fetchone()["found"]:  # type: ignore[index]
            rows = connection.execute(
                "SELECT DISTINCT target_schema AS name FROM entities WHERE destination = 'postgres'"
            ).fetchall()
            wanted += [
                schema for row in rows for schema in (row["name"], staging_schema(row["name"]))
            ]
        return [schema for schema in wanted if not has_schema(connection, schema)]


def _catalog(database: Database, *, migrate: bool) -> str:
    if migrate:
        migration.migrate(database)
    require_catalog(database)
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with database.connect() as connection:
        row = connection.execute("SELECT version_num AS version FROM alembic_version").fetchone()
    version = row["version"] if row else None
    if version != newest:
        raise ConfigurationError(
            f"The catalog has version {version}, this program needs {newest}.", next_command=MIGRATE
        )
    return f"schema {database.bridge_schema}, version {version}"


def check_alive(settings: Settings) -> list[Check]:
    """Do the definitions and the web servers of the running Dagster answer, and does somebody look for incidents?"""
    return [*_code_and_alerts(settings), *_web_servers(settings)]


def _web_servers(settings: Settings) -> list[Check]:
    addresses = {
        "web server": webserver_url(settings),
        "read-only web server": read_only_url(settings),
    }
    checks = []
    for name, url in addresses.items():
        if url is None:
            continue
        trouble = web_server_trouble(url)
        command = (
            f"look at the log of the {name}, then start `sync-pipelines up` or its container again"
        )
        checks.append(failed(name, trouble, command) if trouble else passed(name, "it answers"))
    return checks


def _code_and_alerts(settings: Settings) -> list[Check]:
    target = code_server_target(settings)
    if target is None:
        answers = skipped(
            "code server",
            "none is known to run; `sync-pipelines up` starts one, or set SYNC_PIPELINES_CODE_SERVER",
        )
    else:
        answer = ping(target)
        answers = (
            passed("code server", "its definitions answer")
            if answer.pulse is Pulse.ALIVE
            else failed(
                "code server",
                f"its definitions do not answer ({answer.reason})",
                "look at the log of code-server, then start `sync-pipelines up` or the container code again",
            )
        )
    sign = sign_file(settings)
    if not sign.exists():
        return [
            answers,
            skipped(
                "alerts",
                "nobody looks beside Dagster; `up` and the container alerts do, or sync-pipelines alerts run by cron",
            ),
        ]
    age = time.time() - sign.stat().st_mtime
    said = f"the last sign of life is {age:.0f} s old ({sign})"
    waited = min(age, up_seconds(settings))
    if target is not None and waited > max(
        settings.alerts.alert_silence_seconds, 3 * settings.alerts.alert_interval_seconds
    ):
        return [answers, failed("alerts", said, "sync-pipelines alerts run")]
    return [answers, passed("alerts", said)]


def check_dagster() -> Check:
    """Are the files there that `dagster` commands need?"""
    name = os.environ.get("DAGSTER_HOME")
    if not name:
        return skipped(
            "dagster", "DAGSTER_HOME is not set; `sync-pipelines up` makes a home of its own"
        )
    home = Path(name)
    if not home.is_absolute():
        return failed(
            "dagster", f"DAGSTER_HOME is {home}, not an absolute path", "export DAGSTER_HOME=$PWD"
        )
    shipped = shlex.quote(str(shipped_file("dagster.yaml")))
    if not (home / "dagster.yaml").exists():
        return failed("dagster", f"{home} has no dagster.yaml", f"cp {shipped} {home}/")
    return passed("dagster", f"home {home}")
