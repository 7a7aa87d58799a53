"""The port `Source`: what a read asks of a source, whatever protocol it speaks.

A source is read in one of two ways. A `PagedSource` answers any page of the records after a rowversion, in rowversion
order, so that
`sources.paging` can follow them. A `WalkedSource` shows its pages one after the other, in its own order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.layout import Layout
from sync_pipelines.batches.page import Page
from sync_pipelines.sources.http.traffic import Traffic


class Source(ABC):
    """One entity at its source.

    Attributes:
        layout: where the answers have their records; None = in the form in which records are kept (S2's).
        is_list: what `WalkedSource.walk` reads are the pages of one list, in which every record has one place.
        page_size: records to ask for in a request.
        can_move: a record can move behind the back of a read, so that a full one ends with its last stretch once more.
    """

    layout: Layout | None = None
    is_list: bool = True
    page_size: int
    can_move: bool = True

    @property
    def total(self) -> int | None:
        """How many records the answers of the last walk said that there are; None where they did not, or not alike."""
        return None

    def warnings(self) -> list[str]:
        """What a person should know of the answers."""
        return []

    def finish(self) -> None:  # noqa: B027 - most sources keep nothing
        """The run is published, or its answers were refused: forget what was kept of them."""


class WritableSource(Source):
    """Takes one corrected record at a time, when a person orders it.

    Attributes:
        paths: where in a record the value of each column is, by column.
    """

    @property
    @abstractmethod
    def paths(self) -> Mapping[str, tuple[str, ...]]:
        """Where in a record the value of each column is, by column."""

    @abstractmethod
    def find_raw(
        self,
        key: str,
        traffic: Traffic,
        max_record_bytes: int,
    ) -> bytes | None:
        """The record with a business key of one column, byte for byte as the source sends it; None when it shows none.

        Args:
            key: canonical text of the key.
            traffic: counts requests.
            max_record_bytes: a larger record comes without its largest values.
        """

    @abstractmethod
    def write(self, path: str, record: bytes, *, once: str) -> None:
        """Send a whole record, which may be repeated without harm: `once` is the same for the same record.

        Raises:
            SyncError: the source refused.
        """


class PageRequest(NamedTuple):
    """Which records a page has.

    Attributes:
        rowversion_gt: those greater than this rowversion; None = all.
        number: of the page among these, from 1.
        page_size: records to ask for.
    """

    rowversion_gt: str | None
    number: int
    page_size: int


class PagedSource(Source):
    """Answers any page of the records after a rowversion."""

    @abstractmethod
    def page(
        self,
        decoder: PageDecoder,
        running: int,
        request: PageRequest,
        traffic: Traffic,
    ) -> Page:
        """One page of the records, in rowversion order.

        Args:
            decoder: of the entity.
            running: counts the run's pages.
            request: which records.
            traffic: counts requests.
        """


class WalkedSource(Source):
    """Shows its pages in its own order."""

    @abstractmethod
    def walk(
        self,
        decoder: PageDecoder,
        after: str | None,
        traffic: Traffic,
        before: Callable[[], int],
    ) -> Iterator[Page]:
        """Every page.

        Args:
            decoder: of the entity.
            after: the cursor, None = everything.
            traffic: counts requests.
            before: called before every request; its answer is the running number of the next page.
        """
