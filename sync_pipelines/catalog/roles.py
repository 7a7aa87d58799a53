"""Roles beside the owner: one that loads, one that reads, one that SQL models run as. Named after the bridge schema.

The owner is the role that migrates: it makes and changes tables. The others are groups without login; grant them to
logins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

from psycopg import sql

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.session_options import ensure_schema, has_schema
from sync_pipelines.model.entity import staging_schema
from sync_pipelines.model.names import shorten_identifier

PURPOSES = ("loader", "reader", "models")
_WRITING = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE"


def role_name(bridge_schema: str, purpose: str) -> str:
    """The role for a purpose, one of PURPOSES."""
    return shorten_identifier(f"{bridge_schema}_{purpose}")


def ensure_roles(database: Database) -> tuple[str, ...]:
    """Make the roles and grant them what they need on every schema of ours; safe to repeat.

    Returns:
        Their names; none where the role that migrates may not make roles and nobody has made them.
    """
    with database.cursor() as cursor:
        _one_at_a_time(cursor)
        cursor.execute(
            "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        may_make = _first(cursor)
        names = [role_name(database.bridge_schema, purpose) for purpose in PURPOSES]
        for name in names:
            if _is_there(cursor, name):
                continue
            if not may_make:
                return ()
            _make(cursor, name)
        loader = role_name(database.bridge_schema, "loader")
        _grant(cursor, database.bridge_schema, loader, _WRITING, "USAGE")
        for target in _target_schemas(cursor):
            grant_target(cursor, database.bridge_schema, target)
        return tuple(names)


def _target_schemas(cursor: Any) -> list[str]:
    cursor.execute("SELECT DISTINCT target_schema FROM entities WHERE destination = 'postgres'")
    named = [name for (name,) in cursor.fetchall()]
    return [name for name in named if has_schema(cursor, name)]


def is_granted(cursor: Any, bridge_schema: str, purpose: str) -> bool:
    """Whether somebody beside us is a member of the role for a purpose.

    Args:
        cursor: with rows as tuples.
        bridge_schema: that the role is named after.
        purpose: one of PURPOSES.
    """
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u"
        " ON u.oid = m.member"
        " WHERE r.rolname = %s AND u.rolname <> current_user)",
        [role_name(bridge_schema, purpose)],
    )
    return bool(_first(cursor))


def grant_target(cursor: Any, bridge_schema: str, target: str) -> None:
    """Let the roles that are there work with a schema of targets and its staging, and with the tables to come.

    Args:
        cursor: with rows as tuples.
        bridge_schema: that the roles are named after.
        target: the schema.
    """
    _one_at_a_time(cursor)
    loader = role_name(bridge_schema, "loader")
    reader = role_name(bridge_schema, "reader")
    if _is_there(cursor, loader):
        _grant(cursor, target, loader, _WRITING, "USAGE")
        staging = staging_schema(target)
        if has_schema(cursor, staging):
            _grant(cursor, staging, loader, _WRITING, "USAGE, CREATE")
    if _is_there(cursor, reader):
        _grant(cursor, target, reader, "SELECT", "USAGE")


def open_to_models(
    database: Database,
    reads: Iterable[tuple[str, str]],
    *,
    writes: str,
) -> None:
    """Let the role of SQL models, where there is one that we may be, read tables and make its own; committed at once.

    Grants that meet in one row of PostgreSQL's catalog fail ("tuple concurrently updated"), so they wait for each other
    here, and no build keeps them waiting.

    Args:
        database: whose roles.
        reads: tables, as schema and name.
        writes: the schema of the models, which is made where it is missing.
    """
    with database.cursor() as cursor:
        _one_at_a_time(cursor)
        ensure_schema(cursor, writes)
        role, _ = _models_role(cursor, database)
        if role is None:
            return
        _grant_missing(cursor, role, reads)
        cursor.execute(
            "SELECT has_schema_privilege(%s, %s, 'USAGE') AND has_schema_privilege(%s, %s, 'CREATE')",
            [role, writes, role, writes],
        )
        if not _first(cursor):
            _execute(
                cursor,
                "GRANT USAGE, CREATE ON SCHEMA {} TO {}",
                writes,
                role,
            )


@contextmanager
def reading_role(
    cursor: Any,
    database: Database,
    made: Iterable[tuple[str, str]] = (),
) -> Iterator[str | None]:
    """Run the block as the role of SQL models, where there is one that we may be.

    Yields who we are otherwise, else None.

    Args:
        cursor: with rows as tuples, inside a transaction.
        database: whose roles.
        made: tables of this transaction that the block reads, as schema and name; `open_to_models` opens all others.
    """
    role, user = _models_role(cursor, database)
    if role is None:
        yield None
        return
    _grant_missing(cursor, role, made)
    _execute(cursor, "SET LOCAL ROLE {}", role)
    yield user
    _execute(cursor, "SET LOCAL ROLE {}", user)


def _models_role(cursor: Any, database: Database) -> tuple[str | None, str]:
    """The role of SQL models, None where there is none that we may be; and who we are."""
    role = role_name(database.bridge_schema, "models")
    cursor.execute(
        "SELECT current_user, (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s)",
        [role],
    )
    user, may_be = cursor.fetchone()
    return (role if may_be else None), user


def _grant_missing(
    cursor: Any,
    role: str,
    reads: Iterable[tuple[str, str]],
) -> None:
    """Grant what the role lacks to read tables: a grant rewrites the row of its object also when it changes nothing."""
    for schema, table in reads:
        cursor.execute("SELECT has_schema_privilege(%s, %s, 'USAGE')", [role, schema])
        if not _first(cursor):
            _execute(cursor, "GRANT USAGE ON SCHEMA {} TO {}", schema, role)
        place = sql.Identifier(schema, table)
        cursor.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [role, place.as_string()])
        if not _first(cursor):
            _execute(cursor, "GRANT SELECT ON {} TO {}", place, role)


def _one_at_a_time(cursor: Any) -> None:
    """Wait for others that grant, until the end of this transaction."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('sync_pipelines:roles', 0))")


def _is_there(cursor: Any, role: str) -> bool:
    return bool(cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone())


def _make(cursor: Any, role: str) -> None:
    _execute(cursor, "CREATE ROLE {}", role)
    # Since PostgreSQL 16 whoever makes a role is a member of it only after this grant.
    _execute(cursor, "GRANT {} TO CURRENT_USER", role)


def _grant(
    cursor: Any,
    schema: str,
    role: str,
    on_tables: LiteralString,
    on_schema: LiteralString,
) -> None:
    """Grant on the schema and its tables, as far as they are ours: what others put there is theirs to grant."""
    cursor.execute(
        "SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = %s", [schema]
    )
    if _first(cursor):
        _execute(cursor, f"GRANT {on_schema} ON SCHEMA {{}} TO {{}}", schema, role)
    cursor.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s"
        " AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(c.relowner, 'MEMBER') ORDER BY 1",
        [schema],
    )
    tables = [sql.Identifier(schema, table) for (table,) in cursor.fetchall()]
    if tables:
        listed = sql.SQL(", ").join(tables)
        _execute(cursor, f"GRANT {on_tables} ON {{}} TO {{}}", listed, role)
    _execute(
        cursor,
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {{}} GRANT {on_tables} ON TABLES TO {{}}",
        schema,
        role,
    )


def _first(cursor: Any) -> Any:
    """The first value of the answer."""
    return cursor.fetchone()[0]


def _execute(
    cursor: Any,
    statement: LiteralString,
    *names: str | sql.Composable,
) -> None:
    """Execute a statement whose places take names, which are quoted, or parts of SQL."""
    parts = [sql.Identifier(name) if isinstance(name, str) else name for name in names]
    cursor.execute(sql.SQL(statement).format(*parts))
