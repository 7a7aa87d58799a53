"""Where Dagster keeps its runs and events beside the catalog: a schema of its own in the same database."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.names import shorten_identifier


def storage_schema(bridge_schema: str) -> str:
    """The schema of Dagster's tables; named after the bridge schema, so that two installations may share a database."""
    return shorten_identifier(f"{bridge_schema}_dagster")


def storage_url(database: Database) -> str:
    """The same database with that schema as search path, for `SYNC_PIPELINES_DAGSTER_URL`; holds the password.

    Always a URL, which SQLAlchemy needs, where PostgreSQL would take `host=… dbname=…` as well.
    """
    known = {name: str(value) for name, value in conninfo_to_dict(database.url).items() if value is not None}
    user, password = known.pop("user", ""), known.pop("password", "")
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    name, path = quote(known.pop("dbname", ""), safe=""), f"-csearch_path={storage_schema(database.bridge_schema)}"
    known["options"] = f"{known['options']} {path}" if "options" in known else path
    return f"postgresql://{login}@/{name}?{urlencode(known, quote_via=quote, safe='/')}"


def create_storage_schema(database: Database) -> None:
    """Make the schema; Dagster makes its tables.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: from PostgreSQL.
    """
    statement = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(storage_schema(database.bridge_schema)))
    with database.connect() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ["sync_pipelines:dagster_schema"])
        connection.execute(statement)
