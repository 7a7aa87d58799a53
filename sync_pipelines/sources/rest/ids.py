"""The ids that an endpoint is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.model.endpoint import Endpoint, IdList
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.paths import id_column


@dataclass(frozen=True)
class WantedIds:
    """The ids to ask for.

    Attributes:
        all: every one, once.
        known: those that have a live row, so that a delta may leave out what did not change.
    """

    all: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()


def find_ids(context: ReadContext, endpoint: Endpoint) -> WantedIds:
    """The ids to ask for; none where the endpoint takes none.

    Raises:
        DatabaseRefusedError: the table of the ids cannot be read.
    """
    if endpoint.ids is None:
        return WantedIds()
    with context.database.connect() as connection:
        ids = _ids_of(connection, context, endpoint.ids)
        known = _ids_with_row(connection, context, endpoint)
    return WantedIds(tuple(dict.fromkeys(ids)), known)


def _ids_of(
    connection: Any,
    context: ReadContext,
    declared: IdList,
) -> list[str]:
    if declared.table is None:
        return [str(value) for value in declared.values or ()]
    schema, table, column = declared.table.split(".")
    wanted = quote(column)
    select = f"SELECT DISTINCT {wanted}::text AS id FROM {quote(schema, table)}"  # noqa: S608
    try:
        rows = connection.execute(f"{select} WHERE {wanted} IS NOT NULL ORDER BY 1")
        return [row["id"] for row in rows]
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        raise DatabaseRefusedError(
            f"The ids cannot be read from {declared.table}: {reason}.",
            where=dict(context.entity.where),
        ) from None


def _ids_with_row(
    connection: Any,
    context: ReadContext,
    endpoint: Endpoint,
) -> frozenset[str]:
    entity = context.entity
    name = id_column(endpoint)
    if name in context.masked:
        return frozenset()
    target = target_of(entity)
    found = connection.execute("SELECT to_regclass(%s) AS t", [target])
    table = found.fetchone()
    if table is None or table["t"] is None:
        return frozenset()
    key = next(column for column in entity.columns if column.name == name)
    wanted = quote(key.target_name)
    live = f"SELECT {wanted}::text AS id FROM {target} WHERE NOT _bridge_deleted"  # noqa: S608
    rows = connection.execute(live)
    return frozenset(row["id"] for row in rows)
