"""Follow one list of an endpoint, page by page, to an end that is sure."""

from __future__ import annotations

from collections.abc import Iterator

from sync_pipelines.batches.page import Page
from sync_pipelines.errors import BrokenPageError, SourceContractError
from sync_pipelines.sources.declared.seen_pages import SeenPages, too_many_requests
from sync_pipelines.sources.rest.answers import Answer, Answers, Walk
from sync_pipelines.sources.rest.list_end import ListEnd
from sync_pipelines.sources.rest.paginators import Pages


class ListRead:
    """One read of one list.

    Args:
        answers: of the endpoint.
        end: compares the end with what the answers say.
        walk: the read of the endpoint that this list is part of.
        pages: the requests.
        max_pages: most answers.
    """

    def __init__(
        self,
        answers: Answers,
        end: ListEnd,
        walk: Walk,
        pages: Pages,
        max_pages: int,
    ) -> None:
        self._answers = answers
        self._end = end
        self._walk = walk
        self._pages = pages
        self._max_pages = max_pages
        self._seen = SeenPages()
        # Records of the first page.
        self._first = 0

    def read(self, *, absent_is_empty: bool) -> Iterator[Page]:
        """Every page with records.

        Args:
            absent_is_empty: the status 404 means that there is no record.

        Raises:
            SourceContractError: the source goes in circles, or its list is cut.
            SyncError: from the session.
        """
        while True:
            self._seen.note_request(self._pages.signature)
            if self._seen.asked > self._max_pages:
                raise too_many_requests(self._seen.asked)
            number = self._walk.before()
            try:
                answer = self._ask(number)
            except SourceContractError as error:
                if absent_is_empty and error.status == 404:
                    return
                raise
            answer = self._resized(answer, number)
            fetched = answer.page.fetched
            if fetched:
                self._seen.note_records(answer.page.digest)
                yield answer.page
            elif self._pages.numbered:
                self._confirm_end(number)
            self._end.note_total(answer.reply)
            if not self._pages.advance(answer.reply, fetched):
                self._end.check(self._pages, answer, self._seen.asked)
                return

    def _ask(self, number: int, *, fresh: bool = False) -> Answer:
        return self._answers.ask(self._pages, self._walk, number, fresh=fresh)

    def _resized(self, answer: Answer, number: int) -> Answer:
        """The second page again, in the size of the first one, where that was smaller than what was asked for.

        A source that caps its pages may number them by what was asked for; then the second page left rows out.
        """
        if self._seen.asked == 1:
            self._first = answer.page.fetched
        if self._seen.asked != 2 or not answer.page.fetched:
            return answer
        size = self._pages.resize(self._first)
        if size is None:
            return answer
        try:
            return self._ask(number)
        except SourceContractError:
            # It does not know such a size.
            self._pages.request.params[self._pages.size_param] = size
            return answer

    def _confirm_end(self, number: int) -> None:
        """An empty page ends a numbered read only when it stays empty and the page behind it is empty, too."""
        shown = f"The page {dict(self._pages.query)} was empty"
        again = self._ask(number, fresh=True)
        if again.page.fetched:
            self._answers.forget()  # the next run must not begin with the empty one
            raise BrokenPageError(f"{shown} once and had records when asked again.")
        self._pages.beyond()
        try:
            behind = self._ask(number)
        except SourceContractError:
            return  # many sources refuse to look beyond their end
        if behind.page.fetched:
            raise SourceContractError(f"{shown}, but the page behind it has records.")
