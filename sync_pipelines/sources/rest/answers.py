"""The answers of one declared endpoint: asked for, or kept from a run that died, and decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.errors import SettingsError, SourceContractError
from sync_pipelines.files.bounded import read_bounded
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.secrets import printable
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.http.traffic import Reply, Traffic
from sync_pipelines.sources.rest.kept_answers import AnswerCache
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines.sources.rest.requests import Query, query_of, url_of


class Answer(NamedTuple):
    """An answer and its records."""

    reply: Reply
    page: Page


@dataclass(frozen=True)
class Walk:
    """What one read of an endpoint works with.

    Attributes:
        decoder: of its answers.
        traffic: counts requests.
        before: called before every request; its answer is the running number of the next page.
    """

    decoder: PageDecoder
    traffic: Traffic
    before: Callable[[], int]


class Answers:
    """Asks one endpoint and decodes what it answers.

    Args:
        context: what to read.
        endpoint: the entity's declaration.

    Attributes:
        session: of the connector.
        records: in all answers so far.
    """

    def __init__(self, context: ReadContext, endpoint: Endpoint) -> None:
        self.session = context.open_session()
        self.records = 0
        self._connector = context.connector.name
        self._endpoint = endpoint
        self._cache = _cache_of(context, endpoint)

    @property
    def reused(self) -> int:
        """Answers that were kept from a run that did not end."""
        if self._cache is None:
            return 0
        return self._cache.reused

    def url(self, one: str = "") -> str:
        """The address of the endpoint, for this id where it takes one."""
        return url_of(self.session, self._endpoint, one)

    def query(self, after: str | None = None) -> Query:
        """The query parameters of every request, with the filter by the cursor."""
        return query_of(self._endpoint, after)

    def begin(self) -> None:
        """A read begins: answers that were kept too long ago do not count."""
        if self._cache is not None:
            self._cache.open()

    def forget(self) -> None:
        """Forget the kept answers."""
        if self._cache is not None:
            self._cache.clear()

    def ask(
        self,
        pages: Pages,
        walk: Walk,
        number: int,
        *,
        fresh: bool = False,
    ) -> Answer:
        """The answer to the current request of `pages`.

        Args:
            pages: the requests.
            walk: the read.
            number: running number of the page.
            fresh: a kept answer does not do.

        Raises:
            SyncError: from the session, or the answer has no records where they are declared.
        """

        def decode(reply: Reply) -> Answer:
            return self._decode(reply, walk.decoder, number)

        if self._cache is None:
            return self.session.send(pages.current, decode, walk.traffic)
        if not fresh:
            kept = self._cache.get(pages.signature)
            if kept is not None:
                return decode(kept)
        answer = self.session.send(pages.current, decode, walk.traffic)
        self._cache.put(pages.signature, answer.reply)
        return answer

    def _decode(
        self,
        reply: Reply,
        decoder: PageDecoder,
        number: int,
    ) -> Answer:
        try:
            page = decoder.decode(number, reply.body)
        except SourceContractError as error:
            test = f"sync-pipelines connector test {self._connector}"
            error.next_command = f"{error.next_command}: {test}"
            raise
        self.records += page.fetched
        return Answer(reply, page)

    def recorded(self, decoder: PageDecoder, number: int) -> Page:
        """The page of an answer that is a file.

        Raises:
            SettingsError: it cannot be read.
        """
        path = Path(self._endpoint.recording or "")
        most_bytes = self.session.limits.max_page_bytes
        try:
            body = read_bounded(path, most_bytes)
        except OSError as error:
            raise SettingsError(
                f"The recording {printable(str(path))} cannot be read: {error.strerror}."
            ) from None
        reply = Reply(body, headers={}, url="")
        answer = self._decode(reply, decoder, number)
        return answer.page


def _cache_of(context: ReadContext, endpoint: Endpoint) -> AnswerCache | None:
    """Where answers are kept until the run is through; nowhere when they have masked values."""
    if not context.keep_answers or context.masked or endpoint.resume_seconds is None:
        return None
    home = context.settings.home
    return AnswerCache(home, context.entity.uid, endpoint.resume_seconds)
