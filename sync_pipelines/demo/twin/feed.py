"""The rows of a table in the order the API sends them."""

from __future__ import annotations

import random
import typing as t
import zlib
from collections.abc import Iterable

from sortedcontainers import SortedList

from sync_pipelines.demo.twin.rows import Row

Comparator = t.Literal["text", "integer"]
TieOrder = t.Literal["stable", "unstable"]
_Entry = tuple[t.Any, float, Row]
_LOWEST = float("-inf")
_HIGHEST = float("inf")


class Feed:
    """Rows sorted by (row version under the comparator, arrival)."""

    def __init__(self, comparator: Comparator = "text") -> None:
        if comparator not in ("text", "integer"):
            raise ValueError(f"unknown comparator {comparator!r}; use 'text' or 'integer'")
        self.comparator = comparator
        self._entries: SortedList = SortedList()

    def __len__(self) -> int:
        return len(self._entries)

    def sort_value(self, rowversion: str | int | None) -> t.Any:
        """Return what the comparator compares; null sorts first, as it is never `>` anything."""
        if self.comparator == "text":
            return "" if rowversion is None else str(rowversion)
        try:
            return int(rowversion) if rowversion is not None else _LOWEST
        except ValueError:
            return _LOWEST

    def _entry(self, row: Row) -> _Entry:
        return self.sort_value(row.rowversion), row.seq, row

    def add(self, row: Row) -> None:
        """Add one row."""
        self._entries.add(self._entry(row))

    def add_many(self, rows: Iterable[Row]) -> None:
        """Add many rows, sorting once."""
        self._entries.update([self._entry(row) for row in rows])

    def remove(self, row: Row) -> None:
        """Remove a row that is in the feed."""
        self._entries.remove(self._entry(row))

    def clear(self) -> None:
        """Remove every row."""
        self._entries.clear()

    def rows(self) -> t.Iterator[Row]:
        """Iterate over all rows in feed order."""
        return (entry[2] for entry in self._entries)

    def page(
        self,
        rowversion_gt: str | None,
        page: int,
        size: int,
        *,
        ties: TieOrder = "stable",
        sort: bool = True,
    ) -> list[Row]:
        """Return the rows of one offset page.

        Raises:
            ValueError: if the comparator cannot read `rowversion_gt`.
        """
        first = self._first_after(rowversion_gt)
        start = first + (page - 1) * size
        stop = min(start + size, len(self._entries))
        if start >= stop:
            return []
        if not sort:
            rest = [entry[2] for entry in self._entries.islice(first)]
            rest.sort(key=lambda row: zlib.crc32(repr(row.key).encode("utf-8", "surrogatepass")))
            return rest[start - first : stop - first]
        if ties == "unstable":
            return self._shuffled_ties(start, stop)
        return [entry[2] for entry in self._entries.islice(start, stop)]

    def _first_after(self, rowversion_gt: str | None) -> int:
        if not rowversion_gt:
            return 0
        bound = rowversion_gt if self.comparator == "text" else int(rowversion_gt)
        place: int = self._entries.bisect_right((bound, _HIGHEST))
        return place

    def _shuffled_ties(self, start: int, stop: int) -> list[Row]:
        low = self._entries.bisect_left((self._entries[start][0], _LOWEST))
        high = self._entries.bisect_right((self._entries[stop - 1][0], _HIGHEST))
        # A random number between version and row: equal versions come in a new order each time.
        entries = [
            (entry[0], random.random(), entry[2]) for entry in self._entries.islice(low, high)
        ]
        entries.sort(key=lambda entry: entry[:2])
        return [entry[2] for entry in entries[start - low : stop - low]]
