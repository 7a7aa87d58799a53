"""A page of one read: its records as they came, and what the decoder made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.layout import Layout, Refused
from sync_pipelines.batches.records import (
    Reject,
    each_record,
    raw_bytes,
    rowversion_of,
    split_records,
)
from sync_pipelines.batches.typed import TypedReader


def digest_of(text: bytes) -> bytes:
    """A digest by which different texts are distinguished within one run."""
    return hashlib.blake2b(text, digest_size=16).digest()


@dataclass
class Page:
    """A decoded page, at first without its columns: `PageDecoder.settle` makes those for many pages at once.

    Attributes:
        number: running number of the page in its run, from 1.
        body: the records of the answer, kept until the gate has judged them.
        fetched: records in the answer.
        rowversions: rowversion of each good record (None where the source gave none).
        records: the decoded records of a page that is not settled yet, all of them taken for good; else None.
        columns: one array per declared column, good records only; empty until the page is settled. Where columns may
            be coerced, one more array says of each record what was.
        positions: place of each good record in the answer, from 0; None when all are good.
        rejects: records that cannot be stored as declared.
        undeclared: names of fields that the API does not declare.
        refused: records that may not pass although they can be stored, by place in the answer: (column, reason).
        ids: text of the id of each record of an id list.
        reader: made `records`.
        layout: of `body`; None where it is in the form in which records are kept.
    """

    number: int
    body: bytes
    fetched: int
    rowversions: list[str | None]
    records: list[Any] | None = None
    columns: list[pa.Array] = field(default_factory=list)
    positions: list[int] | None = None
    rejects: list[Reject] = field(default_factory=list)
    undeclared: set[str] = field(default_factory=set)
    refused: Refused = field(default_factory=dict)
    ids: list[str | None] = field(default_factory=list)
    reader: TypedReader | None = None
    layout: Layout | None = None

    @cached_property
    def digest(self) -> bytes:
        """Digest of the records as they came; pages with the same one are the same."""
        return digest_of(self.body)

    @cached_property
    def kept_body(self) -> bytes:
        """The records in the form in which they are kept, `{"rows":[…]}`."""
        if self.layout is None:
            return self.body
        kept = self.layout.keep_located(self.body)
        return kept.body

    @cached_property
    def raw_records(self) -> list[str]:
        """The texts of all records of the answer, in the form in which they are kept."""
        return split_records(self.kept_body)

    def each_record(self) -> Iterator[str]:
        """As `raw_records`, one after the other."""
        return each_record(self.kept_body)

    def large_records(self, least_characters: int) -> Iterator[tuple[int, bytes]]:
        """Place and kept form of each record of at least about so many characters."""
        if len(self.body) < least_characters:
            return
        if self.layout is not None:
            yield from self.layout.keep_large(self.body, least_characters)
            return
        for place, raw in enumerate(each_record(self.body)):
            if len(raw) >= least_characters:
                yield place, raw_bytes(raw)

    def position(self, index: int) -> int:
        """Place in the answer of the good record `index`."""
        if self.positions is None:
            return index
        return self.positions[index]

    def drop_after(self, rowversion: str) -> int:
        """Forget the records after the last one of a rowversion, which are read again; returns how many they were.

        Records without rowversion stay: the filter of the next request need not let them pass. A page that has any
        must be settled.
        """
        kept = len(self.rowversions)
        while kept and self.rowversions[kept - 1] != rowversion:
            kept -= 1
        last_place = self.position(kept - 1) if kept else -1
        for reject in self.rejects:
            if reject.rowversion == rowversion:
                last_place = max(last_place, reject.position)
        good = len(self.rowversions)
        while kept < good and self.position(kept) <= last_place:
            kept += 1
        before = self._count
        self.rejects = [
            reject
            for reject in self.rejects
            if reject.position <= last_place or reject.rowversion is None
        ]
        rest = range(kept, good)
        unordered = [index for index in rest if self.rowversions[index] is None]
        if unordered:
            self.keep([*range(kept), *unordered])
        else:
            self._keep_first(kept)
        return before - self._count

    @property
    def _count(self) -> int:
        """Records of the page that count, good ones and rejects."""
        return len(self.rowversions) + len(self.rejects)

    def _keep_first(self, kept: int) -> None:
        """Forget all good records but so many at the beginning; the page need not be settled."""
        self.rowversions = self.rowversions[:kept]
        if self.records is not None:
            self.records = self.records[:kept]
        self.columns = [column.slice(0, kept) for column in self.columns]

    def keep(self, indexes: list[int]) -> None:
        """Forget all good records but these; the page must be settled."""
        places = pa.array(indexes, pa.int64())
        self.columns = [column.take(places) for column in self.columns]
        self.positions = [self.position(index) for index in indexes]
        self.rowversions = [self.rowversions[index] for index in indexes]

    def drop_with_rowversion(self, known: set[str]) -> int:
        """Forget what was read by its rowversion; the page must be settled.

        Args:
            known: texts of records without rowversion that are known already.

        Returns:
            How many records were forgotten.
        """
        before = self._count
        raw = self.raw_records
        new = []
        for index, rowversion in enumerate(self.rowversions):
            if rowversion is None and raw[self.position(index)] not in known:
                new.append(index)
        self.keep(new)
        self.rejects = [
            reject
            for reject in self.rejects
            if reject.rowversion is None and raw[reject.position] not in known
        ]
        return before - self._count

    def without_rowversion(self) -> set[str]:
        """Texts of the records without rowversion that count."""
        places = []
        for index, rowversion in enumerate(self.rowversions):
            if rowversion is None:
                places.append(self.position(index))
        for reject in self.rejects:
            if reject.rowversion is None:
                places.append(reject.position)
        if not places:
            # The texts of a page are cut out of it when they are asked for, which costs more than decoding it.
            return set()
        raw = self.raw_records
        return {raw[place] for place in places}

    def record_digests(self, rowversion: str) -> list[bytes]:
        """Digests of the page's records of one rowversion, to see whether a tie group has come to rest."""
        digests = []
        for raw in self.each_record():
            if rowversion_of(raw) == rowversion:
                record = raw_bytes(raw)
                digests.append(digest_of(record))
        return digests
