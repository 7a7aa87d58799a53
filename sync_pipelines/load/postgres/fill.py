"""Fill an empty target: constraints and index are built afterwards, which takes half the time.

A first load needs no staging at all: its files are copied straight into the target inside the publish transaction, and the
unique constraint built over them proves that no key stands twice. If it finds one, or PostgreSQL refuses a row, everything
is rolled back to before the copy and the records go the long way through staging.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from sync_pipelines.load.postgres.copy import REFUSALS, copy_into_target
from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.load.postgres.target import constraint_names, constraint_statements
from sync_pipelines.model.entity import Entity

logger = logging.getLogger(__name__)

BULK_ROWS = 5_000


def is_empty(cursor: Any, entity: Entity) -> bool:
    """True when the target holds no row, not even a deleted one."""
    cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {quote(entity.target_schema, entity.target_table)})")
    return not cursor.fetchone()[0]


@contextmanager
def indexes_afterwards(cursor: Any, entity: Entity, rows: int) -> Iterator[None]:
    """Take constraints and index off an empty target while it is filled with many rows.

    Raises:
        psycopg2.errors.UniqueViolation: on leaving, when a key stands twice.
    """
    off = rows >= BULK_ROWS and _take_off(cursor, entity)
    yield
    if off:
        for statement in constraint_statements(entity):
            cursor.execute(statement)


def _take_off(cursor: Any, entity: Entity) -> bool:
    primary, business, index = constraint_names(entity)
    target = quote(entity.target_schema, entity.target_table)
    cursor.execute("SAVEPOINT before_bulk")
    try:
        cursor.execute(f"DROP INDEX IF EXISTS {quote(entity.target_schema, index)}")
        for constraint in (primary, business):
            cursor.execute(f"ALTER TABLE {target} DROP CONSTRAINT IF EXISTS {quote(constraint)}")
    except psycopg2.Error as error:
        # Somebody's foreign key or view needs the constraint: it stays, and filling takes longer.
        logger.info("constraints of %s stay while it is filled: %s", entity.table, error)
        cursor.execute("ROLLBACK TO SAVEPOINT before_bulk")
        return False
    cursor.execute("RELEASE SAVEPOINT before_bulk")
    return True


def fill_directly(cursor: Any, entity: Entity, files: list[Path], rows: int) -> int | None:
    """Copy files straight into an empty target.

    Args:
        cursor: a psycopg2 cursor inside the publish transaction.
        entity: whose target.
        files: Parquet files with the schema of `staged.records_schema`.
        rows: records in them.

    Returns:
        Rows copied; None when a key stands twice or a row is refused, with the transaction as it was before.
    """
    cursor.execute("SAVEPOINT before_fill")
    try:
        with indexes_afterwards(cursor, entity, rows):
            copied = sum(copy_into_target(cursor, str(file), entity) for file in files)
    except (psycopg2.errors.UniqueViolation, *REFUSALS) as error:
        logger.info("%s goes through staging: %s", entity.table, str(error).splitlines()[0])
        cursor.execute("ROLLBACK TO SAVEPOINT before_fill")
        return None
    cursor.execute("RELEASE SAVEPOINT before_fill")
    return copied
