"""The two staging tables of an entity: its good records as they came, and its rejects.
Their Arrow schemas are in `model.staged`.
"""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.session import ensure_schema
from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.load.postgres.target import read_columns
from sync_pipelines.model.entity import Entity

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


def prepare_staging(cursor: Any, entity: Entity) -> None:
    """Make both staging tables, empty and with the right types; leftovers of killed runs go."""
    columns = {f"c{index}": column.type.sql for index, column in enumerate(entity.columns)}
    records = {"arrival": "bigint", "rowversion": "text", "hash": "text", **columns, **dict.fromkeys(entity.flags, "text")}
    ensure_schema(cursor, entity.staging_schema)
    for table, wanted in ((entity.records_table, records), (entity.rejects_table, _REJECTS_SQL)):
        name = quote(entity.staging_schema, table)
        stored = {column.name: column.sql_type for column in read_columns(cursor, entity.staging_schema, table).values()}
        if stored == wanted:
            cursor.execute(f"TRUNCATE {name}")
            continue
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        definition = ", ".join(f"{column} {sql_type}" for column, sql_type in wanted.items())
        cursor.execute(f"CREATE UNLOGGED TABLE {name} ({definition})")
