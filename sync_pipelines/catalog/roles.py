"""Roles beside the owner: one that loads, one that reads, one that SQL models run as. Named after the bridge schema.

The owner is the role that migrates: it makes and changes tables. The others are groups without login; grant them to
logins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

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
    with database.connect() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        _one_at_a_time(cursor)
        cursor.execute(
            "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        may_make = bool(cursor.fetchone()[0])  # type: ignore[index]
        names = {purpose: role_name(database.bridge_schema, purpose) for purpose in PURPOSES}
        there = [
            purpose
            for purpose, name in names.items()
            if _is_there(cursor, name) or (may_make and _make(cursor, name))
        ]
        if len(there) < len(PURPOSES):
            return ()
        cursor.execute("SELECT DISTINCT target_schema FROM entities WHERE destination = 'postgres'")
        targets = [name for (name,) in cursor.fetchall() if has_schema(cursor, name)]
        _grant(cursor, database.bridge_schema, names["loader"], _WRITING, "USAGE")
        for target in targets:
            grant_target(cursor, database.bridge_schema, target)
        return tuple(names.values())


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
    return bool(cursor.fetchone()[0])


def grant_target(cursor: Any, bridge_schema: str, target: str) -> None:
    """Let the roles that are there work with a schema of targets and its staging, and with the tables to come.

    Args:
        cursor: with rows as tuples.
        bridge_schema: that the roles are named after.
        target: the schema.
    """
    _one_at_a_time(cursor)
    loader, reader = (role_name(bridge_schema, purpose) for purpose in ("loader", "reader"))
    if _is_there(cursor, loader):
        _grant(cursor, target, loader, _WRITING, "USAGE")
        if has_schema(cursor, staging_schema(target)):
            _grant(cursor, staging_schema(target), loader, _WRITING, "USAGE, CREATE")
    if _is_there(cursor, reader):
        _grant(cursor, target, reader, "SELECT", "USAGE")


def open_to_models(database: Database, reads: Iterable[tuple[str, str]], *, writes: str) -> None:
    """Let the role of SQL models, where there is one that we may be, read tables and make its own; committed at once.

    Grants that meet in one row of PostgreSQL's catalog fail ("tuple concurrently updated"), so they wait for each other
    here, and no build keeps them waiting.

    Args:
        database: whose roles.
        reads: tables, as schema and name.
        writes: the schema of the models, which is made where it is missing.
    """
    with database.connect() as connection, connection.cursor(row_factory=tuple_row) as cursor:
        _one_at_a_time(cursor)
        ensure_schema(cursor, writes)
        role, _ = _models_role(cursor, database)
        if role is None:
            return
        _grant_missing(cursor, role, reads)
        cursor.execute(
            "SELECT has_schema_privilege(%s, %s, 'USAGE') AND has_schema_privilege(%s, %s, 'CREATE')",
            [role, writes] * 2,
        )
        if not cursor.fetchone()[0]:  # type: ignore[index]
            cursor.execute(
                sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(
                    sql.Identifier(writes), sql.Identifier(role)
                )
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
    cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    yield user
    cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(user)))


def _models_role(cursor: Any, database: Database) -> tuple[str | None, str]:
    """The role of SQL models, None where there is none that we may be; and who we are."""
    role = role_name(database.bridge_schema, "models")
    cursor.execute(
        "SELECT current_user, (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s)",
        [role],
    )
    user, may_be = cursor.fetchone()
    return (role if may_be else None), user


def _grant_missing(cursor: Any, role: str, reads: Iterable[tuple[str, str]]) -> None:
    """Grant what the role lacks to read tables: a grant rewrites the row of its object also when it changes nothing."""
    name = sql.Identifier(role)
    for schema, table in reads:
        cursor.execute("SELECT has_schema_privilege(%s, %s, 'USAGE')", [role, schema])
        if not cursor.fetchone()[0]:
            cursor.execute(
                sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name)
            )
        place = sql.Identifier(schema, table)
        cursor.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [role, place.as_string()])
        if not cursor.fetchone()[0]:
            cursor.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(place, name))


def _one_at_a_time(cursor: Any) -> None:
    """Wait for others that grant, until the end of this transaction."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('sync_pipelines:roles', 0))")


def _is_there(cursor: Any, role: str) -> bool:
    return bool(cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone())


def _make(cursor: Any, role: str) -> bool:
    name = sql.Identifier(role)
    cursor.execute(sql.SQL("CREATE ROLE {}").format(name))
    # Since PostgreSQL 16 whoever makes a role has to say so to be it.
    cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    return True


def _grant(cursor: Any, schema: str, role: str, on_tables: str, on_schema: str) -> None:
    """Grant on the schema and its tables, as far as they are ours: what others put there is theirs to grant."""
    place = sql.Identifier(schema)
    name = sql.Identifier(role)
    cursor.execute(
        "SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = %s", [schema]
    )
    if cursor.fetchone()[0]:
        cursor.execute(sql.SQL(f"GRANT {on_schema} ON SCHEMA {{}} TO {{}}").format(place, name))
    cursor.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s"
        " AND c.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(c.relowner, 'MEMBER') ORDER BY 1",
        [schema],
    )
    tables = [sql.Identifier(schema, table) for (table,) in cursor.fetchall()]
    if tables:
        cursor.execute(
            sql.SQL(f"GRANT {on_tables} ON {{}} TO {{}}").format(sql.SQL(", ").join(tables), name)
        )
    statement = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {{}} GRANT {on_tables} ON TABLES TO {{}}"
    cursor.execute(sql.SQL(statement).format(place, name))
