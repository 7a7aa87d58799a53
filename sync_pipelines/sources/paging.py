"""How a whole source is read page by page without losing a row that moves while we read.

SyncFlow's own loop (a fixed `rowversion_gt`, page 1, 2, 3, …) loses every row that an update moves across a page
boundary. The keyset protocol asks only for page 1 and moves `rowversion_gt` to the last rowversion whose rows are
surely complete. The records of the last rowversion of a full page are read again with the next one, which may hold the
rest of them; only that second reading counts. Proof and limits: docs/promise.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from sync_pipelines.errors import CursorProtocolError, SourceContractError, UnsortedPageError
from sync_pipelines.sources.reading import (
    Answer,
    PageBudget,
    Pager,
    Piece,
    Reading,
    last_below,
    too_many_pages,
    until,
)
from sync_pipelines.sources.ties import TieGroup


def read_keyset(
    pager: Pager,
    reading: Reading,
    *,
    after: str | None,
    confirm_end: bool,
) -> Iterator[Piece]:
    """Read everything greater than `after` in rowversion order.

    Args:
        pager: asks for pages.
        reading: filled while reading.
        after: the cursor, None = from the beginning.
        confirm_end: ask twice before believing that there is no more (full reads, whose absences delete).

    Yields:
        Every answer that has records, in the order read.

    Raises:
        CursorProtocolError: the source does not sort or filter as the protocol needs.

    Records without rowversion are yielded where they come before the others; what comes after them is for `read_tail`.
    """
    return _Keyset(pager, reading, after, confirm_end=confirm_end).pieces()


class _Keyset:
    """The state of one read by rowversions; see `read_keyset`."""

    def __init__(
        self,
        pager: Pager,
        reading: Reading,
        after: str | None,
        *,
        confirm_end: bool,
    ) -> None:
        self.fetch = pager.fetch
        self.page_size = pager.page_size
        self.reading = reading
        self.position = after
        self.confirm_end = confirm_end
        self.budget = PageBudget(pager.max_pages)
        # Records of a full page, as far as the source sends that many.
        self.size = pager.page_size
        # The page to ask for, which is above 1 only behind records without rowversion.
        self.first = 1
        self.first_size = pager.page_size
        self.unordered: set[bytes] = set()

    def pieces(self) -> Iterator[Piece]:
        """Every answer that has records, in the order read."""
        while True:
            answer = self._fetch_first()
            self.budget.spend()
            self.reading.note_size(answer.count)
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
            self.reading.check(answer, self.position)
            usual = min(answer.count, self.page_size)
            self.size = max(self.size, usual)
            if answer.count < self.size and self._is_last(answer):
                self.reading.note(answer.rowversions)
                yield Piece(answer.page)
                return
            yield from self._move_on(answer)

    def _fetch_first(self) -> Answer:
        return self.fetch(self.position, self.first, self.first_size)

    def _is_over(self) -> bool:
        """Whether an empty answer is the end."""
        if self.confirm_end:
            again = self._fetch_first()
            if again.count:
                return False
        if self.unordered and self.reading.last is None:
            self.reading.warnings.append("read by page number, because no record has a rowversion")
        return True

    def _note_unordered(self, answer: Answer) -> bool:
        """Take in a page without any rowversion; True when it is the last one."""
        if self.position is not None:
            if answer.count < self.size:
                second = self.fetch(self.position, 2, answer.count)
                if second.count == 0:
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

        Only an empty second page proves it, of the size that came, since some servers count their offset by the size
        that was asked for.
        """
        next_size = answer.count if self.first == 1 else self.first_size
        second_number = self.first + 1
        second = self.fetch(self.position, second_number, next_size)
        self.budget.spend()
        if second.count == 0 and self.confirm_end:
            second = self.fetch(self.position, second_number, next_size)
        if second.count == 0:
            return True
        if second.digest == answer.digest:
            third = self.fetch(self.position, second_number + 1, next_size)
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
        border = last_below(answer.rowversions, tie)
        if border is not None:
            complete = until(answer.rowversions, border)
            self.reading.note(complete)
            yield Piece(answer.page, keep_until=border)
            self.position = border
        else:
            budget = self.budget.rest()
            group = TieGroup(
                self.fetch,
                self.reading,
                self.position,
                tie,
                budget,
            )
            yield from group.drain(self.first, self.first_size)
            self.budget.spend(budget.asked)
            self.position = tie
        self.reading.is_filtered = True
        self.first = 1
        self.first_size = self.page_size


def read_tail(
    pager: Pager,
    reading: Reading,
    *,
    known: int,
) -> Iterator[Piece]:
    """Records without rowversion that an unfiltered read has after all others.

    The read by rowversions never comes there.

    Args:
        pager: asks for pages.
        reading: of a read that went on by a filter.
        known: records that were read by their rowversions, so that the first page to look at is known.

    Yields:
        Answers in which only the records without rowversion count.

    Raises:
        UnsortedPageError: records that were not read come last, but have no higher rowversion than those that were.
    """
    size = min(pager.page_size, reading.largest_page)
    budget = PageBudget(pager.max_pages)
    number = known // size + 1
    answer = pager.fetch(None, number, size)
    budget.spend()
    while number > 1 and not answer.rowversions:
        number -= 1
        answer = _spend_and_fetch(pager, budget, number, size)
    found = (number - 1) * size
    last: str | None = None
    while answer.count:
        reading.check(answer, None)
        found += answer.count
        if answer.rowversions:
            last = answer.rowversions[-1]
        has_some = len(answer.rowversions) < answer.count
        if has_some:
            reading.by_number = True
            yield Piece(answer.page, only_without_rowversion=True)
        elif answer.count < size:
            break
        number += 1
        answer = _spend_and_fetch(pager, budget, number, size)
    if found > known and last is not None:
        _check_end_of_tail(reading, last)


def _check_end_of_tail(reading: Reading, last: str) -> None:
    if reading.is_below_last(last):
        error = UnsortedPageError(
            f"The last page ends with the rowversion {last!r} although {reading.last!r} came before it,"
            " and has records that were not read."
        )
        error.is_certain = False
        raise error


def _spend_and_fetch(
    pager: Pager,
    budget: PageBudget,
    number: int,
    size: int,
) -> Answer:
    budget.spend()
    return pager.fetch(None, number, size)


def read_pages(pager: Pager, *, after: str | None = None) -> Iterator[Piece]:
    """Read everything greater than `after` by page number until an empty page, as SyncFlow does for sources without
    rowversions.

    Yields:
        As `read_keyset`; nothing is read again.

    Raises:
        SourceContractError: the source repeats a page instead of ending.
    """
    previous: set[bytes] = set()
    for number in range(1, pager.max_pages + 1):
        answer = pager.fetch(after, number, pager.page_size)
        if answer.count == 0:
            again = pager.fetch(after, number, pager.page_size)
            if again.count:
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
    raise too_many_pages(pager.max_pages)
