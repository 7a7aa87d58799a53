"""Tables of the Hive connector, which know no MERGE: rows are appended, and a view shows the newest of each key.

A full read that changes anything writes a new table of rows and lets the view point to it: the swap is one
operation of the metastore. Whatever else is asked of such a table is refused, and the message names Iceberg.
"""

from __future__ import annotations

import re
import time
from typing import Any

from sync_pipelines.destinations.drift import TablePlan
from sync_pipelines.destinations.trino.commit import commit
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.table import read_columns
from sync_pipelines.destinations.trino.types import hive_type
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.errors import LedgerError, SchemaDriftError
from sync_pipelines.model.entity import COERCED_COLUMN, REJECTED_COLUMN, REVIEW_COLUMN, Entity
from sync_pipelines.model.run import Mode

VERSION = "_bridge_version"
NOW = "cast(current_timestamp(6) AT TIME ZONE 'UTC' AS timestamp(6))"
BRIDGE_TYPES = {
    "_bridge_id": "varchar",
    "_bridge_created_at": "timestamp(6)",
    "_bridge_updated_at": "timestamp(6)",
    "_bridge_hash": "varchar",
    "_bridge_deleted": "boolean",
    "_bridge_rowversion": "varchar",
    VERSION: "bigint",
}
OPTIONAL_TYPES = {
    REVIEW_COLUMN: "varchar",
    COERCED_COLUMN: "varchar",
    REJECTED_COLUMN: "timestamp(6)",
}


def bridge_types(entity: Entity) -> dict[str, str]:
    """Our own columns of an entity's table."""
    return {
        **BRIDGE_TYPES,
        **{
            name: kind
            for name, kind in OPTIONAL_TYPES.items()
            if name in entity.position.own_columns
        },
    }


def plan_hive_table(
    session: Session, catalog: str, entity: Entity, stored: dict[str, str]
) -> TablePlan:
    """Statements that make the first table of rows with its view, or add the column of reviews to both.

    Raises:
        SchemaDriftError: there is a table that is not ours, or its columns are not the declared ones.
    """
    wanted = {
        column.target_name.lower(): hive_type(column.type) for column in entity.columns
    } | bridge_types(entity)
    if not stored:
        rows = rows_table(entity, _next_number(session, catalog, entity))
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
        return TablePlan(
            (
                f"CREATE TABLE {quote(catalog, entity.target_schema, rows)} ({columns}) WITH (format = 'PARQUET')",
                view_statement(catalog, entity, rows),
            ),
            (f"create view {catalog}.{entity.table}",),
        )
    missing = sorted(entity.position.own_columns - stored.keys())
    if missing and stored | {name: OPTIONAL_TYPES[name] for name in missing} == wanted:
        rows = current_rows(session, catalog, entity)
        where = quote(catalog, entity.target_schema, rows)
        # Killed between the two, the column is in the rows already.
        there = read_columns(session, catalog, entity.target_schema, rows)
        added = [
            f"ALTER TABLE {where} ADD COLUMN {name} {OPTIONAL_TYPES[name]}"
            for name in missing
            if name not in there
        ]
        return TablePlan(
            (*added, view_statement(catalog, entity, rows)),
            tuple(f"add {name}" for name in missing),
        )
    if stored != wanted:
        differing = sorted(
            name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name)
        )
        raise SchemaDriftError(
            f"The columns {', '.join(differing)} of {entity.table} differ from the source, and tables of the Hive"
            " connector cannot follow a change of columns; those of an Iceberg catalog can.",
            where=dict(entity.where),
            next_command="set TRINO_CATALOG to an Iceberg catalog, or sync-pipelines discover"
            f" {entity.connector} --accept {entity.slug}  (keeps the old view under another name and reads"
            " everything again)",
        )
    return TablePlan()


def rows_table(entity: Entity, number: int) -> str:
    """Name of a table of rows."""
    return f"{entity.target_table}__rows_{number}".lower()


def view_statement(catalog: str, entity: Entity, rows: str) -> str:
    """Let the view show the newest version of each key in a table of rows."""
    names = ", ".join(
        [*(quote(column.target_name) for column in entity.columns), *bridge_types(entity)]
    )
    keys = ", ".join(quote(column.target_name) for column in entity.business_keys)
    return (
        f"CREATE OR REPLACE VIEW {quote(catalog, entity.target_schema, entity.target_table)} SECURITY INVOKER AS"
        f" SELECT {names} FROM (SELECT *,"
        f" row_number() OVER (PARTITION BY {keys} ORDER BY {VERSION} DESC, _bridge_id) AS _bridge_age"
        f" FROM {quote(catalog, entity.target_schema, rows)}) r WHERE _bridge_age = 1"
    )


def current_rows(session: Session, catalog: str, entity: Entity) -> str:
    """The table of rows that the view shows.

    Raises:
        SchemaDriftError: the view is not ours.
    """
    found = session.query(
        f"SELECT view_definition FROM {quote(catalog)}.information_schema.views"
        f" WHERE table_schema = {literal(entity.target_schema.lower())}"
        f" AND table_name = {literal(entity.target_table.lower())}"
    )
    match = (
        re.search(r"(\w[^\s\".]*__rows_\d+|\"[^\"]+__rows_\d+\")", found[0][0]) if found else None
    )
    if match is None:
        raise SchemaDriftError(
            f"{entity.table} is not the view that was made here.",
            where=dict(entity.where),
            state="It was left untouched.",
            next_command=f"rename it, then sync-pipelines sync {entity.path} --full-refresh",
        )
    return match[1].strip('"')


def version_statement(
    entity: Entity, view: str, rows: str, condition: str, changes: dict[str, str]
) -> str:
    """Append versions of rows that differ only by some columns of ours.

    Args:
        entity: whose rows, with the optional columns that they have.
        view: that shows them.
        rows: the table of rows.
        condition: over t, which rows of the view.
        changes: columns of ours with their new values.
    """
    values = {
        quote(column.target_name): f"t.{quote(column.target_name)}" for column in entity.columns
    }
    values |= (
        {name: f"t.{name}" for name in bridge_types(entity)}
        | {VERSION: f"t.{VERSION} + 1"}
        | changes
    )
    columns, expressions = ", ".join(values), ", ".join(values.values())
    return f"INSERT INTO {rows} ({columns}) SELECT {expressions} FROM {view} t WHERE {condition}"


def _next_number(session: Session, catalog: str, entity: Entity) -> int:
    """Above every table of rows, and of this second: a folder that a dropped table or a killed write left behind has
    another.
    """
    prefix = f"{entity.target_table}__rows_".lower()
    return max(
        int(time.time()),
        1
        + max(
            (int(name[len(prefix) :]) for name in _tables_of_rows(session, catalog, entity)),
            default=0,
        ),
    )


def _tables_of_rows(session: Session, catalog: str, entity: Entity) -> list[str]:
    prefix = f"{entity.target_table}__rows_".lower()
    rows = session.query(
        f"SELECT table_name FROM {quote(catalog)}.information_schema.tables"
        f" WHERE table_schema = {literal(entity.target_schema.lower())}"
        f" AND starts_with(table_name, {literal(prefix)})"
    )
    return [name for (name,) in rows if name[len(prefix) :].isdigit()]


class HiveStatements(Statements):
    """What differs in Hive: its types, and writes that append or swap."""

    def append(self, rows: str) -> str:
        """Add the winners that are new or differ as newer versions of their rows."""
        rules = self.rules
        names, values = self._version(rules.moves)
        return (
            f"{self.marker}INSERT INTO {rows} ({names}) SELECT {values} FROM {self.staged} s LEFT"
            f" JOIN {self.target} t ON {self.match}"
            f" WHERE t._bridge_id IS NULL OR (NOT {rules.stale} AND ({rules.moves} OR {rules.touched}))"
        )

    def swap(self, rows: str, gone: str | None) -> str:
        """Write all rows as they are to be into a new table: those read, and those only the table has."""
        names, values = self._version(self.rules.moves)
        deleted = f"({gone})" if gone else "false"
        kept = {name: f"t.{name}" for name in bridge_types(self.entity)}
        kept |= {
            "_bridge_deleted": f"(t._bridge_deleted OR {deleted})",
            "_bridge_updated_at": f"CASE WHEN NOT t._bridge_deleted AND {deleted} THEN {NOW} ELSE"
            " t._bridge_updated_at END",
        }
        own = [f"t.{quote(column.target_name)}" for column in self.entity.columns]
        return (
            f"{self.marker}CREATE TABLE {rows} ({names}) WITH (format = 'PARQUET') AS"
            f" SELECT {values} FROM {self.staged} s LEFT JOIN {self.target} t ON {self.match}"
            f" UNION ALL SELECT {', '.join([*own, *kept.values()])} FROM {self.target} t"
            f" WHERE NOT EXISTS (SELECT 1 FROM {self.staged} s WHERE {self.match})"
        )

    def _version(self, moves: str) -> tuple[str, str]:
        names = [quote(column.target_name) for column in self.entity.columns]
        values = [f"s.{self.places[column.name]}" for column in self.entity.columns]
        own = {
            "_bridge_id": "coalesce(t._bridge_id, cast(uuid() AS varchar))",
            "_bridge_created_at": f"coalesce(t._bridge_created_at, {NOW})",
            "_bridge_updated_at": f"CASE WHEN t._bridge_id IS NULL OR {moves} THEN {NOW} ELSE t._bridge_updated_at END",
            "_bridge_hash": f"{self.prefix} || s.hash",
            "_bridge_deleted": "false",
            "_bridge_rowversion": "s.rowversion",
            VERSION: f"coalesce(t.{VERSION}, 0) + 1",
            **{column: f"s.{name}" for name, column in self.flags.items()},
            **({REJECTED_COLUMN: "cast(NULL AS timestamp(6))"} if self.entity.has_rejected else {}),
        }
        return ", ".join([*names, *own]), ", ".join([*values, *own.values()])


def write_hive(work: Work, statements: HiveStatements) -> dict[str, Any]:
    """Append or swap, and check what was announced against what Trino wrote.

    Args:
        work: with its counts; `work.compare()` counts again.
        statements: of the run.

    Raises:
        LedgerError: Trino wrote another number of rows.
    """
    session, catalog, entity = work.session, work.catalog, work.request.entity
    rows = current_rows(session, catalog, entity)
    where = quote(catalog, entity.target_schema, rows)
    if work.request.mode is Mode.DELTA or not session.query(f"SELECT 1 FROM {where} LIMIT 1"):

        def again() -> str | None:
            work.compare()
            return statements.append(where) if work.counts.written else None

        written, _ = commit(session, statements.append(where), work.marker, lambda _: None, again)
        _check(work.counts.written, written)
        return {"rows_table": rows, "rows_written": written}
    new = rows_table(entity, _next_number(session, catalog, entity))
    gone = work.vanished.condition if work.vanished.rows else None
    place = quote(catalog, entity.target_schema, new)
    total = session.number(f"SELECT count(*) FROM {statements.target}") + work.counts.new
    # Nobody sees the new table before the swap, so a failure leaves only a table to drop; the next swap does.
    written = session.execute(statements.swap(place, gone)).written
    _check(total, written)
    session.execute(view_statement(catalog, entity, new))
    _drop_unseen(session, catalog, entity)
    return {"rows_table": new, "rows_written": written}


def _check(expected: int, written: int | None) -> None:
    if written is not None and written != expected:
        raise LedgerError(
            f"The stage 'write' lost count: {expected} rows were to be written, {written} were."
        )


def _drop_unseen(session: Session, catalog: str, entity: Entity) -> None:
    """Drop tables of rows that no view shows any more; a view that was set aside keeps its own."""
    views = session.query(
        f"SELECT view_definition FROM {quote(catalog)}.information_schema.views"
        f" WHERE table_schema = {literal(entity.target_schema.lower())}"
    )
    for name in _tables_of_rows(session, catalog, entity):
        if not any(re.search(rf"{re.escape(name)}(?!\d)", definition) for (definition,) in views):
            session.execute(f"DROP TABLE {quote(catalog, entity.target_schema, name)}")
