"""Build a SQL model in one transaction: readers see the old one or the new one."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.downstream.sql_model import SqlModel
from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.model.names import shorten_identifier


@dataclass(frozen=True)
class Built:
    """What a build made: rows of the model, and rows that break each of its checks."""

    row_count: int
    broken: dict[str, int]


def build_model(database: Database, model: SqlModel) -> Built:
    """Create or replace the view or table and count what its checks find.

    Raises:
        DatabaseRefusedError: the SQL fails, or another object depends on what would have to go.
    """
    name = quote(model.schema, model.name)
    with database.connect() as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(model.schema)}")
        if model.materialized == "view":
            try:
                with connection.transaction():
                    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {model.query}")
            except psycopg.errors.InvalidTableDefinition:
                # Columns changed: a view without dependants can be made anew.
                connection.execute(f"DROP VIEW {name}")
                connection.execute(f"CREATE VIEW {name} AS {model.query}")
        else:
            fresh = shorten_identifier(f"{model.name}__new")
            connection.execute(f"DROP TABLE IF EXISTS {quote(model.schema, fresh)}")
            connection.execute(f"CREATE TABLE {quote(model.schema, fresh)} AS {model.query}")
            connection.execute(f"DROP TABLE IF EXISTS {name}")
            connection.execute(f"ALTER TABLE {quote(model.schema, fresh)} RENAME TO {quote(model.name)}")
        rows = _count(connection, f"SELECT count(*) AS n FROM {name}")
        broken = {}
        if model.unique:
            columns = ", ".join(map(quote, model.unique))
            broken["unique"] = _count(
                connection, f"SELECT count(*) AS n FROM (SELECT 1 FROM {name} GROUP BY {columns} HAVING count(*) > 1) d"
            )
        if model.not_null:
            nulls = " OR ".join(f"{quote(column)} IS NULL" for column in model.not_null)
            broken["not_null"] = _count(connection, f"SELECT count(*) AS n FROM {name} WHERE {nulls}")
    return Built(rows, broken)


def _count(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row["n"])  # type: ignore[call-overload]
