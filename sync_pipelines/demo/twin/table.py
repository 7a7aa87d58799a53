"""A table of the twin: writes, the log of truth, and pages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sync_pipelines.demo.twin.evolve import EvolvingSchema
from sync_pipelines.demo.twin.feed import Comparator, TieOrder
from sync_pipelines.demo.twin.pending import Pending
from sync_pipelines.demo.twin.rows import (
    AnyRecord,
    Key,
    NullRowversion,
    Record,
    Row,
    Rowversion,
    RowversionArgument,
    digest_rows,
    encode_json,
    json_view,
    make_row,
)
from sync_pipelines.demo.twin.rowversions import Rowversions, TimestampRowversions
from sync_pipelines.demo.twin.schema import DeltaStrategy, TwinColumn
from sync_pipelines.demo.twin.shelf import Shelf
from sync_pipelines.demo.twin.truthlog import TruthLog


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
        extra: Mapping[str, Any] | None = None,
        *,
        order_ties: TieOrder | None = None,
        rowversion_column: str | None = None,
    ) -> None:
        self.slug = slug
        self.name = name or slug
        self.description = description
        self.columns = list(columns)
        declared_keys = [column.name for column in columns if column.is_business_key]
        self.business_keys = tuple(business_keys or declared_keys)
        self.delta_strategy = delta_strategy
        self.rowversions = rowversions or TimestampRowversions()
        self.has_rowversion = has_rowversion
        self.page_cap = page_cap
        self.sorted_pages = sorted_pages
        self.order_ties = order_ties
        self.rowversion_column = rowversion_column
        self.extra = dict(extra or {})
        self.lock = threading.RLock()
        self._shelf = Shelf(comparator)

    def __len__(self) -> int:
        return len(self._shelf.feed)

    def __contains__(self, key: Key) -> bool:
        return key in self._shelf.rows

    @property
    def log(self) -> TruthLog:
        """Everything that happened to the table, oldest first."""
        return self._shelf.log

    def describe(self) -> dict[str, Any]:
        """Return the table as `GET /api/v1/apis` lists it."""
        with self.lock:
            columns = [column.describe(self.business_keys) for column in self.columns]
            return {
                "slug": self.slug,
                "name": self.name,
                "description": self.description,
                "columns": columns,
                "business_key_columns": list(self.business_keys),
                "delta_strategy": self.delta_strategy,
                **self.extra,
            }

    def key_of(self, record: AnyRecord) -> Key:
        """Return the record's business key as a reader would see it."""
        try:
            values = [record[name] for name in self.business_keys]
        except KeyError as error:
            message = f"record has no business key column {error}; use put_raw() for broken rows"
            raise KeyError(message) from None
        return tuple(map(json_view, values))

    def put(self, record: AnyRecord, rowversion: RowversionArgument = None) -> Rowversion:
        """Insert or update by business key; return the row version given."""
        with self.lock:
            version = self._version(rowversion)
            row = self._row(record, version)
            self._shelf.write(row)
            return version

    def put_many(
        self,
        records: Iterable[AnyRecord],
        rowversions: Sequence[RowversionArgument] | None = None,
    ) -> int:
        """Insert or update many records at once; return how many."""
        with self.lock:
            given = itertools.repeat(None) if rowversions is None else iter(rowversions)
            rows = []
            for record in records:
                version = self._version(next(given))
                rows.append(self._row(record, version))
            self._shelf.write_many(rows)
        return len(rows)

    def put_encoded(
        self,
        keys: Iterable[Key],
        rowversions: Iterable[str | None],
        keys_json: Iterable[bytes],
        data: Iterable[bytes],
    ) -> int:
        """Load rows whose JSON is already made; the fastest way in, the caller vouches for the bytes."""
        with self.lock:
            rows = []
            for key, version, key_json, body in zip(
                keys, rowversions, keys_json, data, strict=True
            ):
                if not self.has_rowversion:
                    version = None
                seq = self._shelf.next_seq()
                rows.append(make_row(key, version, seq, key_json, body))
            self._shelf.write_many(rows)
        return len(rows)

    def put_raw(
        self,
        key: Key,
        data_json: bytes,
        rowversion: RowversionArgument = None,
        oracle_keys_json: bytes | None = None,
        *,
        duplicate: bool = False,
        poison: bool = True,
    ) -> Rowversion:
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
            seq = self._shelf.next_seq()
            if oracle_keys_json is None:
                oracle_keys_json = self._keys_json(key)
            row = make_row(key, version, seq, oracle_keys_json, data_json, poison)
            if duplicate and key in self:
                self._shelf.add_twin(row)
            else:
                self._shelf.write(row, "poison" if poison else None)
            return version

    def delete(self, key: Key) -> None:
        """Remove every row of the key; the feed keeps no trace, as in S2.

        Raises:
            KeyError: if there is no such key.
        """
        with self.lock:
            self._shelf.remove(key)

    def touch(self, key: Key, rowversion: RowversionArgument = None) -> Rowversion:
        """Give the row a new row version and leave its content as it is."""
        with self.lock:
            row = self._shelf.rows[key]
            version = self._version(rowversion)
            if row.poison or self.rowversion_column is None:
                seq = self._shelf.next_seq()
                fresh = make_row(key, version, seq, row.oracle_keys, row.data, row.poison)
            else:
                fresh = self._row(row.record, version)
            self._shelf.write(fresh, "touch", keep_twins=True)
            return version

    def begin(self, record: AnyRecord, rowversion: RowversionArgument = None) -> Pending:
        """Take a row version now for a write that becomes visible at `commit()`."""
        with self.lock:
            version = self._version(rowversion)
            return Pending(self, dict(record), version)

    def get(self, key: Key) -> Record | None:
        """Return the current good record of the key, or None."""
        with self.lock:
            row = self._shelf.good_row(key)
        return row.record if row else None

    def keys(self) -> list[Key]:
        """Return the keys that have a good row, in order of first insertion."""
        with self.lock:
            return [row.key for row in self._shelf.good_rows()]

    def truth(self) -> dict[Key, Record]:
        """Return the visible good rows by key: what a reader must end up with.

        Of several rows with one key the highest (row version, arrival) counts.
        """
        return {row.key: row.record for row in self._snapshot()}

    def truth_digest(self) -> tuple[int, str]:
        """Return `truth_digest(self.truth())` without holding all records at once."""
        rows = self._snapshot()
        return digest_rows((row.key, row) for row in rows)

    @property
    def poison_keys(self) -> set[Key]:
        """Keys with at least one poison row in the feed."""
        with self.lock:
            return self._shelf.poison_keys()

    def page(self, rowversion_gt: str | None = None, page: int = 1, page_size: int = 1000) -> bytes:
        """Return the body of one page.

        Raises:
            ValueError: if the comparator cannot read `rowversion_gt`.
        """
        if self.page_cap:
            page_size = min(page_size, self.page_cap)
        ties = self.order_ties or "stable"
        feed = self._shelf.feed
        with self.lock:
            rows = feed.page(rowversion_gt, page, page_size, ties=ties, sort=self.sorted_pages)
        lines = [row.line for row in rows]
        return b'{"rows":[' + b",".join(lines) + b"]}"

    def _version(self, given: RowversionArgument) -> Rowversion:
        if isinstance(given, NullRowversion) or not self.has_rowversion:
            return None
        return self.rowversions() if given is None else given

    def _snapshot(self) -> list[Row]:
        with self.lock:
            return list(self._shelf.good_rows())

    def _keys_json(self, key: Key) -> bytes:
        names_and_values = zip(self.business_keys, key, strict=True)
        return encode_json(dict(names_and_values))

    def _row(self, record: AnyRecord, version: Any, seq: int | None = None) -> Row:
        if self.rowversion_column is not None:
            record = {**record, self.rowversion_column: version}
        key = self.key_of(record)
        if seq is None:
            seq = self._shelf.next_seq()
        keys_json = self._keys_json(key)
        data_json = encode_json(record)
        return make_row(key, version, seq, keys_json, data_json)
