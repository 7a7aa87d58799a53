"""Where a table keeps its rows: by key, in feed order, and in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
        old = self.rows.get(row.key)
        if old is not None:
            self.feed.remove(old)
            for twin in () if keep_twins else self.twins.pop(row.key, ()):
                self.feed.remove(twin)
        self.rows[row.key] = row
        self.feed.add(row)
        self.log.append(
            op or ("insert" if old is None else "update"), row.key, row.rowversion, row.data
        )

    def write_many(self, rows: list[Row]) -> None:
        """Write good rows; fast when all keys are new and distinct."""
        fresh = {row.key: row for row in rows}
        if len(fresh) < len(rows) or not self.rows.keys().isdisjoint(fresh):
            for row in rows:
                self.write(row)
            return
        self.rows.update(fresh)
        self.feed.add_many(rows)
        for row in rows:
            self.log.append("insert", row.key, row.rowversion, row.data)

    def add_twin(self, row: Row) -> None:
        """Add a further row of a key that is there."""
        self.twins.setdefault(row.key, []).append(row)
        self.feed.add(row)
        self.log.append("duplicate", row.key, row.rowversion, row.data)

    def remove(self, key: Key) -> None:
        """Remove every row of the key."""
        row = self.rows.pop(key)
        for gone in [row, *self.twins.pop(key, ())]:
            self.feed.remove(gone)
        self.log.append("delete", key, row.rowversion, b"")

    def good_row(self, key: Key) -> Row | None:
        """Return the good row that counts for the key: the highest (row version, arrival)."""
        row = self.rows.get(key)
        if row is None or key not in self.twins:
            return None if row is None or row.poison else row
        good = [each for each in (row, *self.twins[key]) if not each.poison]
        return max(
            good, key=lambda each: (self.feed.sort_value(each.rowversion), each.seq), default=None
        )

    def good_rows(self) -> Iterator[Row]:
        """Iterate over the good rows that count, in order of first insertion."""
        return (row for key in self.rows if (row := self.good_row(key)) is not None)

    def poison_keys(self) -> set[Key]:
        """Return the keys with at least one poison row."""
        return {row.key for row in self.feed.rows() if row.poison}

    def rewrite(self, change: Callable[[Row], Row]) -> None:
        """Put `change(row)` in place of every good row."""
        rows = sorted(self.feed.rows(), key=lambda row: row.seq)
        self.feed.clear()
        self.rows.clear()
        self.twins.clear()
        for row in rows:
            fresh = row if row.poison else change(row)
            if fresh.key in self.rows:
                self.twins.setdefault(fresh.key, []).append(fresh)
            else:
                self.rows[fresh.key] = fresh
            if fresh.line != row.line:
                self.log.append("rewrite", fresh.key, fresh.rowversion, fresh.data)
            self.feed.add(fresh)
