"""Where Dagster keeps its runs and events beside the catalog: a schema of its own in the same database."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from psycopg import sql

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.names import shorten_identifier


def storage_schema(bridge_schema: str) -> str:
    """The schema of Dagster's tables; named after the bridge schema, so that two installations may share a database."""
    return shorten_identifier(f"{bridge_schema}_dagster")


def storage_url(database: Database) -> str:
    """The database's URL with that schema as its search path, for `SYNC_PIPELINES_DAGSTER_URL`; holds the password."""
    parts = urlsplit(database.url)
    query = dict(parse_qsl(parts.query))
    path = f"-csearch_path={storage_schema(database.bridge_schema)}"
    query["options"] = f"{query['options']} {path}" if query.get("options") else path
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote, safe="/")))


def create_storage_schema(database: Database) -> None:
    """Make the schema; Dagster makes its tables.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: from PostgreSQL.
    """
    statement = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(storage_schema(database.bridge_schema)))
    with database.connect() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ["sync_pipelines:dagster_schema"])
        connection.execute(statement)
