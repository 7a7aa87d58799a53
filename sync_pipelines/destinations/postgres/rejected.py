"""Mark the rows whose newest record was rejected.

A mark is a help to readers. Where the table cannot take it, the run notes it and publishes all the same.
"""

from __future__ import annotations

from typing import Any

import psycopg

from sync_pipelines.books.keys import keys_relation
from sync_pipelines.books.rejects import is_waiting, of_this_run, quarantine_table
from sync_pipelines.catalog.rights import lacks_rights
from sync_pipelines.destinations.marks import is_to_mark
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.postgres.halving import write_by_halves
from sync_pipelines.destinations.postgres.merge import Merge
from sync_pipelines.destinations.verdicts import match_keys
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import OPTIONAL_COLUMNS, REJECTED_COLUMN, Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of

_UNMARKED = "rows whose newest record was rejected"


def mark_rejected(merge: Merge) -> tuple[int, tuple[str, ...]]:
    """Mark the live rows whose key this run put into quarantine, as `destinations.marks` says.

    The column is made when the first row needs it.

    Args:
        merge: of the run, after the rejects were moved into quarantine.

    Returns:
        How many rows were marked, and what a person should know of rows that cannot be.
    """
    cursor, request, entity = merge.cursor, merge.request, merge.entity
    rejects = quarantine_table(request)
    of_run = of_this_run(request)
    if not entity.has_rejected:
        waiting = _matching(entity, merge.read.order, rejects, of_run)
        cursor.execute(f"SELECT EXISTS (SELECT FROM {merge.target} t, {waiting})")
        if not cursor.fetchone()[0]:
            return 0, ()
        trouble = _try_add_column(cursor, entity)
        if trouble is not None:
            return 0, (f"{_UNMARKED} are not marked by {REJECTED_COLUMN}: {trouble}",)
        entity = entity.with_own_columns(entity.position.own_columns | {REJECTED_COLUMN})
    matching = _matching(entity, merge.read.order, rejects, of_run)
    cursor.execute("SAVEPOINT before_marks")
    try:
        marked = merge.execute(_marking(merge.target, matching))
        notes: tuple[str, ...] = ()
    except psycopg.errors.ProgramLimitExceeded:
        cursor.execute("ROLLBACK TO SAVEPOINT before_marks")
        marked, notes = _mark_what_fits(cursor, merge.target, matching)
    cursor.execute("RELEASE SAVEPOINT before_marks")
    return marked, notes


def _mark_what_fits(
    cursor: Any,
    target: str,
    matching: str,
) -> tuple[int, tuple[str, ...]]:
    """As `mark_rejected`, where some rows have no room for a mark."""
    cursor.execute(f"SELECT DISTINCT t._bridge_id::text FROM {target} t, {matching}")
    rows = [row for (row,) in cursor.fetchall()]
    marked = _mark_by_halves(cursor, target, rows)
    full = f"{len(rows) - marked} {_UNMARKED} fill a page of PostgreSQL"
    return marked, (f"{full} and have no room for {REJECTED_COLUMN}",)


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
        (target_of(entity), REJECTED_COLUMN),
    )
    if cursor.fetchone()[0] or lacks_rights(cursor, entity.target_schema, entity.target_table):
        return False
    _add_column(cursor, entity)
    codec = entity.position.cursor_codec
    matching = _matching(entity, codec, f"{quote(bridge_schema)}.quarantine", "true")
    target = target_of(entity)
    cursor.execute(_marking(target, matching))
    return True


def _matching(
    entity: Entity,
    codec: Codec | None,
    quarantine: str,
    condition: str,
) -> str:
    """What follows FROM target t: the waiting rejects s, and that the row t of their key is to be marked."""
    rejects = keys_relation(entity, quarantine, f"{is_waiting(entity)} AND {condition}")
    match = match_keys(quote, entity)
    return f"{rejects} s WHERE {match} AND {is_to_mark(POSTGRES, entity, codec)}"


def _marking(target: str, matching: str) -> str:
    return f"UPDATE {target} t SET {REJECTED_COLUMN} = {POSTGRES.now} FROM {matching}"


def _add_column(cursor: Any, entity: Entity) -> None:
    target = target_of(entity)
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
