"""Schema v2: a table redefined while readers use it."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import replace

from sync_pipelines.twin.rows import Key, LogEntry, Record, Row, encode_json, make_row, md5_hex
from sync_pipelines.twin.schema import TwinColumn

if t.TYPE_CHECKING:
    import threading

    from sync_pipelines.twin.feed import Feed


class EvolvingSchema:
    """The part of a table that changes its own definition.

    As in a real database such a change does not move row versions, unless
    `touch=True` says the source rewrote its rows. Poison rows stay as they are.
    """

    columns: list[TwinColumn]
    business_keys: tuple[str, ...]
    log: list[LogEntry]
    lock: threading.RLock
    _feed: Feed
    _rows: dict[Key, Row]
    _twins: dict[Key, list[Row]]

    def column(self, name: str) -> TwinColumn:
        """Return the declared column.

        Raises:
            KeyError: if there is no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"no column {name!r}")

    def add_column(self, column: TwinColumn, default: t.Any = None, *, touch: bool = False) -> None:
        """Declare a further column and give existing rows the default in it."""
        with self.lock:
            self.columns.append(column)
            self._rewrite(lambda record: record | {column.name: default}, touch)

    def drop_column(self, name: str, *, touch: bool = False) -> None:
        """Take the column out of the declaration and of every row."""
        with self.lock:
            self.columns.remove(self.column(name))
            self._rewrite(lambda record: {key: value for key, value in record.items() if key != name}, touch)

    def change_column(
        self,
        name: str,
        data_type: str | None = None,
        *,
        is_nullable: bool | None = None,
        convert: Callable[[t.Any], t.Any] | None = None,
        touch: bool = False,
    ) -> None:
        """Declare another type or nullability; `convert` also changes the stored values."""
        with self.lock:
            old = self.column(name)
            nullable = old.is_nullable if is_nullable is None else is_nullable
            changed = replace(old, data_type=data_type or old.data_type, is_nullable=nullable)
            self.columns[self.columns.index(old)] = changed
            if convert is not None or touch:
                change = convert or (lambda value: value)
                self._rewrite(lambda record: record | {name: change(record.get(name))}, touch)

    def set_business_keys(self, names: Sequence[str], *, touch: bool = False) -> None:
        """Make other columns the business key and file every row under its new key.

        Raises:
            ValueError: if the new key is not unique over the good rows.
        """
        with self.lock:
            records = [row.record for row in self._rows.values() if not row.poison]
            if len({tuple(record[name] for name in names) for record in records}) < len(records):
                raise ValueError(f"{list(names)} is not unique over {len(records)} rows")
            self.business_keys = tuple(names)
            self._rewrite(lambda record: record, touch)

    def _rewrite(self, change: Callable[[Record], Record], touch: bool) -> None:
        rows = sorted((row for row in self._feed.rows()), key=lambda row: row.seq)
        self._feed.clear()
        self._rows.clear()
        self._twins.clear()
        for row in rows:
            fresh = row if row.poison else self._rewritten(row, change(row.record), touch)
            if fresh.key in self._rows:
                self._twins.setdefault(fresh.key, []).append(fresh)
            else:
                self._rows[fresh.key] = fresh
            if fresh is not row and fresh.line != row.line:
                entry = LogEntry(len(self.log) + 1, "rewrite", fresh.key, fresh.rowversion, md5_hex(fresh.data))
                self.log.append(entry)
            self._feed.add(fresh)

    def _rewritten(self, row: Row, record: Record, touch: bool) -> Row:
        if touch:
            return self._row(record, self._version(None))  # type: ignore[attr-defined]
        key = self.key_of(record)  # type: ignore[attr-defined]
        keys_json = self._keys_json(key)  # type: ignore[attr-defined]
        return make_row(key, row.rowversion, row.seq, keys_json, encode_json(record), row.poison)
