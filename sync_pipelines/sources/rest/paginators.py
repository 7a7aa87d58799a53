"""dlt's paginators, driven by our guarded session instead of dlt's own client."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import requests
from dlt.common.jsonpath import find_values
from dlt.sources.helpers.rest_client import paginators as dlt_paginators
from requests.structures import CaseInsensitiveDict

from sync_pipelines.batches.records import raw_text, shallow_members
from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.pagination import (
    CursorPagination,
    LinkHeaderPagination,
    NextLinkPagination,
    OffsetPagination,
    PagePagination,
)
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.links import parse_links
from sync_pipelines.sources.http.traffic import HttpRequest, Reply


class _Response(requests.Response):
    """What a paginator looks at: the body as JSON, and the Link header."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._content = reply.body
        self.status_code = 200
        self.url = reply.url
        self.headers = CaseInsensitiveDict(reply.headers)

    def json(self, **_: Any) -> Any:
        """The decoded body; one bad text in it must not hide the next page."""
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            text = raw_text(self.content)
            return json.loads(text, strict=False)
        except RecursionError:
            # A record that is too deep must not hide it either.
            text = raw_text(self.content)
            return shallow_members(text)

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """The links of the answer by relation in lower case, of equal ones the first."""
        found: dict[str, dict[str, str]] = {}
        header = self.headers.get("link", "")
        for link in parse_links(header, self.url):
            for relation in link.relations:
                found.setdefault(relation, {"url": link.target})
        return found


class Pages:
    """The requests of one paginated read.

    Attributes:
        names_next: an answer had the place where the next page is named.

    Args:
        endpoint: whose pagination to follow.
        url: address of the first request.
        params: query of every request.
        size: records per page, where the endpoint lets us ask for it.
        number: start at this page, from 1 (page and offset only).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        url: str,
        params: dict[str, Any],
        size: int,
        number: int = 1,
    ) -> None:
        pagination = endpoint.pagination
        self.numbered = isinstance(pagination, (PagePagination, OffsetPagination))
        params = dict(params)
        # The paginator of an offset adds its size by itself.
        adds_size = isinstance(pagination, OffsetPagination)
        if pagination.size_param is not None and not adds_size:
            params[pagination.size_param] = size
        self.request = requests.Request("GET", url, params=params)
        self._paginator = _make(pagination, size, number)
        self._paginator.init_request(self.request)
        self.size_param: str | None = None
        if isinstance(pagination, PagePagination):
            self.size_param = pagination.size_param
        self._next_path = _next_path(pagination)
        names_by_header = isinstance(pagination, LinkHeaderPagination)
        self.names_next = self._next_path is None and not names_by_header

    @property
    def query(self) -> dict[str, Any]:
        """The query of the next request, beside what its address has."""
        return dict(self.request.params or {})

    @property
    def current(self) -> HttpRequest:
        """The next request."""
        return HttpRequest("GET", self.request.url, self.query)

    @property
    def signature(self) -> str:
        """The text by which requests are distinguished."""
        parameters = []
        for name, value in sorted(self.query.items()):
            parameters.append((name, str(value)))
        return f"{self.request.url} {parameters}"

    def advance(self, reply: Reply, records: int) -> bool:
        """Turn to the next page; False when the source says that there is none.

        Raises:
            SourceContractError: the answer's reference to the next page is none.
        """
        paginator = self._paginator
        self.names_next = self.names_next or self._is_next_named(reply)
        if records and isinstance(paginator, dlt_paginators.OffsetPaginator):
            # A source that caps its pages sends fewer than were asked for; what it left out comes next.
            paginator.value_step = records
        try:
            # They only look at whether there were records at all.
            some = [None] if records else []
            paginator.update_state(_Response(reply), some)
            reference = getattr(paginator, "_next_reference", None)
            if reference is True or not isinstance(reference, str | int | None):
                shown = printable(str(reference), 60)
                raise SourceContractError(
                    f"The next page is named by {shown!r}, which is no address or token."
                )
            if not paginator.has_next_page or reference in ("", 0):  # also false
                return False
            paginator.update_request(self.request)
        except (
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            raise SourceContractError(
                f"The answer does not name its next page: {printable(str(error), 200)}"
            ) from None
        return True

    def _is_next_named(self, reply: Reply) -> bool:
        """The place for a reference to the next page is there, although it may be empty."""
        if self._next_path is None:
            return "link" in reply.headers
        try:
            body = _Response(reply).json()
            return bool(find_values(self._next_path, body))
        except (msgspec.MsgspecError, RecursionError):
            return False

    def resize(self, records: int) -> int | None:
        """Ask for fewer records from this page on, by page number only.

        Returns what was asked for, None where it is no less.
        """
        if self.size_param is None:
            return None
        asked = self.query.get(self.size_param)
        if asked is None or not 0 < records < asked:
            return None
        self.request.params[self.size_param] = records
        return int(asked)

    def beyond(self) -> None:
        """Turn to the page after this one, whatever this one answered (page and offset only)."""
        paginator = self._paginator
        paginator.current_value += paginator.value_step  # type: ignore[attr-defined]
        paginator.update_request(self.request)


def _next_path(pagination: Any) -> str | None:
    """JSONPath of the place where an answer names its next page; None where it does not."""
    match pagination:
        case CursorPagination():
            return pagination.cursor_path
        case NextLinkPagination():
            return pagination.next_path
    return None


def _make(
    pagination: Any,
    size: int,
    number: int,
) -> dlt_paginators.BasePaginator:
    match pagination:
        case PagePagination():
            end = None if pagination.last_page is None else pagination.last_page + 1
            first = pagination.first_page
            return dlt_paginators.PageNumberPaginator(
                base_page=first,
                page=first + number - 1,
                page_param=pagination.page_param,
                total_path=None,
                maximum_page=end,
            )
        case OffsetPagination():
            return dlt_paginators.OffsetPaginator(
                limit=size,
                offset=(number - 1) * size,
                offset_param=pagination.offset_param,
                limit_param=pagination.size_param,
                total_path=None,
            )
        case CursorPagination():
            return dlt_paginators.JSONResponseCursorPaginator(
                pagination.cursor_path,
                pagination.cursor_param,
                has_more_path=pagination.has_more_path,
            )
        case LinkHeaderPagination():
            return dlt_paginators.HeaderLinkPaginator(pagination.rel.lower())
        case NextLinkPagination():
            return dlt_paginators.JSONLinkPaginator(pagination.next_path)
    return dlt_paginators.SinglePagePaginator()
