"""Schema v2: a table redefined while readers use it."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sync_pipelines.demo.twin.rows import AnyRecord, Record, Row
from sync_pipelines.demo.twin.schema import TwinColumn
from sync_pipelines.demo.twin.shelf import Shelf


class EvolvingSchema(abc.ABC):
    """The part of a table that changes its own definition.

    As in a real database such a change does not move row versions, unless
    `touch=True` says the source rewrote its rows. Poison rows stay as they are.
    """

    columns: list[TwinColumn]
    business_keys: tuple[str, ...]
    lock: threading.RLock
    _shelf: Shelf

    @abc.abstractmethod
    def _row(self, record: AnyRecord, version: Any, seq: int | None = None) -> Row:
        """Encode a record; a new arrival number if `seq` is None."""

    @abc.abstractmethod
    def _version(self, given: Any) -> Any:
        """Return the row version to write."""

    def column(self, name: str) -> TwinColumn:
        """Return the declared column.

        Raises:
            KeyError: if there is no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"no column {name!r}")

    def add_column(self, column: TwinColumn, default: Any = None, *, touch: bool = False) -> None:
        """Declare a further column and give existing rows the default in it."""

        def extended(record: Record) -> Record:
            return record | {column.name: default}

        with self.lock:
            self.columns.append(column)
            self._rewrite(extended, touch)

    def drop_column(self, name: str, *, touch: bool = False) -> None:
        """Take the column out of the declaration and of every row."""

        def reduced(record: Record) -> Record:
            return {key: value for key, value in record.items() if key != name}

        with self.lock:
            dropped = self.column(name)
            self.columns.remove(dropped)
            self._rewrite(reduced, touch)

    def change_column(
        self,
        name: str,
        data_type: str | None = None,
        *,
        is_nullable: bool | None = None,
        convert: Callable[[Any], Any] | None = None,
        touch: bool = False,
    ) -> None:
        """Declare another type or nullability; `convert` also changes the stored values."""

        def converted(record: Record) -> Record:
            if convert is None:
                return record
            value = record.get(name)
            return record | {name: convert(value)}

        with self.lock:
            old = self.column(name)
            place = self.columns.index(old)
            if is_nullable is None:
                is_nullable = old.is_nullable
            if not data_type:
                data_type = old.data_type
            self.columns[place] = replace(old, data_type=data_type, is_nullable=is_nullable)
            if touch or convert is not None:
                self._rewrite(converted, touch)

    def set_business_keys(self, names: Sequence[str], *, touch: bool = False) -> None:
        """Make other columns the business key and file every row under its new key.

        Raises:
            ValueError: if the new key is not unique over the good rows.
        """
        with self.lock:
            records = [row.record for row in self._shelf.good_rows()]
            keys = set()
            for record in records:
                key = tuple(record[name] for name in names)
                keys.add(key)
            if len(keys) < len(records):
                raise ValueError(f"{list(names)} is not unique over {len(records)} rows")
            self.business_keys = tuple(names)
            self._rewrite(_unchanged, touch)

    def _rewrite(self, change: Callable[[Record], Record], touch: bool) -> None:
        def rewritten(row: Row) -> Row:
            record = change(row.record)
            if touch:
                version = self._version(None)
                return self._row(record, version)
            return self._row(record, row.rowversion, row.seq)

        self._shelf.rewrite(rewritten)


def _unchanged(record: Record) -> Record:
    return record
