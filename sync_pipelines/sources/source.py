"""What a read asks of a source, whatever protocol it speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from sync_pipelines.batches.decode import Page, PageDecoder
from sync_pipelines.sources.http.guarded import GuardedSession, Traffic


class Source(Protocol):
    """Pages of one entity.

    Attributes:
        session: through which it is asked.
        walks: it can only be read in its own order, by `walk`; otherwise `page` answers like S2's endpoint.
        is_list: `walk` reads the pages of one list, in which every record has one place.
        total: how many records the answers of the last walk said that there are; None where they did not, or not alike.
        page_size: records to ask for in a request.
        can_move: a record can move behind the back of a read, so that a full one ends with its last stretch once more.
    """

    session: GuardedSession
    walks: bool
    is_list: bool
    total: int | None
    page_size: int
    can_move: bool

    def page(
        self,
        decoder: PageDecoder,
        running: int,
        rowversion_gt: str | None,
        number: int,
        page_size: int,
        traffic: Traffic,
    ) -> Page:
        """The page `number` of the records greater than a rowversion, in rowversion order.

        `running` counts the run's pages.
        """

    def walk(
        self, decoder: PageDecoder, after: str | None, traffic: Traffic, before: Callable[[], int], *, complete: bool
    ) -> Iterator[Page]:
        """Every page in the source's own order.

        Args:
            decoder: of the entity.
            after: the cursor, None = everything.
            traffic: counts requests.
            before: called before every request; its answer is the running number of the next page.
            complete: absences of this read will be taken for deletions.
        """

    def warnings(self) -> list[str]:
        """What a person should know of the answers."""

    def finish(self) -> None:
        """The run is published."""
