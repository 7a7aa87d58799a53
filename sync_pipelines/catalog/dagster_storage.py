"""Where Dagster keeps its runs and events beside the catalog: a second schema in the same database."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.session_options import ensure_schema, session_options
from sync_pipelines.model.names import shorten_identifier


def storage_schema(bridge_schema: str) -> str:
    """The schema of Dagster's tables; named after the bridge schema, so that two installations may share a database."""
    return shorten_identifier(f"{bridge_schema}_dagster")


def storage_url(database: Database) -> str:
    """The same database with that schema as search path, for `SYNC_PIPELINES_DAGSTER_URL`; holds the password.

    Always a URL, which SQLAlchemy needs, where PostgreSQL would take `host=… dbname=…` as well.
    """
    known = {}
    for name, value in conninfo_to_dict(database.url).items():
        if value is not None:
            known[name] = str(value)
    user = known.pop("user", "")
    password = known.pop("password", "")
    dbname = known.pop("dbname", "")
    options = known.get("options", "")
    known["options"] = session_options(options, storage_schema(database.bridge_schema))
    login = quote(user, safe="")
    if password:
        login += f":{quote(password, safe='')}"
    parameters = urlencode(known, quote_via=quote, safe="/")
    return f"postgresql://{login}@/{quote(dbname, safe='')}?{parameters}"


def create_storage_schema(database: Database) -> None:
    """Make the schema; Dagster makes its tables.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: from PostgreSQL.
    """
    with database.connect() as connection:
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            ["sync_pipelines:dagster_schema"],
        )
        ensure_schema(connection, storage_schema(database.bridge_schema))
