"""The rows of a table in the order the API sends them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, Literal

from sortedcontainers import SortedList

from sync_pipelines.demo.twin.rows import Row, Rowversion

Comparator = Literal["text", "integer"]
TieOrder = Literal["stable", "unstable"]
_Entry = tuple[Any, float, Row]
_LOWEST = float("-inf")
_HIGHEST = float("inf")
_ROW = itemgetter(2)


class Feed:
    """Rows sorted by (row version under the comparator, arrival)."""

    def __init__(self, comparator: Comparator = "text") -> None:
        if comparator not in ("text", "integer"):
            raise ValueError(f"unknown comparator {comparator!r}; use 'text' or 'integer'")
        self.comparator = comparator
        self._entries: SortedList = SortedList()

    def __len__(self) -> int:
        return len(self._entries)

    def sort_value(self, rowversion: Rowversion) -> Any:
        """Return what the comparator compares; null sorts first, as it is never `>` anything."""
        is_text = self.comparator == "text"
        if rowversion is None:
            return "" if is_text else _LOWEST
        if is_text:
            return str(rowversion)
        try:
            return int(rowversion)
        except ValueError:
            return _LOWEST

    def _entry(self, row: Row) -> _Entry:
        value = self.sort_value(row.rowversion)
        return value, row.seq, row

    def add(self, row: Row) -> None:
        """Add one row."""
        entry = self._entry(row)
        self._entries.add(entry)

    def add_many(self, rows: Iterable[Row]) -> None:
        """Add many rows, sorting once."""
        entries = [self._entry(row) for row in rows]
        self._entries.update(entries)

    def remove(self, row: Row) -> None:
        """Remove a row that is in the feed."""
        entry = self._entry(row)
        self._entries.remove(entry)

    def clear(self) -> None:
        """Remove every row."""
        self._entries.clear()

    def rows(self) -> Iterator[Row]:
        """Iterate over all rows in feed order."""
        return map(_ROW, self._entries)

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
            behind = list(map(_ROW, self._entries.islice(first)))
            behind.sort(key=_scattered)
            return behind[start - first : stop - first]
        if ties == "unstable":
            return self._shuffled_ties(start, stop)
        wanted = self._entries.islice(start, stop)
        return list(map(_ROW, wanted))

    def _first_after(self, rowversion_gt: str | None) -> int:
        if not rowversion_gt:
            return 0
        bound = rowversion_gt if self.comparator == "text" else int(rowversion_gt)
        return self._end_of(bound)

    def _end_of(self, value: Any) -> int:
        place: int = self._entries.bisect_right((value, _HIGHEST))
        return place

    def _shuffled_ties(self, start: int, stop: int) -> list[Row]:
        first_value, _, _ = self._entries[start]
        last_value, _, _ = self._entries[stop - 1]
        low = self._entries.bisect_left((first_value, _LOWEST))
        high = self._end_of(last_value)
        # A random number between version and row: equal versions come in a new order each time.
        entries = []
        for value, _, row in self._entries.islice(low, high):
            entries.append((value, random.random(), row))
        entries.sort(key=itemgetter(0, 1))
        page = entries[start - low : stop - low]
        return list(map(_ROW, page))


def _scattered(row: Row) -> int:
    """A number that has nothing to do with the order of the row versions."""
    key = repr(row.key)
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))
