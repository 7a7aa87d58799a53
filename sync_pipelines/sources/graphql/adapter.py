"""Read an endpoint of kind graphql: one query, page after page of its connection."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.batches.raw_json import Step, compile_path, follow
from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.pagination import ConnectionPagination
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.endpoints import page_size_of
from sync_pipelines.sources.declared.layout import DeclaredLayout
from sync_pipelines.sources.declared.paths import records_path
from sync_pipelines.sources.declared.seen_pages import SeenPages, too_many_requests
from sync_pipelines.sources.declared.stated_total import StatedTotal
from sync_pipelines.sources.graphql.answers import (
    PageInfo,
    check_errors,
    connection_of,
    goes_on,
    page_info_of,
)
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import HttpRequest, Reply, Traffic
from sync_pipelines.sources.source import WalkedSource


class GraphqlSource(WalkedSource):
    """One endpoint of a connector of kind graphql.

    Args:
        context: what to read.
        endpoint: the entity's declaration.
    """

    def __init__(self, context: ReadContext, endpoint: Endpoint) -> None:
        entity = context.entity
        self._session = context.open_session()
        self._endpoint = endpoint
        self._max_pages = context.max_pages
        self.page_size = page_size_of(endpoint, entity.policy.page_size, context.settings)
        self._layout = DeclaredLayout(endpoint, entity.columns, context.masked)
        self.layout = self._layout
        self._stated = StatedTotal()
        self._records = 0

    @property
    def total(self) -> int | None:
        """As `Source.total`."""
        return self._stated.total

    def walk(
        self,
        decoder: PageDecoder,
        after: str | None,
        traffic: Traffic,
        before: Callable[[], int],
    ) -> Iterator[Page]:
        """As `WalkedSource.walk`."""
        self._stated.begin()
        # What a filter leaves out may or may not be part of the count.
        is_counted = after is None and self._endpoint.pagination.checked
        cursor: str | None = None
        seen = SeenPages()
        while True:
            seen.note_request(cursor or "")
            if seen.asked > self._max_pages:
                raise too_many_requests(self._max_pages)
            number = before()
            variables = variables_for(
                self._endpoint,
                self.page_size,
                cursor=cursor,
                since=after,
            )
            page, info = ask(
                self._session,
                self._endpoint,
                variables,
                traffic,
                functools.partial(self._decoded, decoder, number),
            )
            self._records += page.fetched
            if page.fetched:
                seen.note_records(page.digest)
                yield page
            self._stated.note(info.total if is_counted else None)
            if not info.has_next:
                return
            cursor = info.end_cursor

    def _decoded(
        self,
        decoder: PageDecoder,
        number: int,
        reply: Reply,
    ) -> tuple[Page, PageInfo]:
        page = decoder.decode(number, reply.body)
        info = info_of(self._endpoint, reply.body)
        return page, info

    def warnings(self) -> list[str]:
        """Columns that no record had."""
        return self._layout.warnings() if self._records else []


def ask(
    session: GuardedSession,
    endpoint: Endpoint,
    variables: dict[str, Any],
    traffic: Traffic,
    parse: Callable[[Reply], Any],
) -> Any:
    """What `parse` makes of an answer to the endpoint's query that has no errors.

    Raises:
        SyncError: from the session, or the answer has errors.
    """

    def checked(reply: Reply) -> Any:
        check_errors(reply.body)
        return parse(reply)

    body = json.dumps({"query": endpoint.query, "variables": variables})
    request = HttpRequest(
        "POST",
        f"{session.base_url}{endpoint.path}",
        headers={"Content-Type": "application/json"},
        body=body.encode(),
    )
    return session.send(request, checked, traffic)


def variables_for(
    endpoint: Endpoint,
    size: int,
    *,
    cursor: str | None = None,
    since: str | None = None,
) -> dict[str, Any]:
    """The variables of one request: the declared ones, the place in the connection, and the filter by the cursor."""
    variables = dict(endpoint.variables)
    pagination = endpoint.pagination
    if isinstance(pagination, ConnectionPagination):
        variables[pagination.after] = cursor
        if pagination.size_param is not None:
            variables[pagination.size_param] = size
    if endpoint.cursor is not None:
        variables[endpoint.cursor.param] = since
    return variables


def info_of(endpoint: Endpoint, body: bytes) -> PageInfo:
    """Where an answer's connection goes on.

    Raises:
        SourceContractError: it does not say it, or it goes on although its file declares that one answer is everything,
            or a list inside of its records goes on.
    """
    connection = connection_path(endpoint)
    if isinstance(endpoint.pagination, ConnectionPagination):
        info = page_info_of(body, connection)
        _check_inside(endpoint, body, len(connection))
        return info
    found = connection_of(body, connection)
    if "pageInfo" in found and page_info_of(body, connection).has_next:
        raise SourceContractError(
            "The answer says that there is a next page, and the connector's file that one answer is everything.",
            next_command="declare `pagination: {type: connection}` in the connector's file",
        )
    _check_inside(endpoint, body, len(connection))
    return PageInfo(has_next=False)


def _check_inside(
    endpoint: Endpoint,
    body: bytes,
    paged: int,
) -> None:
    """Refuse an answer with another connection on the way to its records that goes on: nobody would read its rest.

    Args:
        endpoint: its declaration.
        body: of an answer without errors.
        paged: steps that lead to the connection whose pages are followed.
    """
    # The path is followed in any case: an answer that does not have it is refused here.
    says_more = b'"pageInfo"' in body
    found = [body]
    steps = compile_path(records_path(endpoint))
    for place, step in enumerate(steps):
        if says_more and place != paged and any(map(goes_on, found)):
            raise SourceContractError(
                "Another list on the way to the records says that there is a next page, which is never asked for.",
                next_command="ask for the records by a query whose only list with pages is their own",
            )
        outer = found
        found = []
        for raw in outer:
            found += follow(raw, step)


def connection_path(endpoint: Endpoint) -> tuple[Step, ...]:
    """Path of the object that holds the list of records, and `pageInfo` beside it."""
    steps = compile_path(records_path(endpoint))
    at = steps.index(None) if None in steps else len(steps)
    return steps[: max(at - 1, 0)]
