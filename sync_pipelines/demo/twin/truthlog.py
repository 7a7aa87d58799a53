"""The append-only log of everything that ever happened to a table."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Sequence

from sync_pipelines.demo.twin.rows import Key


class LogEntry(t.NamedTuple):
    """One operation; `md5` is the hex digest of the bytes of `data` after it.

    `op` is insert, update, touch, delete, poison, duplicate or rewrite (the
    row followed a change of schema).
    """

    op_id: int
    op: str
    key: Key
    rowversion: str | int | None
    md5: str


class TruthLog(Sequence[LogEntry]):
    """Reads like a list of `LogEntry`, but keeps columns: 40 bytes an entry instead of 200."""

    _DIGEST_BYTES = 16

    def __init__(self) -> None:
        self._ops: list[str] = []
        self._keys: list[Key] = []
        self._rowversions: list[str | int | None] = []
        self._digests = bytearray()

    def append(self, op: str, key: Key, rowversion: str | int | None, data: bytes) -> None:
        """Note one operation."""
        self._ops.append(op)
        self._keys.append(key)
        self._rowversions.append(rowversion)
        self._digests += hashlib.md5(data, usedforsecurity=False).digest()

    def __len__(self) -> int:
        return len(self._ops)

    @t.overload
    def __getitem__(self, index: int) -> LogEntry: ...

    @t.overload
    def __getitem__(self, index: slice) -> list[LogEntry]: ...

    def __getitem__(self, index: int | slice) -> LogEntry | list[LogEntry]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self._ops))[index]
        start = at * self._DIGEST_BYTES
        md5 = self._digests[start : start + self._DIGEST_BYTES].hex()
        return LogEntry(at + 1, self._ops[at], self._keys[at], self._rowversions[at], md5)
