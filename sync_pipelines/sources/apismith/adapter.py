"""An APISmith source as the reads of `runs.extraction` ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sync_pipelines.batches.decode import Page, PageDecoder
from sync_pipelines.sources.apismith.protocol import fetch_data
from sync_pipelines.sources.http.guarded import GuardedSession, Traffic


class ApismithSource:
    """An API of S2's protocol."""

    walks = False
    can_move = True
    is_list = True
    total = None

    def __init__(self, session: GuardedSession, slug: str, page_size: int) -> None:
        self.session, self._slug, self.page_size = session, slug, page_size

    def page(
        self,
        decoder: PageDecoder,
        running: int,
        rowversion_gt: str | None,
        number: int,
        page_size: int,
        traffic: Traffic,
    ) -> Page:
        """As `Source.page`."""
        return fetch_data(
            self.session,
            self._slug,
            rowversion_gt,
            number,
            page_size,
            traffic,
            lambda body: decoder.decode(running, body),
        )

    def walk(
        self, decoder: PageDecoder, after: str | None, traffic: Traffic, before: Callable[[], int], *, complete: bool
    ) -> Iterator[Page]:
        """Never: it is read by `page`."""
        raise NotImplementedError

    def warnings(self) -> list[str]:
        """None."""
        return []

    def finish(self) -> None:
        """Nothing is kept."""
