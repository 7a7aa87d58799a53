"""A table of the twin: writes, the log of truth, and pages."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from sync_pipelines.twin.evolve import EvolvingSchema
from sync_pipelines.twin.feed import Comparator, Feed, TieOrder
from sync_pipelines.twin.rows import (
    NULL_ROWVERSION,
    Key,
    LogEntry,
    Record,
    Row,
    RowversionArgument,
    encode_json,
    json_view,
    make_row,
    md5_hex,
)
from sync_pipelines.twin.rowversions import Rowversions, TimestampRowversions
from sync_pipelines.twin.schema import TwinColumn

DeltaStrategy = t.Literal["full", "rowversion", "hash"]


class TwinTable(EvolvingSchema):
    """Rows by business key, plus the feed a reader pages through.

    Args:
        slug: name in the URL.
        name: human name; the slug if empty.
        description: free text.
        columns: the declared columns.
        business_keys: names of the key columns; those flagged in `columns` if empty.
        delta_strategy: what the API advises: full, rowversion or hash.
        comparator: how row versions compare: as "text" or as "integer".
        rowversions: generator of row versions; second-granular timestamps by default.
        has_rowversion: False sends null for every row version.
        page_cap: the server silently sends at most so many rows per page.
        sorted_pages: False sends pages in an order unrelated to the row version.
        order_ties: see `TwinStore`; None takes the store's.
        rowversion_column: column of `data` that always repeats the row version.
        extra: further (or overriding) members of the table's description.
    """

    def __init__(
        self,
        slug: str,
        name: str = "",
        description: str = "",
        columns: Sequence[TwinColumn] = (),
        business_keys: Sequence[str] = (),
        delta_strategy: DeltaStrategy = "rowversion",
        comparator: Comparator = "text",
        rowversions: Rowversions | None = None,
        has_rowversion: bool = True,
        page_cap: int | None = None,
        sorted_pages: bool = True,
        extra: Mapping[str, t.Any] | None = None,
        *,
        order_ties: TieOrder | None = None,
        rowversion_column: str | None = None,
    ) -> None:
        self.slug = slug
        self.name = name or slug
        self.description = description
        self.columns = list(columns)
        self.business_keys = tuple(business_keys) or tuple(c.name for c in columns if c.is_business_key)
        self.delta_strategy = delta_strategy
        self.rowversions = rowversions or TimestampRowversions()
        self.has_rowversion = has_rowversion
        self.page_cap = page_cap
        self.sorted_pages = sorted_pages
        self.order_ties = order_ties
        self.rowversion_column = rowversion_column
        self.extra = dict(extra or {})
        self.lock = threading.RLock()
        self.log: list[LogEntry] = []
        self._feed = Feed(comparator)
        self._rows: dict[Key, Row] = {}
        # Further rows of a key that is already in the feed: keys are unique only in an honest source.
        self._twins: dict[Key, list[Row]] = {}
        self._seq = 0

    def __len__(self) -> int:
        return len(self._feed)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def describe(self) -> dict[str, t.Any]:
        """Return the table as `GET /api/v1/apis` lists it."""
        with self.lock:
            return {
                "slug": self.slug,
                "name": self.name,
                "description": self.description,
                "columns": [column.describe(self.business_keys) for column in self.columns],
                "business_key_columns": list(self.business_keys),
                "delta_strategy": self.delta_strategy,
                **self.extra,
            }

    def key_of(self, record: Mapping[str, t.Any]) -> Key:
        """Return the record's business key as a reader would see it."""
        try:
            return tuple(json_view(record[name]) for name in self.business_keys)
        except KeyError as error:
            raise KeyError(f"record has no business key column {error}; use put_raw() for broken rows") from None

    def put(self, record: Mapping[str, t.Any], rowversion: RowversionArgument = None) -> str:
        """Insert or update by business key; return the row version given."""
        with self.lock:
            version = self._version(rowversion)
            self._write(self._row(record, version))
            return version

    def put_many(
        self, records: Iterable[Mapping[str, t.Any]], rowversions: Sequence[RowversionArgument] | None = None
    ) -> int:
        """Insert or update many records at once; return how many."""
        with self.lock:
            given = iter(rowversions) if rowversions is not None else None
            rows = [self._row(record, self._version(next(given) if given else None)) for record in records]
            return self._write_many(rows)

    def put_encoded(
        self, keys: Iterable[Key], rowversions: Iterable[str | None], keys_json: Iterable[bytes], data: Iterable[bytes]
    ) -> int:
        """Load rows whose JSON is already made; the fastest way in, the caller vouches for the bytes."""
        with self.lock:
            none = not self.has_rowversion
            rows = [
                make_row(key, None if none else version, self._next_seq(), key_json, body)
                for key, version, key_json, body in zip(keys, rowversions, keys_json, data, strict=True)
            ]
            return self._write_many(rows)

    def put_raw(
        self,
        key: Key,
        data_json: bytes,
        rowversion: RowversionArgument = None,
        oracle_keys_json: bytes | None = None,
        *,
        duplicate: bool = False,
        poison: bool = True,
    ) -> str:
        """Put bytes into the feed as they are, valid JSON or not.

        Args:
            key: what the twin files the row under; it need not appear in the bytes.
            data_json: the bytes of `data`.
            rowversion: as for `put`.
            oracle_keys_json: the bytes of `oracle_keys`; made from `key` if None.
            duplicate: add a further row with this key instead of replacing.
            poison: False counts the row as good: it takes part in `truth()`.
        """
        with self.lock:
            version = self._version(rowversion)
            keys_json = self._keys_json(key) if oracle_keys_json is None else oracle_keys_json
            row = make_row(key, version, self._next_seq(), keys_json, data_json, poison)
            if duplicate and key in self._rows:
                self._twins.setdefault(key, []).append(row)
                self._feed.add(row)
                self._note("duplicate", key, version, data_json)
            else:
                self._write(row, "poison" if poison else None)
            return version

    def delete(self, key: Key) -> None:
        """Remove every row of the key; the feed keeps no trace, as in S2.

        Raises:
            KeyError: if there is no such key.
        """
        with self.lock:
            row = self._rows.pop(key)
            for gone in [row, *self._twins.pop(key, [])]:
                self._feed.remove(gone)
            self._note("delete", key, row.rowversion, b"")

    def touch(self, key: Key, rowversion: RowversionArgument = None) -> str:
        """Give the row a new row version and leave its content as it is."""
        with self.lock:
            row, version = self._rows[key], self._version(rowversion)
            if row.poison or self.rowversion_column is None:
                fresh = make_row(key, version, self._next_seq(), row.oracle_keys, row.data, row.poison)
            else:
                fresh = self._row(row.record, version)
            self._write(fresh, "touch")
            return version

    def begin(self, record: Mapping[str, t.Any], rowversion: RowversionArgument = None) -> Pending:
        """Take a row version now for a write that becomes visible at `commit()`."""
        with self.lock:
            return Pending(self, dict(record), self._version(rowversion))

    def get(self, key: Key) -> Record | None:
        """Return the current good record of the key, or None."""
        with self.lock:
            row = self._good_row(key) if key in self._rows else None
            return row.record if row else None

    def keys(self) -> list[Key]:
        """Return the keys that have a good row, in order of first insertion."""
        with self.lock:
            return [key for key in self._rows if self._good_row(key)]

    def truth(self) -> dict[Key, Record]:
        """Return the visible good rows by key: what a reader must end up with.

        Of several rows with one key the highest (row version, arrival) counts.
        """
        with self.lock:
            good = [row for key in self._rows if (row := self._good_row(key))]
        return {row.key: row.record for row in good}

    @property
    def poison_keys(self) -> set[Key]:
        """Keys with at least one poison row in the feed."""
        with self.lock:
            twins = (row for rows in self._twins.values() for row in rows)
            return {row.key for rows in (self._rows.values(), twins) for row in rows if row.poison}

    def page(self, rowversion_gt: str | None = None, page: int = 1, page_size: int = 1000) -> bytes:
        """Return the body of one page.

        Raises:
            ValueError: if the comparator cannot read `rowversion_gt`.
        """
        size = min(page_size, self.page_cap) if self.page_cap else page_size
        with self.lock:
            rows = self._feed.page(
                rowversion_gt, page, size, ties=self.order_ties or "stable", sort=self.sorted_pages
            )
        return b'{"rows":[' + b",".join([row.line for row in rows]) + b"]}"

    def _version(self, given: RowversionArgument) -> t.Any:
        if given is NULL_ROWVERSION or not self.has_rowversion:
            return None
        return self.rowversions() if given is None else given

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _keys_json(self, key: Key) -> bytes:
        return encode_json(dict(zip(self.business_keys, key, strict=True)))

    def _row(self, record: Mapping[str, t.Any], version: t.Any) -> Row:
        if self.rowversion_column is not None:
            record = {**record, self.rowversion_column: version}
        key = self.key_of(record)
        return make_row(key, version, self._next_seq(), self._keys_json(key), encode_json(record))

    def _good_row(self, key: Key) -> Row | None:
        row = self._rows[key]
        if key not in self._twins:
            return None if row.poison else row
        good = [each for each in (row, *self._twins[key]) if not each.poison]
        return max(good, key=lambda each: (self._feed.sort_value(each.rowversion), each.seq), default=None)

    def _write(self, row: Row, op: str | None = None) -> None:
        old = self._rows.get(row.key)
        for gone in [old, *self._twins.pop(row.key, [])] if old else ():
            self._feed.remove(gone)
        self._rows[row.key] = row
        self._feed.add(row)
        self._note(op or ("update" if old else "insert"), row.key, row.rowversion, row.data)

    def _write_many(self, rows: list[Row]) -> int:
        fresh = {row.key: row for row in rows}
        if len(fresh) < len(rows) or any(key in self._rows for key in fresh):
            for row in rows:
                self._write(row)
            return len(rows)
        self._rows.update(fresh)
        self._feed.add_many(rows)
        for row in rows:
            self._note("insert", row.key, row.rowversion, row.data)
        return len(rows)

    def _note(self, op: str, key: Key, rowversion: str | int | None, data: bytes) -> None:
        self.log.append(LogEntry(len(self.log) + 1, op, key, rowversion, md5_hex(data)))


class Pending:
    """A write that has its row version but is not visible yet: a late commit."""

    def __init__(self, table: TwinTable, record: Record, rowversion: t.Any) -> None:
        self.table = table
        self.record = record
        self.rowversion = rowversion
        self.is_open = True

    def commit(self) -> str:
        """Make the write visible with the row version taken at `begin()`."""
        self._close()
        return self.table.put(self.record, NULL_ROWVERSION if self.rowversion is None else self.rowversion)

    def rollback(self) -> None:
        """Forget the write."""
        self._close()

    def _close(self) -> None:
        if not self.is_open:
            raise RuntimeError("this write is already committed or rolled back")
        self.is_open = False
