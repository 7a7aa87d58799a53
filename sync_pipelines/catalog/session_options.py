"""What a session of PostgreSQL must be set to, whatever ALTER ROLE, ALTER DATABASE or postgresql.conf say.

Also its schemas.

Every connection of ours is opened with these options, so that nobody's defaults decide how values are read or when we
stop.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# How long we may work is our own matter; whoever wants a limit for us alone writes it into POSTGRES_URL.
PATIENCE = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_read_only": "off",
}
# Older servers refuse a connection that names it.
PATIENCE_SINCE_17 = {"transaction_timeout": "0"}
# How values are written and compared is not open to choice.
FORMS = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
    # The catalog's spelling of types and names is compared with ours.
    "quote_all_identifiers": "off",
    "client_min_messages": "notice",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # A policy must refuse, where it would hide rows from us.
    "row_security": "off",
}


def session_url(
    url: str,
    search_path: str | None = None,
    *,
    server_version: int = 0,
) -> str:
    """The address of a server with our settings for the session.

    Args:
        url: libpq URL or connection string; its own options win over PATIENCE only.
        search_path: schemas by comma; `public` when None, where functions of triggers may look for their tables.
        server_version: as libpq gives it; 0 where it is not known yet.
    """
    own = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(
        url,
        options=session_options(own, search_path, server_version=server_version),
        client_encoding="UTF8",
    )


def session_options(
    own: str = "",
    search_path: str | None = None,
    *,
    server_version: int = 0,
) -> str:
    """The options of `session_url` alone."""
    patience = PATIENCE
    if server_version >= 170_000:
        patience = PATIENCE | PATIENCE_SINCE_17
    forms = {**FORMS, "search_path": search_path or "public"}
    parts = (_as_options(patience), own, _as_options(forms))
    return " ".join(part for part in parts if part)


def late_patience(url: str, server_version: int) -> str:
    """The statement that sets what a session was opened without, because nobody knew the server's version; or empty.

    Args:
        url: libpq URL or connection string; what it sets itself stays.
        server_version: as libpq gives it.
    """
    if server_version < 170_000:
        return ""
    own = str(conninfo_to_dict(url).get("options") or "")
    late = {name: value for name, value in PATIENCE_SINCE_17.items() if name not in own}
    return "; ".join(f"SET {name} = {value}" for name, value in late.items())


def _as_options(settings: dict[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())


def _escaped(value: str) -> str:
    """A value as libpq takes it within `options`: a backslash keeps the next letter as it is."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def ensure_schema(connection: Any, schema: str) -> None:
    """Make a schema where there is none; only then is the right to create one needed.

    Args:
        connection: a connection or cursor.
        schema: its name.
    """
    if not has_schema(connection, schema):
        name = sql.Identifier(schema).as_string(None)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")


def has_schema(connection: Any, schema: str) -> bool:
    """Whether a schema of that name is there, whoever owns it.

    Args:
        connection: a connection or cursor.
        schema: its name.
    """
    query = "SELECT count(*) AS found FROM pg_catalog.pg_namespace WHERE nspname = %s"
    cursor = connection.execute(query, [schema])
    row = cursor.fetchone()
    return bool(row["found"] if isinstance(row, dict) else row[0])
