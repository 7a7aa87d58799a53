"""Fill an empty target: constraints and index are built afterwards, which takes half the time.

The unique constraint built over the filled table proves that no key is there twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from sync_pipelines.destinations.postgres.target import constraint_names, constraint_statements
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of

logger = logging.getLogger(__name__)

BULK_ROWS = 5_000


def is_empty(cursor: Any, entity: Entity) -> bool:
    """True when the target holds no row, not even a deleted one."""
    cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {target_of(entity)})")
    return not cursor.fetchone()[0]


@contextmanager
def indexes_afterwards(cursor: Any, entity: Entity, rows: int) -> Iterator[None]:
    """Take constraints and index off an empty target while it is filled with many rows.

    Raises:
        psycopg.errors.UniqueViolation: on leaving, when a key is there twice.
    """
    if rows >= BULK_ROWS:
        take_off_constraints(cursor, entity)
    yield
    build_constraints(cursor, entity)


def take_off_constraints(cursor: Any, entity: Entity) -> None:
    """Take constraints and index off the target, unless somebody needs them."""
    primary, business, index = constraint_names(entity)
    target = target_of(entity)
    cursor.execute("SAVEPOINT before_bulk")
    try:
        cursor.execute(f"DROP INDEX IF EXISTS {quote(entity.target_schema, index)}")
        for constraint in (primary, business):
            cursor.execute(f"ALTER TABLE {target} DROP CONSTRAINT IF EXISTS {quote(constraint)}")
    except psycopg.Error as error:
        # Somebody's foreign key or view needs the constraint: it stays, and filling takes longer.
        logger.info("constraints of %s stay while it is filled: %s", entity.table, error)
        cursor.execute("ROLLBACK TO SAVEPOINT before_bulk")
    cursor.execute("RELEASE SAVEPOINT before_bulk")


def build_constraints(cursor: Any, entity: Entity) -> None:
    """Build those of the target's constraints and index that are not there; a run that died may have left it bare.

    Raises:
        psycopg.errors.UniqueViolation: a key is there twice.
    """
    names = constraint_names(entity)
    cursor.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('i', 'I') AND c.relname = ANY (%s)",
        (entity.target_schema, list(names)),
    )
    there = {name for (name,) in cursor.fetchall()}
    for name, statement in zip(names, constraint_statements(entity), strict=True):
        if name not in there:
            cursor.execute(statement)
