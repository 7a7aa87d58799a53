"""Whether the pages of a read by number stayed in place while they were read.

One record with one content on two pages of a read proves that pages moved, so that as many others may have been missed;
unless a second read brings the very same pages, which then hold the record twice.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field

import pyarrow as pa

from sync_pipelines.batches.page import Page

MAX_READS = 3
"""Reads of a list whose pages move, before what came is taken for incomplete."""


@dataclass
class NumberedRead:
    """Takes in one read after another of the same list.

    Attributes:
        reads: begun so far.
        records: in the pages of the last read.
        twice: of these, those that came on an earlier page already.
    """

    reads: int = 0
    records: int = 0
    twice: int = 0
    _pages: list[bytes] = field(default_factory=list)
    _pages_before: list[bytes] = field(default_factory=list)
    _contents: list[pa.Array] = field(default_factory=list)
    _places: list[pa.Array] = field(default_factory=list)

    def begin(self) -> None:
        """Another read of the list begins."""
        self.reads += 1
        self.records = 0
        self.twice = 0
        self._pages_before = self._pages
        self._pages = []
        self._contents = []
        self._places = []

    def note_page(self, page: Page) -> None:
        """Take in a page, before its records are judged."""
        self._pages.append(page.digest)
        self.records += page.fetched

    def note_records(self, pages: list[Page], hashes: pa.Array) -> None:
        """Take in the content hashes of the good records of some pages, in their order."""
        text = "".join(hashes.to_pylist())
        digests = pa.py_buffer(binascii.unhexlify(text))
        # A digest is two integers, of which the first is enough.
        count = 2 * len(hashes)
        halves = pa.UInt64Array.from_buffers(pa.uint64(), count, [None, digests])
        firsts = pa.arange(0, count, 2)
        self._contents.append(halves.take(firsts))
        numbers: list[int] = []
        for page in pages:
            numbers += [page.number] * len(page.rowversions)
        places = pa.array(numbers, pa.uint32())
        self._places.append(places)

    def close(self) -> None:
        """The read is through: count the records that came on two pages."""
        if not self._contents:
            return
        contents = pa.chunked_array(self._contents)
        places = pa.chunked_array(self._places)
        records = pa.table({"content": contents, "page": places})
        by_page = records.group_by(["content", "page"])
        once_a_page = by_page.aggregate([])
        by_content = once_a_page.group_by("content")
        once = by_content.aggregate([])
        self.twice = len(once_a_page) - len(once)
        self._contents = []
        self._places = []

    @property
    def is_repeated(self) -> bool:
        """This read brought the same pages as the one before."""
        return self._pages == self._pages_before

    @property
    def is_still(self) -> bool:
        """Nothing shows that a page moved."""
        return self.twice == 0 or self.is_repeated

    def misses(self, total: int | None) -> bool:
        """Whether fewer records came than the source says that there are."""
        if total is None:
            return False
        different = self.records
        if not self.is_repeated:
            different -= self.twice
        return different < total

    def describe(self, total: int | None) -> str:
        """What a person should know of a read that never came to rest."""
        stated = f" (the source says that there are {total})" if self.misses(total) else ""
        return (
            f"{self.twice} records came twice, on two pages of one read, in each of {self.reads} reads:"
            " the pages moved, and as many"
            f" records may be missing{stated}. Nothing is deleted, and the next run reads everything again."
            " Ask the source to sort, for"
            " example params: {sort: id}"
        )
