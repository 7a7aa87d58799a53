"""Rows whose newest record was rejected: marked, so that a reader can tell the last good version from a current one.

A mark is a help to readers. Where the table cannot take it, the run says so and publishes all the same.
"""

from __future__ import annotations

from typing import Any

import psycopg

from sync_pipelines.catalog.rights import lacks_rights
from sync_pipelines.destinations.postgres.halving import write_by_halves
from sync_pipelines.destinations.postgres.merge import Merge
from sync_pipelines.destinations.postgres.order import order_of
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import OPTIONAL_COLUMNS, REJECTED_COLUMN, Entity
from sync_pipelines.model.quoting import literal, quote


def mark_rejected(merge: Merge) -> tuple[int, tuple[str, ...]]:
    """Mark the live rows whose key this run put into quarantine; a good record of the key takes the mark off (`Merge`).

    A row that is newer than the rejected record is not marked. The column is made when the first row needs it.

    Args:
        merge: of the run, after the rejects were moved into quarantine.

    Returns:
        How many rows were marked, and what to tell of rows that cannot be.
    """
    cursor, request, entity = merge.cursor, merge.request, merge.entity
    rejected = (
        f"{_rejected(entity, merge.read.order)} AND q.run_uid = {literal(str(request.run_uid))}"
    )
    source = f"{merge.target} t, {quote(request.bridge_schema)}.quarantine q"
    if not entity.has_rejected:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {source} WHERE {rejected})")
        if not cursor.fetchone()[0]:
            return 0, ()
        trouble = _try_add_column(cursor, entity)
        if trouble is not None:
            return 0, (
                f"rows whose newest record was rejected are not marked by {REJECTED_COLUMN}: {trouble}",
            )
    rejected += f" AND t.{REJECTED_COLUMN} IS NULL"
    notes: tuple[str, ...] = ()
    cursor.execute("SAVEPOINT before_marks")
    try:
        marked = merge.execute(_marking(entity, request.bridge_schema, rejected))
    except psycopg.errors.ProgramLimitExceeded:
        cursor.execute("ROLLBACK TO SAVEPOINT before_marks")
        cursor.execute(f"SELECT DISTINCT t._bridge_id::text FROM {source} WHERE {rejected}")
        rows = [row for (row,) in cursor.fetchall()]
        marked = _mark_by_halves(cursor, merge.target, rows)
        full = (
            f"{len(rows) - marked} rows whose newest record was rejected fill a page of PostgreSQL"
        )
        notes = (f"{full} and have no room for {REJECTED_COLUMN}",)
    cursor.execute("RELEASE SAVEPOINT before_marks")
    return marked, notes


def make_ahead(cursor: Any, entity: Entity, bridge_schema: str) -> bool:
    """Add the column to a table that a role without that right loads, and mark what is in quarantine.

    Args:
        cursor: with rows as tuples, in a transaction of the table's owner.
        entity: whose table is there.
        bridge_schema: where the quarantine is.

    Returns:
        Whether the column is new.
    """
    cursor.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
        (quote(entity.target_schema, entity.target_table), REJECTED_COLUMN),
    )
    if cursor.fetchone()[0] or lacks_rights(cursor, entity.target_schema, entity.target_table):
        return False
    _add_column(cursor, entity)
    codec = entity.position.cursor_codec
    cursor.execute(_marking(entity, bridge_schema, _rejected(entity, codec)))
    return True


def _rejected(entity: Entity, codec: Codec | None) -> str:
    """SQL for a row t and an open reject q of its key that is not older."""
    keys = " AND ".join(
        f"t.{quote(column.target_name)} = (q.business_key->>{index})::{column.type.sql}"
        for index, column in enumerate(entity.business_keys)
    )
    theirs, ours = order_of(codec, "q.rowversion"), order_of(codec, "t._bridge_rowversion")
    newer = f" AND NOT coalesce({ours} > {theirs}, false)" if theirs is not None else ""
    return (
        f"q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL"
        f" AND q.business_key IS NOT NULL AND NOT t._bridge_deleted AND {keys}{newer}"
    )


def _marking(entity: Entity, bridge_schema: str, rejected: str) -> str:
    target = quote(entity.target_schema, entity.target_table)
    return f"UPDATE {target} t SET {REJECTED_COLUMN} = now() FROM {quote(bridge_schema)}.quarantine q WHERE {rejected}"


def _add_column(cursor: Any, entity: Entity) -> None:
    target = quote(entity.target_schema, entity.target_table)
    cursor.execute(
        f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {REJECTED_COLUMN} {OPTIONAL_COLUMNS[REJECTED_COLUMN]}"
    )


def _try_add_column(cursor: Any, entity: Entity) -> str | None:
    """Add the column; returns why the table cannot have it, None where it has."""
    lacking = lacks_rights(cursor, entity.target_schema, entity.target_table)
    if lacking is not None:
        user, owner = lacking
        return (
            f"the role {user} may not add the column to {entity.table}; next: sync-pipelines migrate with"
            f" POSTGRES_USER={owner}"
        )
    cursor.execute("SAVEPOINT before_column")
    try:
        _add_column(cursor, entity)
    except psycopg.errors.TooManyColumns:
        cursor.execute("ROLLBACK TO SAVEPOINT before_column")
        return f"{entity.table} has as many columns as PostgreSQL allows, dropped ones included"
    cursor.execute("RELEASE SAVEPOINT before_column")
    return None


def _mark_by_halves(cursor: Any, target: str, rows: list[str]) -> int:
    """Mark rows by their `_bridge_id`, and leave out those that have no room; returns how many were marked."""
    escaped = target.replace("%", "%%")

    def write(start: int, stop: int) -> int:
        cursor.execute(
            f"UPDATE {escaped} SET {REJECTED_COLUMN} = now() WHERE _bridge_id = ANY (%s::uuid[])",
            (rows[start:stop],),
        )
        return int(cursor.rowcount)

    return write_by_halves(
        cursor,
        len(rows),
        write,
        lambda error: isinstance(error, psycopg.errors.ProgramLimitExceeded),
    )[0]
