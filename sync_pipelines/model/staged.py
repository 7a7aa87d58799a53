"""What travels from extract to load: good records and rejects, with neutral columns.

Columns are called c0, c1, …, so that no name of a source can meet a reserved word of PostgreSQL.
"""

from __future__ import annotations

import pyarrow as pa

from sync_pipelines.model.entity import Entity

Batch = tuple[str, pa.Table]
"""A staging table and a batch for it."""

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


def staged_places(entity: Entity) -> dict[str, str]:
    """Names of the columns in staging, by their declared names."""
    return {column.name: f"c{index}" for index, column in enumerate(entity.columns)}


def staged_keys(entity: Entity) -> list[str]:
    """Names of the business keys in staging, in their order."""
    places = staged_places(entity)
    return [places[column.name] for column in entity.business_keys]


def records_schema(entity: Entity) -> pa.Schema:
    """Arrow schema of staged records: arrival number, rowversion, content hash, columns, and what is flagged."""
    fields = [
        ("arrival", pa.int64()),
        ("rowversion", pa.string()),
        ("hash", pa.string()),
    ]
    for index, column in enumerate(entity.columns):
        fields.append((f"c{index}", column.type.arrow))
    for name in entity.flags:
        fields.append((name, pa.string()))
    return pa.schema(fields)


def rejects_schema() -> pa.Schema:
    """Arrow schema of rejects; `record` is PostgreSQL's hexadecimal form of the bytes."""
    return pa.schema(list(REJECTS.items()))
