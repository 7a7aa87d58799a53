"""Build a SQL model in one transaction: readers see the old one or the new one, with all that people gave to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.roles import open_to_models, reading_role
from sync_pipelines.destinations.postgres.aside import belongings_fit
from sync_pipelines.destinations.postgres.belongings import collect
from sync_pipelines.destinations.postgres.dependants import dependants_down, find_oid
from sync_pipelines.downstream.sql_model import SqlModel
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.quoting import quote

_DROPS = {"v": "DROP VIEW", "m": "DROP MATERIALIZED VIEW"}


@dataclass(frozen=True)
class Built:
    """What a build made: rows of the model, and rows that break each of its checks."""

    row_count: int
    broken: dict[str, int]


def build_model(database: Database, model: SqlModel) -> Built:
    """Create or replace the view or table and count what its checks find.

    The query runs as a role that may read its sources and nothing else, where `migrate` could make one.

    Raises:
        DatabaseRefusedError: the SQL fails, or something hangs on the old one that cannot be made anew.
    """
    name = quote(model.schema, model.name)
    is_table = model.materialized == "table"
    open_to_models(database, model.reads if is_table else (), writes=model.schema)
    with database.cursor() as cursor:
        _check_free(cursor, model)
        make = _as_table(cursor, database, model) if is_table else _as_view(model)
        with _replaced(cursor, model):
            make(cursor)
        with reading_role(cursor, database, [(model.schema, model.name)]):
            row_count = _count(cursor, f"SELECT count(*) FROM {name}")
            return Built(row_count, _broken(cursor, model, name))


def _check_free(cursor: Any, model: SqlModel) -> None:
    """Refuse a model that would take the place of what a sync has written; the cursor's search path is the catalog.

    Raises:
        DatabaseRefusedError: its name is that of an entity's table.
    """
    cursor.execute(
        "SELECT c.name || '/' || e.slug FROM entities e JOIN connectors c ON c.uid = e.connector_uid"
        " WHERE e.destination = 'postgres' AND e.target_schema = %s AND e.target_table = %s",
        [model.schema, model.name],
    )
    entity = cursor.fetchone()
    if entity is not None:
        raise DatabaseRefusedError(
            f"{model.schema}.{model.name} is the table of {entity[0]}, which a model must not take the place of.",
            state="Nothing was changed.",
            next_command=f"give the file {model.path} another name or folder",
        )


def _as_view(model: SqlModel) -> Callable[[Any], None]:
    name = quote(model.schema, model.name)
    statement = f"CREATE VIEW {name} AS {model.query}"
    return lambda cursor: _execute_alone(cursor, statement)


def _execute_alone(cursor: Any, statement: str) -> None:
    """Run one statement, whatever its text says: with binary answers PostgreSQL refuses a second one behind it."""
    cursor.execute(statement, binary=True)


def _as_table(cursor: Any, database: Database, model: SqlModel) -> Callable[[Any], None]:
    """Fill a table beside the old one, which readers may read meanwhile; the answer lets it take the name."""
    # A name that nobody else has: it is gone when the transaction ends, and nothing is dropped for it.
    unique = f"{model.name}__new_{uuid4().hex}"
    fresh = quote(model.schema, shorten_identifier(unique))
    with reading_role(cursor, database) as owner:
        _execute_alone(cursor, f"CREATE TABLE {fresh} AS {model.query}")
    if owner is not None:
        cursor.execute(f"ALTER TABLE {fresh} OWNER TO {quote(owner)}")
    renaming = f"ALTER TABLE {fresh} RENAME TO {quote(model.name)}"
    return lambda then: then.execute(renaming)


@contextmanager
def _replaced(cursor: Any, model: SqlModel) -> Iterator[None]:
    """Take down the old model with what hangs on it; put everything on the new one that the block makes."""
    oid = find_oid(cursor, model.schema, model.name)
    if oid is None:
        yield
        return
    cursor.execute(f"SELECT relkind::text FROM pg_class WHERE oid = {oid}")
    (kind,) = cursor.fetchone()
    drop = _DROPS.get(kind, "DROP TABLE")
    with dependants_down(cursor, model.schema, model.name, moves=True):
        belongings = collect(cursor, oid)
        cursor.execute(f"{drop} {quote(model.schema, model.name)}")
        yield
        with belongings_fit(belongings, f"{model.schema}.{model.name}"):
            belongings.put_on(cursor)


def _broken(cursor: Any, model: SqlModel, name: str) -> dict[str, int]:
    broken = {}
    if model.unique:
        columns = ", ".join(map(quote, model.unique))
        doubles = f"SELECT 1 FROM {name} GROUP BY {columns} HAVING count(*) > 1"
        broken["unique"] = _count(cursor, f"SELECT count(*) FROM ({doubles}) d")
    if model.not_null:
        conditions = [f"{quote(column)} IS NULL" for column in model.not_null]
        any_null = " OR ".join(conditions)
        broken["not_null"] = _count(cursor, f"SELECT count(*) FROM {name} WHERE {any_null}")
    return broken


def _count(cursor: Any, statement: str) -> int:
    row = cursor.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
