"""Read a declared endpoint: its requests, its pages, and what of an id list came back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.batches.raw_json import find_records, members
from sync_pipelines.batches.records import decode_value
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import (
    BrokenPageError,
    IncompleteAnswerError,
    RecordError,
    SettingsError,
    SourceContractError,
)
from sync_pipelines.files.bounded import read_bounded
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Column
from sync_pipelines.model.pagination import (
    CursorPagination,
    NextLinkPagination,
    NoPagination,
    PagePagination,
)
from sync_pipelines.secrets import printable
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.endpoints import page_size_of
from sync_pipelines.sources.declared.keeper import missing_record
from sync_pipelines.sources.declared.layout import DeclaredLayout
from sync_pipelines.sources.declared.paths import id_column, source_paths
from sync_pipelines.sources.http.guarded import GuardedSession, Reply, Traffic
from sync_pipelines.sources.rest.ids import IdRequest, WantedIds
from sync_pipelines.sources.rest.kept_answers import AnswerCache
from sync_pipelines.sources.rest.page_words import SIZES, plain_name
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines.sources.rest.told import Told, read_told
from sync_pipelines.sources.source import PagedSource, PageRequest, WalkedSource, WritableSource

SHOWN_IDS = 10
_UNASKABLE = "It cannot be asked for: a list or a path would not hold it as one id."


class RestSource(WritableSource):
    """One endpoint of a connector of kind rest or openapi.

    Args:
        context: what to read.
        endpoint: the entity's declaration.
        ids: the ids to ask for, where the endpoint takes some.
    """

    def __init__(self, context: ReadContext, endpoint: Endpoint, ids: WantedIds) -> None:
        entity = context.entity
        self._session = context.open_session()
        self._entity = entity
        self._endpoint = endpoint
        self._ids = ids
        self._max_pages = context.max_pages
        self.page_size = page_size_of(endpoint, entity.policy.page_size, context.settings)
        # What is masked must not rest in a file.
        keeps_answers = context.keep_answers and not context.masked
        self._cache: AnswerCache | None = None
        if keeps_answers and endpoint.resume_seconds is not None:
            self._cache = AnswerCache(context.settings.home, entity.uid, endpoint.resume_seconds)
        self._layout = DeclaredLayout(endpoint, entity.columns, context.masked)
        self.layout = self._layout
        self._shows_ids = id_column(endpoint) not in context.masked
        # By its id a record is found wherever it moved, so the last stretch need not be asked for again.
        self.can_move = endpoint.ids is None
        self.is_list = endpoint.ids is None and endpoint.recording is None
        self._totals: set[int | None] = set()
        self._records = 0
        self._may_end_early = False

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """As `WritableSource.paths`."""
        return {column.name: (column.name,) for column in self._entity.columns} | source_paths(
            self._endpoint
        )

    def write(self, path: str, record: bytes, *, once: str) -> None:
        """As `WritableSource.write`, by PUT."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": once}
        self._session.request(
            "PUT", f"{self._session.base_url}{path}", headers=headers, body=record
        )

    def find_raw(self, key: str, traffic: Traffic, max_record_bytes: int) -> bytes | None:
        """As `WritableSource.find_raw`."""
        column, ids = self._entity.business_keys[0], self._endpoint.ids
        path = source_paths(self._endpoint).get(column.name, (column.name,))
        params = {
            **self._params(None),
            **({ids.param: key} if ids is not None and ids.param is not None else {}),
        }
        pages = Pages(
            self._endpoint, self._url(key if ids is not None else ""), params, self.page_size
        )
        for _ in range(self._max_pages):
            reply = self._session.request(
                "GET", pages.request.url, pages.query, traffic, lambda reply: reply
            )
            one = not self._endpoint.has_pages
            records = find_records(
                reply.body,
                self._endpoint.records,
                may_be_one=one,
                max_record_bytes=max_record_bytes,
            )
            found = next((raw for raw in records if _key_at(raw, path, column) == key), None)
            if found is not None or not records or not pages.advance(reply, len(records)):
                return found
        return None

    def _pages(
        self,
        decoder: PageDecoder,
        url: str,
        params: dict[str, Any],
        traffic: Traffic,
        before: Callable[[], int],
        *,
        absent_is_empty: bool = False,
    ) -> Iterator[Page]:
        pages = Pages(self._endpoint, url, params, self.page_size)
        asked: set[str] = set()
        digests: set[bytes] = set()
        first = 0
        while True:
            self._note_asked(pages.signature, asked)
            number = before()
            answer = self._ask_present(
                pages, decoder, number, traffic, absent_is_empty=absent_is_empty
            )
            if answer is None:
                return
            reply, page = answer
            if len(asked) == 1:
                first = page.fetched
            if len(asked) == 2 and page.fetched:
                reply, page = self._ask_resized(pages, first, decoder, number, traffic) or (
                    reply,
                    page,
                )
            if page.fetched:
                _note_digest(page.digest, digests)
                yield page
            self._note_end(pages, reply, page, decoder, number, traffic)
            if not pages.advance(reply, page.fetched):
                self._check_end(pages, reply, page, len(asked))
                return

    def _ask_present(
        self,
        pages: Pages,
        decoder: PageDecoder,
        number: int,
        traffic: Traffic,
        *,
        absent_is_empty: bool,
    ) -> tuple[Reply, Page] | None:
        """One answer; None where the source says 404 and that means that there is no record."""
        try:
            return self._ask(pages, decoder, number, traffic)
        except SourceContractError as error:
            if absent_is_empty and error.status == 404:
                return None
            raise

    def _ask_resized(
        self, pages: Pages, first: int, decoder: PageDecoder, number: int, traffic: Traffic
    ) -> tuple[Reply, Page] | None:
        """The second page again, in the size of the first one; None where nothing is to be asked again.

        A source that caps its pages may number them by what was asked for; then the second page left rows out.
        """
        size = pages.resize(first)
        if size is None:
            return None
        try:
            return self._ask(pages, decoder, number, traffic)
        except SourceContractError:
            pages.request.params[pages.size_param] = size  # it does not know such a size
            return None

    def _note_end(
        self,
        pages: Pages,
        reply: Reply,
        page: Page,
        decoder: PageDecoder,
        number: int,
        traffic: Traffic,
    ) -> None:
        """Confirm an end by page number, and note the total that the answer tells."""
        if pages.numbered and not page.fetched:
            self._confirm_end(pages, decoder, number, traffic)
        if self._is_checked:
            self._totals.add(read_told(reply, self._endpoint.records).total)

    def _note_asked(self, signature: str, asked: set[str]) -> None:
        if signature in asked:
            raise SourceContractError(
                "The source leads back to a page that was read already: it is looping."
            )
        asked.add(signature)
        if len(asked) > self._max_pages:
            raise SourceContractError(
                f"The source was asked {len(asked)} times in one read without coming to an end.",
                next_command="raise MAX_PAGES if it really holds that much",
            )

    @property
    def total(self) -> int | None:
        """As `Source.total`."""
        return next(iter(self._totals)) if len(self._totals) == 1 else None

    @property
    def _is_checked(self) -> bool:
        """Whether answers are pages of a list whose end they may tell."""
        pagination, ids = self._endpoint.pagination, self._endpoint.ids
        # What was declared to end early does so.
        is_cut = isinstance(pagination, PagePagination) and pagination.last_page is not None
        return (
            pagination.checked
            and not is_cut
            and self._endpoint.recording is None
            and (ids is None or ids.param is not None)
        )

    def _check_end(self, pages: Pages, reply: Reply, page: Page, answers: int) -> None:
        """Refuse an end at which the answer itself says that there is more, or at which nothing tells a cut list from a
        whole one.

        Raises:
            SourceContractError: it does.
        """
        size_param = self._endpoint.pagination.size_param
        is_full = page.fetched > 0 and (size_param is None or page.fetched >= self.page_size)
        self._may_end_early = self._may_end_early or (is_full and not pages.names_next)
        if not self._is_checked:
            return
        told = read_told(reply, self._endpoint.records)
        what = told.more
        if what is None and self._endpoint.ids is None and not pages.numbered:
            what = self._more_than_came(pages, told, page.fetched, answers)
        names_in_body = isinstance(
            self._endpoint.pagination, (CursorPagination, NextLinkPagination)
        )
        if (
            what is None
            and names_in_body
            and is_full
            and size_param is not None
            and not pages.names_next
            and not told.ends
        ):
            what = (
                f"it brought as many as were asked for, {page.fetched}, and no answer has the place where the"
                " next page is named"
            )
        if what is not None:
            raise SourceContractError(
                f"The read ended, but {what}: the pagination {self._endpoint.pagination.type!r} does not reach"
                " the rest.",
                where=dict(self._entity.where),
                next_command="declare `pagination` in the connector's file; if this is the end, `pagination: {…,"
                " checked: false}`",
            )

    def _more_than_came(self, pages: Pages, told: Told, records: int, answers: int) -> str | None:
        """Why the answers so far are not everything; None when nothing says so."""
        if told.pages is not None and told.pages > answers:
            return (
                f"there are {told.pages} pages, and {answers} came"
                if answers > 1
                else f"the answer is one of {told.pages} pages"
            )
        if not isinstance(self._endpoint.pagination, NoPagination):
            return None
        if (
            told.position is not None
            and not told.ends
            and (told.total is None or told.total > records)
        ):
            return told.position
        asked = [
            value
            for name, value in pages.query.items()
            if plain_name(name) in SIZES and str(value).isdigit()
        ]
        limits = {int(value) for value in asked} | (
            {told.limit} if told.limit is not None else set()
        )
        if (
            records in limits - {0}
            and not told.ends
            and (told.total is None or told.total > records)
        ):
            return f"it brought exactly as many as a page has, {records}"
        return None

    def _confirm_end(
        self, pages: Pages, decoder: PageDecoder, number: int, traffic: Traffic
    ) -> None:
        """An empty page ends a numbered read only when it stays empty and the page behind it is empty, too."""
        shown = f"The page {dict(pages.query)} was empty"
        if self._ask(pages, decoder, number, traffic, fresh=True)[1].fetched:
            self.finish()  # the next run must not begin with the empty one
            raise BrokenPageError(f"{shown} once and had records when asked again.")
        pages.beyond()
        try:
            behind = self._ask(pages, decoder, number, traffic)[1].fetched
        except SourceContractError:
            return  # many sources refuse to look beyond their end
        if behind:
            raise SourceContractError(f"{shown}, but the page behind it has records.")

    def _ask(
        self,
        pages: Pages,
        decoder: PageDecoder,
        number: int,
        traffic: Traffic,
        *,
        fresh: bool = False,
    ) -> tuple[Reply, Page]:
        kept = self._cache.get(pages.signature) if self._cache is not None and not fresh else None
        if kept is not None:
            return self._decoded(kept, decoder, number)
        answer = self._session.request(
            "GET",
            pages.request.url,
            pages.query,
            traffic,
            lambda reply: self._decoded(reply, decoder, number),
        )
        if self._cache is not None:
            self._cache.put(pages.signature, answer[0])
        return answer

    def _decoded(self, reply: Reply, decoder: PageDecoder, number: int) -> tuple[Reply, Page]:
        try:
            page = decoder.decode(number, reply.body)
        except SourceContractError as error:
            error.next_command = (
                f"{error.next_command}: sync-pipelines connector test {self._entity.connector}"
            )
            raise
        self._records += page.fetched
        return reply, page

    def _url(self, one: str = "") -> str:
        return url_of(self._session, self._endpoint, one)

    def _params(self, after: str | None) -> dict[str, Any]:
        return query_of(self._endpoint, after)

    def warnings(self) -> list[str]:
        """Columns that no record had, a next page that nothing ever named, and answers that were kept from a run that
        died.
        """
        told = []
        absent = [
            column.name for column in self._entity.columns if column.name in self._layout.absent
        ]
        if self._records and absent:
            told.append(
                f"no record had the fields of {', '.join(absent[:SHOWN_IDS])}: did the source rename them?"
            )
        if self._may_end_early:
            told.append(
                "no answer has the place where the next page is named: is the pagination of the connector's file right?"
            )
        if self._cache is not None and self._cache.reused:
            told.append(f"{self._cache.reused} answers were kept from a run that did not end")
        return told

    def finish(self) -> None:
        """Forget the kept answers."""
        if self._cache is not None:
            self._cache.clear()


class SortedRestSource(RestSource, PagedSource):
    """One that its file declares to answer sorted by its cursor, and with what is strictly greater only."""

    def page(
        self, decoder: PageDecoder, running: int, request: PageRequest, traffic: Traffic
    ) -> Page:
        """As `PagedSource.page`."""
        params = self._params(request.rowversion_gt)
        pages = Pages(self._endpoint, self._url(), params, request.page_size, request.number)
        reply, page = self._ask(pages, decoder, running, traffic)
        if not page.fetched:
            self._check_end(pages, reply, page, 1)
        return page


class WalkedRestSource(RestSource, WalkedSource):
    """One that follows its pagination to the end."""

    def walk(
        self,
        decoder: PageDecoder,
        after: str | None,
        traffic: Traffic,
        before: Callable[[], int],
    ) -> Iterator[Page]:
        """As `WalkedSource.walk`."""
        if self._endpoint.recording is not None:
            yield self._recorded(decoder, before())
            return
        if self._cache is not None:
            self._cache.open()
        self._totals.clear()
        if self._endpoint.ids is None:
            yield from self._pages(decoder, self._url(), self._params(after), traffic, before)
            return
        wanted = self._ids
        new = [one for one in wanted.all if after is None or one not in wanted.known]
        known = [] if after is None else [one for one in wanted.all if one in wanted.known]
        size = self._endpoint.ids.size
        request = IdRequest(len(wanted.all), self._endpoint.ids.min_success)
        for ids, since in ((new, None), (known, after)):
            for start in range(0, len(ids), size):
                yield from self._batch(
                    decoder, ids[start : start + size], since, traffic, before, request
                )
                self._check(request)

    def _batch(
        self,
        decoder: PageDecoder,
        ids: list[str],
        since: str | None,
        traffic: Traffic,
        before: Callable[[], int],
        request: IdRequest,
    ) -> Iterator[Page]:
        """The records of some ids, and one for each id that did not come back; what failed is noted in `request`."""
        declared = self._endpoint.ids
        assert declared is not None
        column = id_column(self._endpoint)
        askable = [one for one in ids if _is_askable(one, declared.param)]
        good: set[str] = set()
        unasked = [one for one in ids if one not in askable]
        faulty = dict.fromkeys(unasked, _UNASKABLE)
        for url, query in self._asks(declared.param, askable, self._params(since)):
            pages = self._pages(
                decoder, url, query, traffic, before, absent_is_empty=declared.param is None
            )
            for page in pages:
                _sort_out(page, set(ids), column, good, faulty)
                yield page
        # What did not change since the cursor need not come; it has a row that is good.
        found = good.union(faulty) if since is None else set(ids)
        absent = [one for one in ids if one not in found]
        faulty |= dict.fromkeys(absent, "It was asked for and did not come back.")
        for one in [*unasked, *absent]:
            page = decoder.decode_kept(before(), missing_record(column or "", one))
            page.refused[0] = (column, faulty[one])
            yield page
        request.faulty |= {one: why for one, why in faulty.items() if one not in good}

    def _asks(
        self, param: str | None, askable: list[str], params: dict[str, Any]
    ) -> list[tuple[str, dict[str, Any]]]:
        """URL and query of each request for some ids: one for all where a parameter takes them, else one for each."""
        if param is None:
            return [(self._url(one), params) for one in askable]
        return [(self._url(), {**params, param: ",".join(askable)})] if askable else []

    def _check(self, request: IdRequest) -> None:
        """Refuse the read as soon as the share cannot be reached any more.

        Raises:
            IncompleteAnswerError: too many of all ids of the run failed.
        """
        if request.is_enough:
            return
        some = itertools.islice(request.faulty.items(), SHOWN_IDS)
        shown = "; ".join(f"{one}: {why}" if self._shows_ids else why for one, why in some)
        raise IncompleteAnswerError(
            f"At most {request.good} of {request.asked} records that were asked for can come back good, less than the"
            f" share of {request.min_success:g}. {printable(shown, 600)}",
            where=dict(self._entity.where),
            next_command="take the ids that are gone out of the list, or lower ids.min_success, then sync-pipelines"
            f" sync {self._entity.path}",
        )

    def _recorded(self, decoder: PageDecoder, number: int) -> Page:
        path = Path(self._endpoint.recording or "")
        try:
            body = read_bounded(path, self._session.limits.max_page_bytes)
        except OSError as error:
            raise SettingsError(
                f"The recording {printable(str(path))} cannot be read: {error.strerror}."
            ) from None
        return self._decoded(Reply(body, {}, ""), decoder, number)[1]


def _note_digest(digest: bytes, digests: set[bytes]) -> None:
    if digest in digests:
        raise SourceContractError("The source sends the same records for two pages: it is looping.")
    digests.add(digest)


def _sort_out(
    page: Page, wanted: set[str], column: str | None, good: set[str], faulty: dict[str, str]
) -> None:
    """Refuse the records of a page that were not asked for, and note of the others which are good."""
    for place, one in enumerate(page.ids):
        if one not in wanted:
            page.refused.setdefault(place, (column, "It was not asked for."))
        elif place in page.refused:
            faulty[one] = page.refused[place][1]
        else:
            good.add(one)


def _key_at(raw: bytes, path: tuple[str, ...], column: Column) -> str | None:
    """The canonical text of the value at a path; None where it is none of its type."""
    value: bytes | None = raw
    for part in path:
        value = (members(value) or {}).get(part) if value is not None else None
    try:
        return None if value is None else convert(decode_value(value), column.type)
    except RecordError:
        return None


def _is_askable(one: str, param: str | None) -> bool:
    """Whether a request can name this id: a comma separates ids, an empty one or one of dots is another path."""
    return one != "" and ("," not in one if param is not None else one not in (".", ".."))


def url_of(session: GuardedSession, endpoint: Endpoint, one: str = "") -> str:
    """The address of an endpoint, for this id where it takes one."""
    return f"{session.base_url}{endpoint.path.replace('{id}', quote(one, safe=''))}"


def query_of(endpoint: Endpoint, after: str | None = None) -> dict[str, Any]:
    """The query parameters of every request of an endpoint, with the filter by its cursor."""
    params: dict[str, Any] = {
        name: ",".join(map(_shown, value)) if isinstance(value, list) else _shown(value)
        for name, value in endpoint.params.items()
    }
    if (
        endpoint.fields is not None
        and endpoint.fields_param is not None
        and endpoint.columns is not None
    ):
        paths = source_paths(endpoint)
        fields = dict.fromkeys(paths.get(one.name, (one.name,))[0] for one in endpoint.columns)
        params[endpoint.fields_param] = ",".join(fields)
    if after is not None and endpoint.cursor is not None:
        params[endpoint.cursor.param] = after
    return params


def _shown(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
