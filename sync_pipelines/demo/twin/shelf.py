"""Where a table keeps its rows: by key, in feed order, and in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from sync_pipelines.demo.twin.feed import Comparator, Feed
from sync_pipelines.demo.twin.rows import Key, Row
from sync_pipelines.demo.twin.truthlog import TruthLog


class Shelf:
    """Rows by key plus the feed; every change is logged. The caller holds the table's lock."""

    def __init__(self, comparator: Comparator) -> None:
        self.feed = Feed(comparator)
        self.log = TruthLog()
        self.rows: dict[Key, Row] = {}
        # Further rows of a key that is already in the feed: keys are unique only in an honest source.
        self.twins: dict[Key, list[Row]] = {}
        self._seq = 0

    def next_seq(self) -> int:
        """Return the next arrival number."""
        self._seq += 1
        return self._seq

    def write(self, row: Row, op: str | None = None, *, keep_twins: bool = False) -> None:
        """Insert the row or put it in place of all rows (or only the first) of its key."""
        key = row.key
        old = self.rows.get(key)
        if old is not None:
            self.feed.remove(old)
            if not keep_twins:
                self._remove_twins(key)
        self.rows[key] = row
        self.feed.add(row)
        if op is None:
            op = "insert" if old is None else "update"
        self._note(op, row)

    def write_many(self, rows: list[Row]) -> None:
        """Write good rows; fast when all keys are new and distinct."""
        fresh = {row.key: row for row in rows}
        are_distinct = len(fresh) == len(rows)
        if not are_distinct or not self.rows.keys().isdisjoint(fresh):
            for row in rows:
                self.write(row)
            return
        self.rows.update(fresh)
        self.feed.add_many(rows)
        for row in rows:
            self._note("insert", row)

    def add_twin(self, row: Row) -> None:
        """Add a further row of a key that is there."""
        twins = self.twins.setdefault(row.key, [])
        twins.append(row)
        self.feed.add(row)
        self._note("duplicate", row)

    def remove(self, key: Key) -> None:
        """Remove every row of the key."""
        row = self.rows.pop(key)
        self.feed.remove(row)
        self._remove_twins(key)
        self.log.append("delete", key, row.rowversion, b"")

    def _remove_twins(self, key: Key) -> None:
        for twin in self.twins.pop(key, ()):
            self.feed.remove(twin)

    def _note(self, op: str, row: Row) -> None:
        self.log.append(op, row.key, row.rowversion, row.data)

    def good_row(self, key: Key) -> Row | None:
        """Return the good row that counts for the key: the highest (row version, arrival)."""
        row = self.rows.get(key)
        if row is None:
            return None
        twins = self.twins.get(key)
        if twins is None:
            return None if row.poison else row
        good = [each for each in (row, *twins) if not each.poison]
        return max(good, key=self._order, default=None)

    def _order(self, row: Row) -> tuple[Any, int]:
        version = self.feed.sort_value(row.rowversion)
        return version, row.seq

    def good_rows(self) -> Iterator[Row]:
        """Iterate over the good rows that count, in order of first insertion."""
        for key in self.rows:
            row = self.good_row(key)
            if row is not None:
                yield row

    def poison_keys(self) -> set[Key]:
        """Return the keys with at least one poison row."""
        return {row.key for row in self.feed.rows() if row.poison}

    def rewrite(self, change: Callable[[Row], Row]) -> None:
        """Put `change(row)` in place of every good row."""
        in_arrival = sorted(self.feed.rows(), key=attrgetter("seq"))
        self.feed.clear()
        self.rows.clear()
        self.twins.clear()
        for row in in_arrival:
            fresh = row if row.poison else change(row)
            key = fresh.key
            if key in self.rows:
                twins = self.twins.setdefault(key, [])
                twins.append(fresh)
            else:
                self.rows[key] = fresh
            if fresh.line != row.line:
                self._note("rewrite", fresh)
            self.feed.add(fresh)
