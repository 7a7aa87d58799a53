"""The tables of the twin: what the source API would answer, and the truth behind it."""

from __future__ import annotations

import threading
from typing import Any

from sync_pipelines.demo.twin.feed import TieOrder
from sync_pipelines.demo.twin.pending import Pending
from sync_pipelines.demo.twin.rows import NULL_ROWVERSION, canonical_line, truth_digest
from sync_pipelines.demo.twin.schema import TwinColumn
from sync_pipelines.demo.twin.table import TwinTable
from sync_pipelines.demo.twin.truthlog import LogEntry

__all__ = [
    "NULL_ROWVERSION",
    "LogEntry",
    "Pending",
    "TwinColumn",
    "TwinStore",
    "TwinTable",
    "canonical_line",
    "truth_digest",
]


class TwinStore:
    """The tables by slug; tables may come and go while the server runs.

    Args:
        order_ties: for tables that do not say themselves: "stable" keeps the
            order of arrival among equal row versions, "unstable" gives them in
            a new random order on every request.
    """

    def __init__(self, order_ties: TieOrder = "stable") -> None:
        self.order_ties = order_ties
        self.lock = threading.RLock()
        self._tables: dict[str, TwinTable] = {}
        self._ghosts: dict[str, dict[str, Any]] = {}

    def add(self, table: TwinTable) -> TwinTable:
        """Add the table, or put it in the place of the one with its slug."""
        with self.lock:
            if table.order_ties is None:
                table.order_ties = self.order_ties
            self._tables[table.slug] = table
            self._ghosts.pop(table.slug, None)
            return table

    def remove(self, slug: str, *, still_listed: bool = False) -> TwinTable:
        """Remove a table; with `still_listed` the API goes on naming it but answers 404 for its data."""
        with self.lock:
            table = self._tables.pop(slug)
            if still_listed:
                self._ghosts[slug] = table.describe()
            return table

    def get(self, slug: str) -> TwinTable | None:
        """Return the table or None."""
        return self._tables.get(slug)

    def __getitem__(self, slug: str) -> TwinTable:
        return self._tables[slug]

    def __contains__(self, slug: str) -> bool:
        return slug in self._tables

    def __len__(self) -> int:
        return len(self._tables)

    def tables(self) -> list[TwinTable]:
        """Return the tables in order of addition."""
        with self.lock:
            return list(self._tables.values())

    def describe(self) -> list[dict[str, Any]]:
        """Return the answer of `GET /api/v1/apis`."""
        with self.lock:
            listed = [table.describe() for table in self.tables()]
            listed += self._ghosts.values()
        return listed
