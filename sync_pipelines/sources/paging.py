"""How a whole source is read page by page without losing a row that moves while we read.

SyncFlow's own loop (a fixed `rowversion_gt`, page 1, 2, 3, …) loses every row that an update moves across a page
boundary. The keyset protocol asks only for page 1 and moves `rowversion_gt` to the last rowversion whose rows are
surely complete. The records of the last rowversion of a full page are read again with the next one, which may hold the
rest of them; only that second reading counts. Proof and limits: docs/promise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.errors import CursorProtocolError, SourceContractError, UnsortedPageError
from sync_pipelines.model.cursor import Codec, check_page_order, infer_codec, order_key

MAX_TIE_PASSES = 10


@dataclass(frozen=True)
class Answer:
    """What the protocol needs to know of a page.

    Attributes:
        page: the decoded page, passed through untouched.
        rowversions: of all records that have one, in order.
        count: records in the answer, also the bad ones.
    """

    page: Any
    rowversions: list[str]
    count: int

    @property
    def digest(self) -> bytes:
        """Digest of the answer's bytes."""
        digest: bytes = self.page.digest
        return digest


@dataclass
class Reading:
    """State of a read, for the cursor and the run's account.

    Attributes:
        codec: as given, or inferred from the first page.
        last: highest rowversion read.
        below_last: highest rowversion read that is lower than `last`.
        drained: False when a tie group never came to rest, so that its end is not sure.
        is_filtered: the read went on by a filter, which records without rowversion do not pass.
        by_number: records without rowversion were read by page number, where a row can hide between two pages.
        largest_page: most records of an answer.
    """

    codec: Codec | None
    last: str | None = None
    below_last: str | None = None
    drained: bool = True
    is_filtered: bool = False
    by_number: bool = False
    largest_page: int = 0
    warnings: list[str] = field(default_factory=list)

    def note(self, rowversions: list[str]) -> None:
        """Take in the rowversions of a page, which are in order unless the codec is opaque."""
        for rowversion in (rowversions[0], rowversions[-1]) if rowversions else ():
            if self.last is None or self._later(rowversion, self.last):
                self.last = rowversion
        below = _last_below(rowversions, self.last)
        if below is not None and (self.below_last is None or self._later(below, self.below_last)):
            self.below_last = below

    def is_below_last(self, rowversion: str) -> bool:
        """Whether a rowversion is lower than the highest one read, as far as anything tells."""
        if self.codec is None or self.codec is Codec.OPAQUE or self.last is None:
            return False
        return bool(order_key(self.codec, rowversion) < order_key(self.codec, self.last))

    def _later(self, left: str, right: str) -> bool:
        assert self.codec is not None
        return self.codec is Codec.OPAQUE or order_key(self.codec, left) > order_key(
            self.codec, right
        )


@dataclass(frozen=True)
class Piece:
    """An answer to work on.

    Attributes:
        page: the decoded page.
        keep_until: last rowversion that counts here; what follows it is read again. None = all counts.
        repeated: the same bytes were worked on before, so that nothing of them counts.
        only_without_rowversion: the others were read by their rowversions.
        is_closing: of the second reading of the last stretch.
    """

    page: Any
    keep_until: str | None = None
    repeated: bool = False
    only_without_rowversion: bool = False
    is_closing: bool = False


Fetch = Callable[[str | None, int, int], Answer]


def read_keyset(
    fetch: Fetch,
    reading: Reading,
    *,
    after: str | None,
    page_size: int,
    max_pages: int,
    confirm_end: bool,
) -> Iterator[Piece]:
    """Read everything greater than `after` in rowversion order.

    Args:
        fetch: gets (rowversion_gt, page, page_size) and returns the answer.
        reading: filled while reading.
        after: the cursor, None = from the beginning.
        page_size: records to ask for.
        max_pages: most answers of one run.
        confirm_end: ask twice before believing that there is no more (full reads, whose absences delete).

    Yields:
        Every answer that has records, in the order read.

    Raises:
        CursorProtocolError: the source does not sort or filter as the protocol needs.

    Records without rowversion are yielded where they come before the others; what comes after them is for `read_tail`.
    """
    return _Keyset(
        fetch,
        reading,
        after=after,
        page_size=page_size,
        max_pages=max_pages,
        confirm_end=confirm_end,
    ).pieces()


class _Keyset:
    """The state of one read by rowversions; see `read_keyset`."""

    def __init__(
        self,
        fetch: Fetch,
        reading: Reading,
        *,
        after: str | None,
        page_size: int,
        max_pages: int,
        confirm_end: bool,
    ) -> None:
        self.fetch = fetch
        self.reading = reading
        self.position = after
        self.page_size = page_size
        self.max_pages = max_pages
        self.confirm_end = confirm_end
        # Records of a full page, as far as the source sends that many.
        self.size = page_size
        self.asked = 0
        # The page to ask for, which is above 1 only behind records without rowversion.
        self.first = 1
        self.first_size = page_size
        self.unordered: set[bytes] = set()

    def pieces(self) -> Iterator[Piece]:
        """Every answer that has records, in the order read."""
        while True:
            answer = self.fetch(self.position, self.first, self.first_size)
            self.asked = _count_page(self.asked, self.max_pages)
            self.reading.largest_page = max(self.reading.largest_page, answer.count)
            if answer.count == 0:
                if self._is_over():
                    return
                continue
            if not answer.rowversions:
                is_last = self._note_unordered(answer)
                yield Piece(answer.page)
                if is_last:
                    return
                continue
            _check(answer, self.reading, self.position)
            self.size = max(self.size, min(answer.count, self.page_size))
            if answer.count < self.size and self._is_last(answer):
                self.reading.note(answer.rowversions)
                yield Piece(answer.page)
                return
            yield from self._move_on(answer)

    def _is_over(self) -> bool:
        """Whether an empty answer is the end."""
        if self.confirm_end and self.fetch(self.position, self.first, self.first_size).count:
            return False
        if self.unordered and self.reading.last is None:
            self.reading.warnings.append("read by page number, because no record has a rowversion")
        return True

    def _note_unordered(self, answer: Answer) -> bool:
        """Take in a page without any rowversion; True when it is the last one."""
        if self.position is not None:
            if answer.count < self.size and self.fetch(self.position, 2, answer.count).count == 0:
                return True
            raise CursorProtocolError(
                "No record of the page has a usable rowversion, so the read cannot follow them."
            )
        # Ordered below all others. They are passed by page number.
        self.reading.by_number = True
        if answer.digest in self.unordered:
            raise SourceContractError(
                f"Page {self.first} repeats an earlier page byte for byte: the source is looping."
            )
        self.unordered.add(answer.digest)
        if self.first == 1:
            self.first_size = answer.count
        self.first += 1
        return False

    def _is_last(self, answer: Answer) -> bool:
        """Whether a short answer is the end, and not that of a server that caps its pages.

        Only an empty second page tells, of the size that came, since some servers count their offset by the size that
        was asked for.
        """
        next_size = answer.count if self.first == 1 else self.first_size
        second = self.fetch(self.position, self.first + 1, next_size)
        self.asked = _count_page(self.asked, self.max_pages)
        if second.count == 0 and self.confirm_end:
            second = self.fetch(self.position, self.first + 1, next_size)
        if second.count == 0:
            return True
        if second.digest == answer.digest:
            third = self.fetch(self.position, self.first + 2, next_size)
            if third.digest == answer.digest:
                raise SourceContractError(
                    "The source sends the same records for page 1 and page 2; it ignores `page`."
                )
        if self.first == 1:
            self.size = answer.count
        return False

    def _move_on(self, answer: Answer) -> Iterator[Piece]:
        """Yield what is complete of an answer and move the position behind it."""
        tie = answer.rowversions[-1]
        border = _last_below(answer.rowversions, tie)
        if border is not None:
            self.reading.note(_until(answer.rowversions, border))
            yield Piece(answer.page, keep_until=border)
            self.position = border
        else:
            group = _Tie(self.fetch, self.reading, self.position, tie, self.max_pages - self.asked)
            yield from group.drain(self.first, self.first_size)
            self.asked = _count_page(self.asked, self.max_pages, group.requests)
            self.position = tie
        self.reading.is_filtered = True
        self.first = 1
        self.first_size = self.page_size


def read_tail(
    fetch: Fetch, reading: Reading, *, known: int, page_size: int, max_pages: int
) -> Iterator[Piece]:
    """Records without rowversion that an unfiltered read has after all others.

    The read by rowversions never comes there.

    Args:
        fetch, max_pages: as for `read_keyset`.
        reading: of a read that went on by a filter.
        known: records that were read by their rowversions, so that the first page to look at is known.
        page_size: records to ask for.

    Yields:
        Answers in which only the records without rowversion count.

    Raises:
        UnsortedPageError: records that were not read come last, but have no higher rowversion than those that were.
    """
    size = min(page_size, reading.largest_page)
    number, asked = known // size + 1, 1
    answer = fetch(None, number, size)
    while number > 1 and not answer.rowversions:
        asked = _count_page(asked, max_pages)
        number -= 1
        answer = fetch(None, number, size)
    there, last = (number - 1) * size, None
    while answer.count:
        _check(answer, reading, None)
        there, last = there + answer.count, answer.rowversions[-1] if answer.rowversions else last
        has_some = len(answer.rowversions) < answer.count
        if has_some:
            reading.by_number = True
            yield Piece(answer.page, only_without_rowversion=True)
        elif answer.count < size:
            break
        asked = _count_page(asked, max_pages)
        number += 1
        answer = fetch(None, number, size)
    if there > known and last is not None and reading.is_below_last(last):
        error = UnsortedPageError(
            f"The last page ends with the rowversion {last!r} although {reading.last!r} came before it,"
            " and has records that were not read."
        )
        error.is_certain = False
        raise error


class _Tie:
    """A group of equal rowversions that fills a page.

    Attributes:
        position: the rowversion below the group.
        tie: the rowversion of the group.
        budget: most requests.
        requests: those that were made.
    """

    def __init__(
        self, fetch: Fetch, reading: Reading, position: str | None, tie: str, budget: int
    ) -> None:
        self.fetch = fetch
        self.reading = reading
        self.position = position
        self.tie = tie
        self.budget = budget
        self.requests = 0
        self._pages: set[bytes] = set()
        self._group: list[bytes] = []

    def drain(self, first: int, page_size: int) -> Iterator[Piece]:
        """Read the group by page number, again and again until nothing can be missing.

        A source that orders equal rowversions anew for every request shows some records twice and others not at all in
        one pass. So a pass without news ends the group only when as many different records are known as the pass had in
        all, or when it went exactly as the pass before.
        """
        seen: set[bytes] = set()
        previous: list[bytes] | None = None
        for _ in range(MAX_TIE_PASSES):
            known = len(seen)
            yield from self._read_once(first, page_size)
            group = self._group
            seen.update(group)
            has_news = len(seen) > known
            if (
                previous is not None
                and not has_news
                and (len(seen) >= len(group) or group == previous)
            ):
                return
            previous = group
        self.reading.drained = False
        self.reading.warnings.append(
            f"the records of rowversion {self.tie} did not come to rest in {MAX_TIE_PASSES} passes"
        )

    def _read_once(self, first: int, page_size: int) -> Iterator[Piece]:
        """One pass over the group, whose record digests become `_group`."""
        self._group = []
        number = first
        size = page_size
        while True:
            answer = self.fetch(self.position, number, size)
            self.requests += 1
            if self.requests > self.budget:
                raise _too_many(self.requests)
            if answer.count:
                _check(answer, self.reading, self.position)
                self.reading.note(_until(answer.rowversions, self.tie))
                yield Piece(answer.page, keep_until=self.tie, repeated=answer.digest in self._pages)
                self._pages.add(answer.digest)
            self._group += answer.page.record_digests(self.tie)
            # A short page proves nothing here: only an empty one, or a later rowversion, ends the group.
            if answer.rowversions[-1:] != [self.tie]:
                return
            # Ask on in pages of the size that came: a server that caps its pages may count the offset either way.
            size = answer.count if number == 1 else size
            number += 1


def read_pages(
    fetch: Fetch, *, page_size: int, max_pages: int, after: str | None = None
) -> Iterator[Piece]:
    """Read everything greater than `after` by page number until an empty page, as SyncFlow does for sources without
    rowversions.

    Yields:
        As `read_keyset`; nothing is read again.

    Raises:
        SourceContractError: the source repeats a page instead of ending.
    """
    previous: set[bytes] = set()
    for number in range(1, max_pages + 1):
        answer = fetch(after, number, page_size)
        if answer.count == 0:
            if fetch(after, number, page_size).count:
                raise SourceContractError(
                    f"Page {number} was empty once and had records when asked again."
                )
            return
        if answer.digest in previous:
            raise SourceContractError(
                f"Page {number} repeats an earlier page byte for byte: the source is looping."
            )
        previous.add(answer.digest)
        yield Piece(answer.page)
    raise _too_many(max_pages)


def note_unsorted(reading: Reading, rowversions: list[str]) -> None:
    """Take in the rowversions of a page that came in the source's own order.

    Raises:
        CursorProtocolError: only the source could tell which of them is later.
    """
    if not rowversions:
        return
    if reading.codec is None:
        reading.codec = infer_codec(rowversions)
    codec = reading.codec
    if codec is Codec.OPAQUE:
        raise CursorProtocolError(
            f"Nothing tells which of the cursor values {rowversions[0]!r} and {rowversions[-1]!r} is later.",
            next_command="declare cursor.codec in the connector's file, or the strategy full",
        )
    # With the last one known, which may be just below a later one of this page.
    known = rowversions if reading.last is None else [*rowversions, reading.last]
    ordered = sorted(known, key=lambda rowversion: order_key(codec, rowversion))
    check_page_order(codec, ordered, None)
    reading.note(ordered)


def _check(answer: Answer, reading: Reading, position: str | None) -> None:
    if reading.codec is None and answer.rowversions:
        reading.codec = infer_codec(answer.rowversions)
    if reading.codec is not None:
        check_page_order(reading.codec, answer.rowversions, position)


def _until(rowversions: list[str], last: str) -> list[str]:
    """The rowversions up to the last one that counts; what is read again has not been read yet."""
    kept = len(rowversions)
    while kept and rowversions[kept - 1] != last:
        kept -= 1
    return rowversions[:kept]


def _last_below(rowversions: list[str], last: str | None) -> str | None:
    """The last rowversion of a sorted page that is not `last`."""
    for rowversion in reversed(rowversions):
        if rowversion != last:
            return rowversion
    return None


def _count_page(asked: int, max_pages: int, more: int = 1) -> int:
    if asked + more > max_pages:
        raise _too_many(asked + more)
    return asked + more


def _too_many(pages: int) -> SourceContractError:
    return SourceContractError(
        f"The source was asked {pages} times in one run without coming to an end.",
        next_command="raise MAX_PAGES if it really holds that much",
    )
