"""Set a table aside, and let a new one with all that people gave to the old one take its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.aside import free_name
from sync_pipelines.destinations.drift import with_stored_columns
from sync_pipelines.destinations.postgres.belongings import Belongings, collect
from sync_pipelines.destinations.postgres.dependants import (
    check_can_move,
    dependants_down,
    find_oid,
)
from sync_pipelines.destinations.postgres.target import constraint_names, create_statements
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import quote


@dataclass(frozen=True)
class SetAside:
    """A table that was renamed.

    Attributes:
        kept_as: its new name with its schema.
        followers: what reads the new table now, as people call it.
        to_do: statements for a person, once the new table is filled.
    """

    kept_as: str
    followers: tuple[str, ...] = ()
    to_do: tuple[str, ...] = ()


def set_aside(
    cursor: Any,
    entity: Entity,
    suffix: str,
    successor: Entity | None = None,
) -> SetAside | None:
    """Rename the table with its indexes; nothing is dropped.

    Args:
        cursor: of psycopg 3 with rows as tuples, inside a transaction.
        entity: whose table.
        suffix: for its new name.
        successor: the entity as its new, empty table is to be; None makes none, and what hangs on the table stays with
            it.

    Returns:
        What became of it; None when there was no table.

    Raises:
        DatabaseRefusedError: something could not follow to the new table.
    """
    schema, table = entity.target_schema, entity.target_table
    columns = read_columns(cursor, schema, table)
    oid = find_oid(cursor, schema, table) if columns else None
    if oid is None:
        return None
    old = free_name(
        table,
        suffix,
        lambda name: find_oid(cursor, schema, name) is not None,
        shorten_identifier,
    )
    if successor is None:
        _rename(cursor, oid, schema, table, old)
        return SetAside(f"{schema}.{old}")
    check_can_move(cursor, oid, entity.table)
    with dependants_down(cursor, schema, table, moves=True, starts_empty=True) as followers:
        belongings = collect(cursor, oid, without=constraint_names(entity))
        _rename(cursor, oid, schema, table, old)
        for statement in create_statements(with_stored_columns(successor, columns)):
            cursor.execute(statement)
        with belongings_fit(belongings, entity.table):
            belongings.put_on(cursor)
    return SetAside(
        f"{schema}.{old}",
        tuple(one.called for one in followers),
        tuple(one.afterwards for one in followers if one.afterwards),
    )


@contextmanager
def belongings_fit(belongings: Belongings, table: str) -> Iterator[None]:
    """Name what does not fit a table made anew.

    Raises:
        DatabaseRefusedError: an index, a check, a policy, … of the old table.
    """
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseRefusedError(
            f"The table {table} cannot be made anew with all that {belongings.owner} gave to it:"
            f" {error.diag.message_primary or error}.",
            state="Nothing was changed.",
            next_command="drop the index, check, trigger or policy that no longer fits, then the same command again",
        ) from error


def _rename(cursor: Any, oid: int, schema: str, table: str, old: str) -> None:
    """Rename the table, and its indexes and statistics, whose names belong to the schema."""
    cursor.execute(
        f"SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = {oid}"
        " ORDER BY i.relname"
    )
    for position, (index,) in enumerate(cursor.fetchall()):
        cursor.execute(
            f"ALTER INDEX {quote(schema, index)} RENAME TO {quote(shorten_identifier(f'{old}_index{position}'))}"
        )
    cursor.execute(
        "SELECT n.nspname, s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace"
        f" WHERE s.stxrelid = {oid}"
    )
    for position, (place, statistics) in enumerate(cursor.fetchall()):
        cursor.execute(
            f"ALTER STATISTICS {quote(place, statistics)} RENAME TO"
            f" {quote(shorten_identifier(f'{old}_statistics{position}'))}"
        )
    cursor.execute(f"ALTER TABLE {quote(schema, table)} RENAME TO {quote(old)}")
