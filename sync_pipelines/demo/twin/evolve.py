"""Schema v2: a table redefined while readers use it."""

from __future__ import annotations

import abc
import threading
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sync_pipelines.demo.twin.rows import Record, Row
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
    def _row(self, record: Mapping[str, t.Any], version: t.Any, seq: int | None = None) -> Row:
        """Encode a record; a new arrival number if `seq` is None."""

    @abc.abstractmethod
    def _version(self, given: t.Any) -> t.Any:
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

    def add_column(self, column: TwinColumn, default: t.Any = None, *, touch: bool = False) -> None:
        """Declare a further column and give existing rows the default in it."""
        with self.lock:
            self.columns.append(column)
            self._rewrite(lambda record: record | {column.name: default}, touch)

    def drop_column(self, name: str, *, touch: bool = False) -> None:
        """Take the column out of the declaration and of every row."""
        with self.lock:
            self.columns.remove(self.column(name))
            self._rewrite(
                lambda record: {key: value for key, value in record.items() if key != name}, touch
            )

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
            self.columns[self.columns.index(old)] = replace(
                old, data_type=data_type or old.data_type, is_nullable=nullable
            )
            if convert is not None:
                self._rewrite(lambda record: record | {name: convert(record.get(name))}, touch)
            elif touch:
                self._rewrite(lambda record: record, touch)

    def set_business_keys(self, names: Sequence[str], *, touch: bool = False) -> None:
        """Make other columns the business key and file every row under its new key.

        Raises:
            ValueError: if the new key is not unique over the good rows.
        """
        with self.lock:
            records = [row.record for row in self._shelf.good_rows()]
            if len({tuple(record[name] for name in names) for record in records}) < len(records):
                raise ValueError(f"{list(names)} is not unique over {len(records)} rows")
            self.business_keys = tuple(names)
            self._rewrite(lambda record: record, touch)

    def _rewrite(self, change: Callable[[Record], Record], touch: bool) -> None:
        def rewritten(row: Row) -> Row:
            if touch:
                return self._row(change(row.record), self._version(None))
            return self._row(change(row.record), row.rowversion, row.seq)

        self._shelf.rewrite(rewritten)
