"""Proof that no business key is there twice."""

from __future__ import annotations

from typing import Any

from sync_pipelines.destinations.duplicates import count_duplicates
from sync_pipelines.destinations.postgres.target import constraint_names
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of


def duplicate_keys(cursor: Any, entity: Entity) -> int:
    """Keys that are in the table more than once: 0 while its key constraint is whole, counted when it is not."""
    cursor.execute(
        """
        SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid =
            c.relnamespace
        JOIN pg_index i ON i.indexrelid = k.conindid
        WHERE n.nspname = %s AND c.relname = %s AND k.conname = %s AND k.contype = 'u' AND i.indisunique
            AND i.indisvalid
        """,
        (entity.target_schema, entity.target_table, constraint_names(entity)[1]),
    )
    if cursor.fetchone() is not None:
        return 0
    keys = [quote(column.target_name) for column in entity.business_keys]
    cursor.execute(count_duplicates(target_of(entity), keys))
    return int(cursor.fetchone()[0])
