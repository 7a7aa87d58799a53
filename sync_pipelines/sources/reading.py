"""What a read by pages works with: the pages as the protocol sees them, how they are asked for, and how far it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.errors import CursorProtocolError, SourceContractError
from sync_pipelines.model.cursor import Codec, check_page_order, infer_codec, order_key


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
"""Gets (rowversion_gt, page, page_size) and returns the answer."""


@dataclass(frozen=True)
class Pager:
    """How the pages of a source are asked for.

    Attributes:
        fetch: asks for one.
        page_size: records to ask for.
        max_pages: most answers of one read.
    """

    fetch: Fetch
    page_size: int
    max_pages: int


class PageBudget:
    """Counts the answers of one read.

    Args:
        max_pages: most of them.

    Attributes:
        asked: answers so far.
    """

    def __init__(self, max_pages: int) -> None:
        self._max_pages = max_pages
        self.asked = 0

    def spend(self, answers: int = 1) -> None:
        """Count answers.

        Raises:
            SourceContractError: there are too many by now.
        """
        self.asked += answers
        if self.asked > self._max_pages:
            raise too_many_pages(self.asked)

    def rest(self) -> PageBudget:
        """The budget of a part of the read, which counts its own answers."""
        return PageBudget(self._max_pages - self.asked)


def too_many_pages(asked: int) -> SourceContractError:
    """A read that does not end."""
    return SourceContractError(
        f"The source was asked {asked} times in one run without coming to an end.",
        next_command="raise MAX_PAGES if it really holds that much",
    )


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
        if not rowversions:
            return
        for rowversion in (rowversions[0], rowversions[-1]):
            if self._is_later(rowversion, self.last):
                self.last = rowversion
        below = last_below(rowversions, self.last)
        if below is not None and self._is_later(below, self.below_last):
            self.below_last = below

    def note_size(self, records: int) -> None:
        """Take in how many records an answer has."""
        self.largest_page = max(self.largest_page, records)

    def note_unsorted(self, rowversions: list[str]) -> None:
        """Take in the rowversions of a page that came in the source's own order.

        Raises:
            CursorProtocolError: only the source knows which of them is later.
        """
        if not rowversions:
            return
        if self.codec is None:
            self.codec = infer_codec(rowversions)
        codec = self.codec
        if codec is Codec.OPAQUE:
            raise CursorProtocolError(
                f"It is not known which of the cursor values {rowversions[0]!r} and {rowversions[-1]!r} is later.",
                next_command="declare cursor.codec in the connector's file, or the strategy full",
            )
        # With the last one known, which may be just below a later one of this page.
        known = list(rowversions)
        if self.last is not None:
            known.append(self.last)
        ordered = sorted(known, key=lambda rowversion: order_key(codec, rowversion))
        check_page_order(codec, ordered, None)
        self.note(ordered)

    def check(self, answer: Answer, position: str | None) -> None:
        """Refuse a page that is not sorted, or that has records at or below the position it was asked for.

        Raises:
            CursorProtocolError: it is such a page.
        """
        if self.codec is None and answer.rowversions:
            self.codec = infer_codec(answer.rowversions)
        if self.codec is not None:
            check_page_order(self.codec, answer.rowversions, position)

    def is_below_last(self, rowversion: str) -> bool:
        """Whether a rowversion is lower than the highest one read, as far as the codec decides."""
        codec = self.codec
        if codec is None or codec is Codec.OPAQUE or self.last is None:
            return False
        last = order_key(codec, self.last)
        return bool(order_key(codec, rowversion) < last)

    def _is_later(self, left: str, right: str | None) -> bool:
        if right is None:
            return True
        codec = self.codec
        assert codec is not None
        if codec is Codec.OPAQUE:
            return True
        other = order_key(codec, right)
        return bool(order_key(codec, left) > other)


def until(rowversions: list[str], last: str) -> list[str]:
    """The rowversions up to the last one that counts; what is read again has not been read yet."""
    kept = len(rowversions)
    while kept and rowversions[kept - 1] != last:
        kept -= 1
    return rowversions[:kept]


def last_below(rowversions: list[str], last: str | None) -> str | None:
    """The last rowversion of a sorted page that is not `last`."""
    for rowversion in reversed(rowversions):
        if rowversion != last:
            return rowversion
    return None
