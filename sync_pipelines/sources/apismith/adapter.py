"""An APISmith source as the reads of `runs.extraction` ask it."""

from __future__ import annotations

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.sources.apismith.protocol import fetch_data
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.source import PagedSource, PageRequest


class ApismithSource(PagedSource):
    """An API of S2's protocol."""

    def __init__(
        self,
        session: GuardedSession,
        slug: str,
        page_size: int,
    ) -> None:
        self._session = session
        self._slug = slug
        self.page_size = page_size

    def page(
        self,
        decoder: PageDecoder,
        running: int,
        request: PageRequest,
        traffic: Traffic,
    ) -> Page:
        """As `PagedSource.page`."""

        def parse(body: bytes) -> Page:
            return decoder.decode(running, body)

        return fetch_data(self._session, self._slug, request, traffic, parse)
