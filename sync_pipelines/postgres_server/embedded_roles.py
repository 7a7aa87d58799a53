"""The role that we work with in an embedded PostgreSQL: it owns everything of ours and is no superuser."""

from __future__ import annotations

import psycopg

OWNER = "sync_pipelines"
_KINDS = {
    "r": "TABLE",
    "p": "TABLE",
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
    "S": "SEQUENCE",
    "f": "FOREIGN TABLE",
}
_OURS = "nspname !~ '^pg_' AND nspname <> 'information_schema'"


def ensure_owner(admin_url: str) -> None:
    """Make the role, and let it own the database with all that a superuser made in it for earlier versions of us.

    Args:
        admin_url: of the superuser.
    """
    with psycopg.connect(admin_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
            return
        with connection.transaction():
            # Whoever starts a home at the same time waits here, and finds it done.
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('sync_pipelines:owner', 0))"
            )
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
                return
            connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB CREATEROLE")
            connection.execute(f"GRANT pg_signal_backend, pg_monitor TO {OWNER}")
            connection.execute(f"ALTER ROLE {OWNER} SET createrole_self_grant = 'set, inherit'")
            database = psycopg.sql.Identifier(connection.info.dbname)
            connection.execute(
                psycopg.sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                    database, psycopg.sql.Identifier(OWNER)
                )
            )
            for statement in _take_over(connection):
                connection.execute(statement.encode())


def _take_over(connection: psycopg.Connection) -> list[str]:
    """Statements that give everything of the superuser in this database to the role."""
    schemas = connection.execute(
        f"SELECT quote_ident(nspname) FROM pg_namespace WHERE {_OURS} AND nspowner = 10"
    ).fetchall()
    # Sequences of columns and indexes follow their table.
    relations = connection.execute(
        "SELECT c.relkind::text, c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE {_OURS} AND c.relowner = 10 AND c.relkind = ANY (%s) AND NOT EXISTS (SELECT FROM pg_depend d"
        " WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i')"
        " AND d.refclassid = 'pg_class'::regclass) AND NOT EXISTS (SELECT FROM pg_depend e"
        " WHERE e.classid = 'pg_class'::regclass"
        " AND e.objid = c.oid AND e.deptype = 'e')",
        [list(_KINDS)],
    ).fetchall()
    routines = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        f" WHERE {_OURS} AND p.proowner = 10 AND NOT EXISTS (SELECT FROM pg_depend e"
        " WHERE e.classid = 'pg_proc'::regclass"
        " AND e.objid = p.oid AND e.deptype = 'e')"
    ).fetchall()
    types = connection.execute(
        "SELECT t.oid::regtype::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
        f" WHERE {_OURS} AND t.typowner = 10 AND t.typtype IN ('e', 'd', 'r')"
    ).fetchall()
    return [
        *(f"ALTER SCHEMA {name} OWNER TO {OWNER}" for (name,) in schemas),
        *(f"ALTER {_KINDS[kind]} {name} OWNER TO {OWNER}" for kind, name in relations),
        *(f"ALTER ROUTINE {name} OWNER TO {OWNER}" for (name,) in routines),
        *(f"ALTER TYPE {name} OWNER TO {OWNER}" for (name,) in types),
    ]
