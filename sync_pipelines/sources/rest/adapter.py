"""A declared endpoint as a source: sorted by its cursor and asked page by page, or walked to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.batches.raw_json import find_records, members
from sync_pipelines.batches.records import decode_value
from sync_pipelines.batches.typed import Path
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import RecordError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Column
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.endpoints import page_size_of
from sync_pipelines.sources.declared.layout import DeclaredLayout
from sync_pipelines.sources.declared.paths import id_column, source_paths
from sync_pipelines.sources.http.traffic import HttpRequest, Reply, Traffic
from sync_pipelines.sources.rest.answers import Answers, Walk
from sync_pipelines.sources.rest.id_read import IdRead
from sync_pipelines.sources.rest.ids import WantedIds
from sync_pipelines.sources.rest.list_end import ListEnd
from sync_pipelines.sources.rest.list_read import ListRead
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines.sources.rest.requests import Query
from sync_pipelines.sources.source import PagedSource, PageRequest, WalkedSource, WritableSource


class RestSource(WritableSource):
    """One endpoint of a connector of kind rest or openapi.

    Args:
        context: what to read.
        endpoint: the entity's declaration.
        answers: of the endpoint.
        ids: the ids to ask for, where the endpoint takes some.
    """

    def __init__(
        self,
        context: ReadContext,
        endpoint: Endpoint,
        answers: Answers,
        ids: WantedIds,
    ) -> None:
        entity = context.entity
        self._entity = entity
        self._endpoint = endpoint
        self._ids = ids
        self._max_pages = context.max_pages
        self.page_size = page_size_of(endpoint, entity.policy.page_size, context.settings)
        self._answers = answers
        self._end = ListEnd(entity, endpoint, self.page_size)
        self._layout = DeclaredLayout(endpoint, entity.columns, context.masked)
        self.layout = self._layout
        self._shows_ids = id_column(endpoint) not in context.masked
        # By its id a record is found wherever it moved, so the last stretch need not be asked for again.
        self.can_move = endpoint.ids is None
        self.is_list = self.can_move and endpoint.recording is None

    @property
    def paths(self) -> dict[str, Path]:
        """As `WritableSource.paths`."""
        paths: dict[str, Path] = {}
        for column in self._entity.columns:
            paths[column.name] = (column.name,)
        return paths | source_paths(self._endpoint)

    @property
    def total(self) -> int | None:
        """As `Source.total`."""
        return self._end.total

    def write(self, path: str, record: bytes, *, once: str) -> None:
        """As `WritableSource.write`, by PUT."""
        session = self._answers.session
        headers = {"Content-Type": "application/json", "Idempotency-Key": once}
        request = HttpRequest(
            "PUT",
            f"{session.base_url}{path}",
            headers=headers,
            body=record,
        )
        session.send(request)

    def find_raw(
        self,
        key: str,
        traffic: Traffic,
        max_record_bytes: int,
    ) -> bytes | None:
        """As `WritableSource.find_raw`."""
        column = self._entity.business_keys[0]
        path = self.paths[column.name]
        pages = self._pages_with(key)
        for _ in range(self._max_pages):
            reply: Reply = self._answers.session.send(pages.current, traffic=traffic)
            records = find_records(
                reply.body,
                self._endpoint.records,
                may_be_one=not self._endpoint.has_pages,
                max_record_bytes=max_record_bytes,
            )
            for raw in records:
                if _key_at(raw, path, column) == key:
                    return raw
            if not records or not pages.advance(reply, len(records)):
                return None
        return None

    def _pages_with(self, key: str) -> Pages:
        """The requests that show the record of a key: of this id alone, where the endpoint takes ids."""
        query = self._answers.query()
        ids = self._endpoint.ids
        url = self._answers.url()
        if ids is not None:
            url = self._answers.url(key)
            if ids.param is not None:
                query[ids.param] = key
        return Pages(self._endpoint, url, query, self.page_size)

    def warnings(self) -> list[str]:
        """Columns that no record had, a next page that nothing ever named, and answers that were kept from a run that
        died.
        """
        warnings = []
        if self._answers.records:
            warnings += self._layout.warnings()
        if self._end.may_be_early:
            warnings.append(
                "no answer has the place where the next page is named: is the pagination of the connector's file right?"
            )
        reused = self._answers.reused
        if reused:
            warnings.append(f"{reused} answers were kept from a run that did not end")
        return warnings

    def finish(self) -> None:
        """Forget the kept answers."""
        self._answers.forget()


class SortedRestSource(RestSource, PagedSource):
    """One that its file declares to answer sorted by its cursor, and with what is strictly greater only."""

    def page(
        self,
        decoder: PageDecoder,
        running: int,
        request: PageRequest,
        traffic: Traffic,
    ) -> Page:
        """As `PagedSource.page`."""
        url = self._answers.url()
        query = self._answers.query(request.rowversion_gt)
        pages = Pages(self._endpoint, url, query, request.page_size, request.number)
        walk = Walk(decoder, traffic, lambda: running)
        answer = self._answers.ask(pages, walk, running)
        if not answer.page.fetched:
            self._end.check(pages, answer, 1)
        return answer.page


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
            yield self._answers.recorded(decoder, before())
            return
        self._answers.begin()
        self._end.begin()
        walk = Walk(decoder, traffic, before)
        ids = self._endpoint.ids
        if ids is None:
            url = self._answers.url()
            query = self._answers.query(after)
            yield from self._list(walk, url, query)
            return

        # The path of an address may name what is not there; a list without records is an answer.
        absent_is_empty = ids.param is None

        def read_list(url: str, query: Query) -> Iterator[Page]:
            return self._list(walk, url, query, absent_is_empty=absent_is_empty)

        read = IdRead(
            self._answers,
            walk,
            self._entity,
            self._endpoint,
            shows_ids=self._shows_ids,
        )
        yield from read.read(self._ids, after, read_list)

    def _list(
        self,
        walk: Walk,
        url: str,
        query: Query,
        *,
        absent_is_empty: bool = False,
    ) -> Iterator[Page]:
        pages = Pages(self._endpoint, url, query, self.page_size)
        read = ListRead(self._answers, self._end, walk, pages, self._max_pages)
        return read.read(absent_is_empty=absent_is_empty)


def _key_at(
    raw: bytes,
    path: Path,
    column: Column,
) -> str | None:
    """The canonical text of the value at a path; None where it is none of its type."""
    value = raw
    for part in path:
        inner = members(value)
        if inner is None or part not in inner:
            return None
        value = inner[part]
    try:
        decoded = decode_value(value)
        return convert(decoded, column.type)
    except RecordError:
        return None
