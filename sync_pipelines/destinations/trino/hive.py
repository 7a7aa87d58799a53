"""Tables of the Hive connector, which know no MERGE: rows are appended, and a view shows the newest of each key.

A full read that changes anything writes a new table of rows and lets the view point to it: the swap is one
operation of the metastore. Whatever else is asked of such a table is refused, and the message names Iceberg.
"""

from __future__ import annotations

import re
import time
from typing import Any

from sync_pipelines.destinations.drift import TablePlan
from sync_pipelines.destinations.rows import Values, deleted_values, record_values
from sync_pipelines.destinations.trino.commit import commit
from sync_pipelines.destinations.trino.dialect import HIVE
from sync_pipelines.destinations.trino.merge import Statements
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.types import hive_type
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.destinations.vanished import not_among
from sync_pipelines.errors import LedgerError, SchemaDriftError
from sync_pipelines.model.entity import COERCED_COLUMN, REJECTED_COLUMN, REVIEW_COLUMN, Entity
from sync_pipelines.model.quoting import literal
from sync_pipelines.model.run import Mode

VERSION = "_bridge_version"
_ROWS = re.compile(r"(\w[^\s\".]*__rows_\d+|\"[^\"]+__rows_\d+\")")
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
    wanted = entity.position.own_columns
    own = {name: kind for name, kind in OPTIONAL_TYPES.items() if name in wanted}
    return BRIDGE_TYPES | own


def plan_hive_table(place: Place, stored: dict[str, str]) -> TablePlan:
    """Statements that make the first table of rows with its view, or add optional columns of ours to both.

    Args:
        place: whose table.
        stored: types of the view's columns by name.

    Raises:
        SchemaDriftError: there is a table that is not ours, or its columns are not the declared ones.
    """
    entity = place.entity
    wanted = {}
    for column in entity.columns:
        wanted[column.target_name.lower()] = hive_type(column.type)
    wanted |= bridge_types(entity)
    if not stored:
        return _creation(place, wanted)
    missing = sorted(entity.position.own_columns - stored.keys())
    added = {name: OPTIONAL_TYPES[name] for name in missing}
    if stored | added != wanted:
        raise _cannot_follow(entity, _differing(stored, wanted))
    return _additions(place, missing) if missing else TablePlan()


def _differing(stored: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Names of columns that one has and the other has not, or with another type."""
    names = sorted(stored.keys() | wanted.keys())
    return [name for name in names if stored.get(name) != wanted.get(name)]


def _creation(place: Place, wanted: dict[str, str]) -> TablePlan:
    """The first table of rows with its view."""
    rows = rows_table(place.entity, _next_number(place))
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
    made = f"CREATE TABLE {place.beside(rows)} ({columns}) WITH (format = 'PARQUET')"
    words = f"create view {place.catalog}.{place.entity.table}"
    shown = view_statement(place, rows)
    return TablePlan((made, shown), (words,))


def _additions(place: Place, missing: list[str]) -> TablePlan:
    """Optional columns of ours for the table of rows and its view."""
    rows = current_rows(place)
    # Killed between the two, the column is in the rows already.
    there = place.columns(rows)
    statements = [
        f"ALTER TABLE {place.beside(rows)} ADD COLUMN {name} {OPTIONAL_TYPES[name]}"
        for name in missing
        if name not in there
    ]
    statements.append(view_statement(place, rows))
    return TablePlan(tuple(statements), tuple(f"add {name}" for name in missing))


def _cannot_follow(entity: Entity, differing: list[str]) -> SchemaDriftError:
    return SchemaDriftError(
        f"The columns {', '.join(differing)} of {entity.table} differ from the source, and tables of the Hive"
        " connector cannot follow a change of columns; those of an Iceberg catalog can.",
        where=dict(entity.where),
        next_command="set TRINO_CATALOG to an Iceberg catalog, or sync-pipelines discover"
        f" {entity.connector} --accept {entity.slug}  (keeps the old view under another name and reads"
        " everything again)",
    )


def rows_table(entity: Entity, number: int) -> str:
    """Name of a table of rows."""
    return f"{_rows_prefix(entity)}{number}"


def _rows_prefix(entity: Entity) -> str:
    return f"{entity.target_table}__rows_".lower()


def view_statement(place: Place, rows: str) -> str:
    """Let the view show the newest version of each key in a table of rows."""
    entity = place.entity
    content = [quote(column.target_name) for column in entity.columns]
    names = ", ".join([*content, *bridge_types(entity)])
    keys = ", ".join(quote(column.target_name) for column in entity.business_keys)
    age = f"row_number() OVER (PARTITION BY {keys} ORDER BY {VERSION} DESC, _bridge_id)"
    aged = f"SELECT *, {age} AS _bridge_age FROM {place.beside(rows)}"
    return (
        f"CREATE OR REPLACE VIEW {place.table} SECURITY INVOKER AS"
        f" SELECT {names} FROM ({aged}) r WHERE _bridge_age = 1"
    )


def current_rows(place: Place) -> str:
    """The table of rows that the view shows.

    Raises:
        SchemaDriftError: the view is not ours.
    """
    entity = place.entity
    found = place.session.query(
        f"{_views(place)} AND table_name = {literal(entity.target_table.lower())}"
    )
    match = _ROWS.search(found[0][0]) if found else None
    if match is None:
        raise SchemaDriftError(
            f"{entity.table} is not the view that was made here.",
            where=dict(entity.where),
            state="It was left untouched.",
            next_command=f"rename it, then sync-pipelines sync {entity.path} --full-refresh",
        )
    return match[1].strip('"')


def _views(place: Place) -> str:
    """The query of the definitions of all views in the schema."""
    schema = place.entity.target_schema.lower()
    return (
        f"SELECT view_definition FROM {quote(place.catalog)}.information_schema.views"
        f" WHERE table_schema = {literal(schema)}"
    )


def version_statement(place: Place, rows: str, condition: str, changes: Values) -> str:
    """Append versions of rows that differ only by some columns of ours.

    Args:
        place: whose rows; its entity has the optional columns that they have.
        rows: the table of rows.
        condition: over t, which rows of the view.
        changes: columns of ours with their new values.
    """
    names = [quote(column.target_name) for column in place.entity.columns]
    names += bridge_types(place.entity)
    values = {name: f"t.{name}" for name in names}
    values[VERSION] = f"t.{VERSION} + 1"
    values |= changes
    return (
        f"INSERT INTO {place.beside(rows)} ({', '.join(values)})"
        f" SELECT {', '.join(values.values())} FROM {place.table} t WHERE {condition}"
    )


def _next_number(place: Place) -> int:
    """Above every table of rows, and of this second: a folder that a dropped table or a killed write left behind has
    another.
    """
    prefix = _rows_prefix(place.entity)
    used = [name.removeprefix(prefix) for name in _tables_of_rows(place)]
    highest = max(map(int, used), default=0)
    now = int(time.time())
    return max(now, highest + 1)


def _tables_of_rows(place: Place) -> list[str]:
    prefix = _rows_prefix(place.entity)
    rows = place.session.query(
        f"SELECT table_name FROM {quote(place.catalog)}.information_schema.tables"
        f" WHERE table_schema = {literal(place.entity.target_schema.lower())}"
        f" AND starts_with(table_name, {literal(prefix)})"
    )
    names = [name for (name,) in rows]
    return [name for name in names if name.removeprefix(prefix).isdigit()]


class HiveStatements(Statements):
    """What differs in Hive: its types, and writes that append or swap."""

    dialect = HIVE

    def append(self, rows: str) -> str:
        """Add the winners that are new or differ as newer versions of their rows."""
        values = self._version()
        return (
            f"{self.marker}INSERT INTO {rows} ({', '.join(values)})"
            f" SELECT {', '.join(values.values())} FROM {self.joined}"
            f" WHERE t._bridge_id IS NULL OR ({self.rules.writes})"
        )

    def swap(self, rows: str, gone: str | None) -> str:
        """Write all rows as they are to be into a new table: those read, and those only the table has."""
        values = self._version()
        kept = {name: f"t.{name}" for name in values}
        if gone is not None:
            deletion = deleted_values(self.dialect)
            moment = deletion["_bridge_updated_at"]
            kept["_bridge_deleted"] = f"(t._bridge_deleted OR ({gone}))"
            kept["_bridge_updated_at"] = (
                f"CASE WHEN NOT t._bridge_deleted AND ({gone}) THEN {moment}"
                " ELSE t._bridge_updated_at END"
            )
        return (
            f"{self.marker}CREATE TABLE {rows} ({', '.join(values)}) WITH (format = 'PARQUET') AS"
            f" SELECT {', '.join(values.values())} FROM {self.joined}"
            f" UNION ALL SELECT {', '.join(kept.values())} FROM {self.target} t"
            f" WHERE {not_among(self.staged, self.match)}"
        )

    def _version(self) -> Values:
        """The newest version of a row, by the record s and the row t, where there is one."""
        now = self.dialect.now
        moves = f"t._bridge_id IS NULL OR {self.rules.moves}"
        values = record_values(quote, self.entity) | {
            "_bridge_id": "coalesce(t._bridge_id, cast(uuid() AS varchar))",
            "_bridge_created_at": f"coalesce(t._bridge_created_at, {now})",
            "_bridge_updated_at": f"CASE WHEN {moves} THEN {now} ELSE t._bridge_updated_at END",
            "_bridge_deleted": "false",
            VERSION: f"coalesce(t.{VERSION}, 0) + 1",
        }
        if self.entity.has_rejected:
            values[REJECTED_COLUMN] = f"cast(NULL AS {OPTIONAL_TYPES[REJECTED_COLUMN]})"
        return values


def write_hive(work: Work, statements: HiveStatements) -> dict[str, Any]:
    """Append or swap, and check what was announced against what Trino wrote.

    Args:
        work: with its counts; `work.compare()` counts again.
        statements: of the run.

    Raises:
        LedgerError: Trino wrote another number of rows.
    """
    place = work.place
    rows = current_rows(place)
    is_empty = not place.session.query(f"SELECT 1 FROM {place.beside(rows)} LIMIT 1")
    if work.request.mode is Mode.DELTA or is_empty:
        return _append(work, statements, rows)
    return _swap(work, statements)


def _append(work: Work, statements: HiveStatements, rows: str) -> dict[str, Any]:
    target = work.place.beside(rows)

    def again() -> str | None:
        work.compare()
        return statements.append(target) if work.counts.written else None

    statement = statements.append(target)
    written, _ = commit(work.session, statement, work.marker, found=lambda _: None, again=again)
    _check(work.counts.written, written)
    return {"rows_table": rows, "rows_written": written}


def _swap(work: Work, statements: HiveStatements) -> dict[str, Any]:
    place = work.place
    rows = rows_table(place.entity, _next_number(place))
    total = place.session.number(f"SELECT count(*) FROM {place.table}") + work.counts.new
    # Nobody sees the new table before the swap, so a failure leaves only a table to drop; the next swap does.
    gone = work.vanished.condition
    statement = statements.swap(place.beside(rows), gone)
    answer = place.session.execute(statement)
    _check(total, answer.written)
    place.session.execute(view_statement(place, rows))
    _drop_unseen(place)
    return {"rows_table": rows, "rows_written": answer.written}


def _check(expected: int, written: int | None) -> None:
    if written is not None and written != expected:
        raise LedgerError(
            f"The stage 'write' lost count: {expected} rows were to be written, {written} were."
        )


def _drop_unseen(place: Place) -> None:
    """Drop tables of rows that no view shows any more; a view that was set aside keeps its own."""
    rows = place.session.query(_views(place))
    views = [definition for (definition,) in rows]
    for name in _tables_of_rows(place):
        pattern = re.compile(rf"{re.escape(name)}(?!\d)")
        if not any(pattern.search(definition) for definition in views):
            place.session.execute(f"DROP TABLE {place.beside(name)}")
