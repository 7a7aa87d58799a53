"""Who may change a table. A role that only loads may not; the error names the owner and what to type."""

from __future__ import annotations

from typing import Any

from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote


def lacks_rights(cursor: Any, schema: str, table: str) -> tuple[str, str] | None:
    """Who we are and who owns a table that we may not change, or a schema in which we may not make it.

    None where we may.

    Args:
        cursor: with rows as tuples.
        schema: where the table is, or would be.
        table: its name.
    """
    cursor.execute(
        """
        SELECT current_user, pg_get_userbyid(coalesce(c.relowner, n.nspowner)),
               CASE WHEN c.oid IS NULL THEN has_schema_privilege(n.oid, 'CREATE') ELSE
                   pg_has_role(c.relowner, 'USAGE') END
        FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = %s AND c.relkind
            IN ('r', 'p')
        WHERE n.nspname = %s
        """,
        (table, schema),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    user, owner, may_change = row
    return None if may_change else (str(user), str(owner))


def require_rights(
    cursor: Any,
    entity: Entity,
    schema: str,
    table: str,
    what: str,
) -> None:
    """Make sure that we may change a table of an entity.

    Args:
        cursor: as for `lacks_rights`.
        entity: whose table.
        schema: of the table.
        table: its name.
        what: must be done with it.

    Raises:
        DatabaseRefusedError: we may not; names the owner, the command and the grant.
    """
    lacking = lacks_rights(cursor, schema, table)
    if lacking is None:
        return
    user, owner = lacking
    raise DatabaseRefusedError(
        f"The role {user} may not change {schema}.{table}, which belongs to {owner}; to be done: {what}.",
        where=dict(entity.where),
        next_command=f"sync-pipelines sync {entity.path} with POSTGRES_USER={owner}, once; or GRANT {quote(owner)}"
        f" TO {quote(user)}",
    )


def check_schema(cursor: Any, schema: str) -> str:
    """Say in words that tables can be made in a schema, or that it can be made.

    Args:
        cursor: with rows as tuples.
        schema: its name.

    Raises:
        ConfigurationError: neither; names the grant.
    """
    cursor.execute(
        """
        SELECT has_database_privilege(current_database(), 'CREATE'),
               (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s)
        """,
        [schema],
    )
    may_create, may_write = cursor.fetchone()
    if may_write:
        return f"schema {schema} exists"
    if may_write is None and may_create:
        return f"schema {schema} can be created"
    if may_write is None:
        verb, grant = "create", "GRANT CREATE ON DATABASE … TO …"
    else:
        verb, grant = "write to", f"GRANT CREATE ON SCHEMA {schema} TO …"
    raise ConfigurationError(
        f"The database role may not {verb} the schema {schema}.", next_command=grant
    )
