"""The two staging tables of an entity: its good records as they came, and its rejects.

Columns are neutral (c0, c1, …), so that no name of a source can meet a reserved word of dlt or of PostgreSQL.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.load.postgres.target import read_columns
from sync_pipelines.model.entity import Entity

REJECTS = {
    "page": pa.int64(),
    "position": pa.int64(),
    "column_name": pa.string(),
    "reason": pa.string(),
    "business_key": pa.string(),
    "rowversion": pa.string(),
    "fingerprint": pa.string(),
    "record": pa.string(),
}
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


def records_schema(entity: Entity) -> pa.Schema:
    """Arrow schema of staged records: arrival number, rowversion, content hash, declared columns."""
    columns = [(f"c{index}", column.type.arrow) for index, column in enumerate(entity.columns)]
    return pa.schema([("arrival", pa.int64()), ("rowversion", pa.string()), ("hash", pa.string()), *columns])


def rejects_schema() -> pa.Schema:
    """Arrow schema of rejects; `record` is PostgreSQL's hexadecimal form of the bytes."""
    return pa.schema(list(REJECTS.items()))


def prepare_staging(cursor: Any, entity: Entity) -> None:
    """Make both staging tables, empty and with the right types; leftovers of killed runs go."""
    columns = {f"c{index}": column.type.sql for index, column in enumerate(entity.columns)}
    records = {"arrival": "bigint", "rowversion": "text", "hash": "text", **columns}
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(entity.staging_schema)}")
    for table, wanted in ((entity.target_table, records), (entity.rejects_table, _REJECTS_SQL)):
        name = quote(entity.staging_schema, table)
        stored = {column.name: column.sql_type for column in read_columns(cursor, entity.staging_schema, table).values()}
        if stored == wanted:
            cursor.execute(f"TRUNCATE {name}")
            continue
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        definition = ", ".join(f"{column} {sql_type}" for column, sql_type in wanted.items())
        cursor.execute(f"CREATE UNLOGGED TABLE {name} ({definition})")
