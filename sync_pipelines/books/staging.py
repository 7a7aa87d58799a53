"""The two staging tables of an entity: its good records as they came, and its rejects.

Their Arrow schemas are in `model.staged`.
"""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.rights import require_rights
from sync_pipelines.catalog.session_options import ensure_schema
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote

_REJECTS_SQL = {
    "page": "bigint",
    "position": "bigint",
    "column_name": "text",
    "reason": "text",
    "business_key": "jsonb",
    "rowversion": "text",
    "fingerprint": "text",
    "record": "bytea",
}


def lock_ddl(cursor: Any, schema: str) -> None:
    """Hold an advisory lock until the transaction ends, so that one process at a time changes tables of a schema."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        [f"sync_pipelines:ddl:{schema}"],
    )


def prepare_staging(cursor: Any, entity: Entity) -> None:
    """Make both staging tables, empty and with the right types; leftovers of killed runs go."""
    columns = {f"c{index}": column.type.sql for index, column in enumerate(entity.columns)}
    records = {
        "arrival": "bigint",
        "rowversion": "text",
        "hash": "text",
        **columns,
        **dict.fromkeys(entity.flags, "text"),
    }
    ensure_schema(cursor, entity.staging_schema)
    for table, wanted in ((entity.records_table, records), (entity.rejects_table, _REJECTS_SQL)):
        name = quote(entity.staging_schema, table)
        stored = {
            column.name: column.sql_type
            for column in read_columns(cursor, entity.staging_schema, table).values()
        }
        if stored == wanted and _may_fill(cursor, name):
            cursor.execute(f"TRUNCATE {name}")
            continue
        if stored and not _owns_schema(cursor, entity.staging_schema):
            require_rights(
                cursor,
                entity,
                entity.staging_schema,
                table,
                "make the staging table anew for other columns",
            )
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        definition = ", ".join(f"{column} {sql_type}" for column, sql_type in wanted.items())
        cursor.execute(f"CREATE UNLOGGED TABLE {name} ({definition})")


def _may_fill(cursor: Any, name: str) -> bool:
    """Whether we may empty and fill a table that another role may have made."""
    cursor.execute(
        "SELECT bool_and(has_table_privilege(%s, needed)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',"
        " 'TRUNCATE']) AS n(needed)",
        (name,),
    )
    return bool(cursor.fetchone()[0])


def _owns_schema(cursor: Any, schema: str) -> bool:
    """Whether we may drop whatever is in a schema."""
    cursor.execute(
        "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = %s",
        (schema,),
    )
    return bool(cursor.fetchone()[0])
