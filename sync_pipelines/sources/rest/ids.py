"""The ids that an endpoint is asked for, and how many of them came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg

from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.model.endpoint import Endpoint, IdList
from sync_pipelines.model.quoting import quote
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


@dataclass
class IdRequest:
    """All ids that a run asks for, in however many requests.

    Attributes:
        asked: number of ids.
        min_success: least share of them that must be good.
        faulty: those that failed, with the reason.
    """

    asked: int
    min_success: float
    faulty: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """Ids that have not failed; one whose row is there and did not change counts, too."""
        return self.asked - len(self.faulty)

    @property
    def is_enough(self) -> bool:
        """The share is reached still."""
        return self.good >= round(self.min_success * self.asked, 6)  # 0.55 * 100 is more than 55


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


def _ids_of(connection: Any, context: ReadContext, declared: IdList) -> list[str]:
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


def _ids_with_row(connection: Any, context: ReadContext, endpoint: Endpoint) -> frozenset[str]:
    entity = context.entity
    name = id_column(endpoint)
    if name in context.masked:
        return frozenset()
    target = quote(entity.target_schema, entity.target_table)
    exists = connection.execute("SELECT to_regclass(%s) AS t", [target]).fetchone()
    if exists is None or exists["t"] is None:
        return frozenset()
    key = next(column for column in entity.columns if column.name == name)
    wanted = quote(key.target_name)
    live = f"SELECT {wanted}::text AS id FROM {target} WHERE NOT _bridge_deleted"  # noqa: S608
    return frozenset(row["id"] for row in connection.execute(live))
