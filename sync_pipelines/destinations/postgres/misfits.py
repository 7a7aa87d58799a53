"""Staged rows that do not fit the target: too wide for a page, with a key that its index cannot hold, or against
somebody's CHECK.

The limits depend on how well PostgreSQL compresses the values, and a CHECK may call anything, so that only PostgreSQL
can decide: the rows are written into a table with the target's columns, indexes and checks, and those that it refuses
are found by halving.
"""

from __future__ import annotations

from typing import Any

import psycopg

from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.rights import lacks_rights
from sync_pipelines.destinations.postgres.copy import set_row_aside
from sync_pipelines.destinations.postgres.halving import write_by_halves
from sync_pipelines.destinations.postgres.target import constraint_names
from sync_pipelines.destinations.rows import Values, record_values
from sync_pipelines.destinations.verdicts import match_keys
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.staged import records_schema
from sync_pipelines.model.tables import records_of, target_of
from sync_pipelines.secrets import printable

MISFITS = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.CheckViolation)
"""What PostgreSQL says of a row that does not fit."""


def set_misfits_aside(cursor: Any, entity: Entity, originals: Originals) -> int:
    """Move the staged rows that the target cannot take to the staging table of rejects.

    Args:
        cursor: inside the publish transaction, before anything was merged.
        entity: whose records are staged.
        originals: the records of the run that may not fit, as they were sent.

    Returns:
        Number of rows that were moved.
    """
    staging = records_of(entity)
    index = shorten_identifier(f"{entity.records_table}__arrival")
    # Another role's table is found through without an index, only slower.
    is_ours = lacks_rights(cursor, entity.staging_schema, entity.records_table) is None
    if is_ours:
        cursor.execute(f"CREATE INDEX {quote(index)} ON {staging} (arrival)")
        cursor.execute(f"ANALYZE {staging}")
    cursor.execute("SAVEPOINT before_trial")
    statement = _make_trial(cursor, entity)
    cursor.execute(f"SELECT arrival FROM {staging} ORDER BY arrival")
    arrivals = [int(arrival) for (arrival,) in cursor.fetchall()]

    def write(start: int, stop: int) -> int:
        cursor.execute(
            f"{statement} WHERE s.arrival BETWEEN {arrivals[start]} AND {arrivals[stop - 1]}"
        )
        return stop - start

    _, misfits = write_by_halves(
        cursor,
        len(arrivals),
        write,
        lambda error: isinstance(error, MISFITS),
    )
    cursor.execute("ROLLBACK TO SAVEPOINT before_trial")
    for place, error in misfits:
        row = _take_out(cursor, entity, arrivals[place])
        reason = f"It does not fit the table: {printable(_reason(error), 300)}"
        set_row_aside(cursor, row, entity, reason, originals)
    if is_ours:
        cursor.execute(f"DROP INDEX {quote(entity.staging_schema, index)}")
    return len(misfits)


def _take_out(cursor: Any, entity: Entity, arrival: int) -> dict[str, str | None]:
    """Delete a staged row; returns its texts by column."""
    names = records_schema(entity).names
    texts = ", ".join(f"{quote(name)}::text" for name in names)
    cursor.execute(f"DELETE FROM {records_of(entity)} WHERE arrival = {arrival} RETURNING {texts}")
    return dict(zip(names, cursor.fetchone(), strict=True))


def _make_trial(cursor: Any, entity: Entity) -> str:
    """Make the table of the trial; returns the statement that writes the staged rows into it, up to its condition."""
    target = target_of(entity)
    staging = records_of(entity)
    trial = quote(entity.staging_schema, shorten_identifier(f"{entity.target_table}__trial"))
    cursor.execute(
        f"CREATE UNLOGGED TABLE {trial} (LIKE {target} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION)"
    )
    columns = _read_attributes(cursor, entity)
    names = [name for name, is_dropped, _ in columns if not is_dropped]
    changes = [
        f"ALTER COLUMN {quote(name)} DROP NOT NULL"
        for name, is_dropped, is_not_null in columns
        if is_not_null and not is_dropped
    ]
    # A dropped column still has its bit in every row.
    changes += [
        f"ADD COLUMN {quote(f'__gone{place}')} boolean"
        for place in range(len(columns) - len(names))
    ]
    if changes:
        cursor.execute(f"ALTER TABLE {trial} {', '.join(changes)}")
    # Not unique: one key may be staged twice.
    cursor.execute(
        f"CREATE INDEX ON {trial} ({', '.join(quote(column.target_name) for column in entity.business_keys)})"
    )
    cursor.execute(f"CREATE INDEX ON {trial} (_bridge_rowversion)")
    for definition in _read_other_indexes(cursor, entity):
        cursor.execute(f"CREATE INDEX ON {trial} USING {definition}")
    for name, definition in _read_checks(cursor, entity):
        cursor.execute(f"ALTER TABLE {trial} ADD CONSTRAINT {quote(name)} {definition}")
    values = _values(entity, names)
    return (
        f"INSERT INTO {trial} ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM {staging} s LEFT JOIN {target} t ON {match_keys(quote, entity)}"
    )


def _values(entity: Entity, names: list[str]) -> Values:
    """What each column of the target would hold: what the record gives, or what its row holds already."""
    given = record_values(quote, entity)
    # What is left out has its default, of the width that every row has.
    left_out = BRIDGE_COLUMNS.keys() | OPTIONAL_COLUMNS.keys()
    values = {}
    for name in names:
        column = name if name in left_out else quote(name)
        if column in given:
            values[column] = given[column]
        elif name not in left_out:
            values[column] = f"t.{column}"
    return values


def has_other_indexes(cursor: Any, entity: Entity) -> bool:
    """Whether people made indexes of the target, each of which may refuse a row; cursor with rows as tuples."""
    return bool(_read_other_indexes(cursor, entity))


def _read_other_indexes(cursor: Any, entity: Entity) -> list[str]:
    """What people's indexes of the target hold: method, columns and condition; not that they are unique."""
    cursor.execute(
        "SELECT substr(d.text, strpos(d.text, d.place) + length(d.place)) FROM pg_index x JOIN pg_class i"
        " ON i.oid = x.indexrelid,"
        " LATERAL (SELECT pg_get_indexdef(i.oid) AS text, format(' ON %%I.%%I USING ', %s::text, %s::text) AS place) d"
        " WHERE x.indrelid = %s::regclass AND i.relkind = 'i' AND i.relname <> ALL (%s) AND strpos(d.text,"
        " d.place) > 0",
        (
            entity.target_schema,
            entity.target_table,
            target_of(entity),
            list(constraint_names(entity)),
        ),
    )
    return [definition for (definition,) in cursor.fetchall()]


def has_checks(cursor: Any, entity: Entity) -> bool:
    """Whether people put a CHECK on columns of records; cursor as for `has_other_indexes`."""
    return bool(_read_checks(cursor, entity))


def _read_checks(cursor: Any, entity: Entity) -> list[tuple[str, str]]:
    """Name and definition of each CHECK that a record alone decides: on its columns and on no others, which may have
    defaults.
    """
    cursor.execute(
        "SELECT k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.contype = 'c'"
        " AND k.conrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s)"
        " AND NOT EXISTS (SELECT 1 FROM pg_attribute a"
        " WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND a.attname <> ALL (%s))",
        (
            entity.target_schema,
            entity.target_table,
            [column.target_name for column in entity.columns],
        ),
    )
    return list(cursor.fetchall())


def _reason(error: Any) -> str:
    if isinstance(error, psycopg.errors.CheckViolation):
        return f"it violates the check constraint {error.diag.constraint_name}"
    return str(error).splitlines()[0]


def _read_attributes(cursor: Any, entity: Entity) -> list[tuple[str, bool, bool]]:
    cursor.execute(
        "SELECT a.attname, a.attisdropped, a.attnotnull FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') AND a.attnum > 0 ORDER BY a.attnum",
        (entity.target_schema, entity.target_table),
    )
    return list(cursor.fetchall())
