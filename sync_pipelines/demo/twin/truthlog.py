"""The append-only log of everything that ever happened to a table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, overload

from sync_pipelines.demo.twin.rows import Key, Rowversion


class LogEntry(NamedTuple):
    """One operation; `md5` is the hex digest of the bytes of `data` after it.

    `op` is insert, update, touch, delete, poison, duplicate or rewrite (the
    row followed a change of schema).
    """

    op_id: int
    op: str
    key: Key
    rowversion: Rowversion
    md5: str


class TruthLog(Sequence[LogEntry]):
    """Reads like a list of `LogEntry`, but keeps columns: 40 bytes an entry instead of 200."""

    _DIGEST_BYTES = 16

    def __init__(self) -> None:
        self._ops: list[str] = []
        self._keys: list[Key] = []
        self._rowversions: list[Rowversion] = []
        self._digests = bytearray()

    def append(self, op: str, key: Key, rowversion: Rowversion, data: bytes) -> None:
        """Note one operation."""
        self._ops.append(op)
        self._keys.append(key)
        self._rowversions.append(rowversion)
        digest = hashlib.md5(data, usedforsecurity=False)
        self._digests += digest.digest()

    def __len__(self) -> int:
        return len(self._ops)

    @overload
    def __getitem__(self, index: int) -> LogEntry: ...

    @overload
    def __getitem__(self, index: slice) -> list[LogEntry]: ...

    def __getitem__(self, index: int | slice) -> LogEntry | list[LogEntry]:
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            return [self[place] for place in places]
        # A range reads a negative index and refuses one beyond the end, as a list does.
        place = range(len(self))[index]
        start = place * self._DIGEST_BYTES
        digest = self._digests[start : start + self._DIGEST_BYTES]
        return LogEntry(
            op_id=place + 1,
            op=self._ops[place],
            key=self._keys[place],
            rowversion=self._rowversions[place],
            md5=digest.hex(),
        )
