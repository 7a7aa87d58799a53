"""Whether a list that came to an end is whole: what its answers say of more, and what its size says."""

from __future__ import annotations

from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.pagination import (
    CursorPagination,
    NextLinkPagination,
    NoPagination,
    PagePagination,
)
from sync_pipelines.sources.declared.stated_total import StatedTotal
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.answers import Answer
from sync_pipelines.sources.rest.list_info import ListInfo, read_list_info
from sync_pipelines.sources.rest.page_words import SIZES, plain_name
from sync_pipelines.sources.rest.paginators import Pages

_NEXT_COMMAND = "declare `pagination` in the connector's file; if this is the end, `pagination: {…, checked: false}`"


class ListEnd:
    """Compares the ends of an endpoint's lists with what its answers say.

    Args:
        entity: for messages.
        endpoint: its declaration.
        page_size: records that are asked for.

    Attributes:
        may_be_early: a full page ended a list, and no answer had the place where the next page is named.
    """

    def __init__(
        self,
        entity: Entity,
        endpoint: Endpoint,
        page_size: int,
    ) -> None:
        self.may_be_early = False
        self._where = dict(entity.where)
        self._endpoint = endpoint
        self._page_size = page_size
        self._is_checked = _is_checked(endpoint)
        self._stated = StatedTotal()

    @property
    def total(self) -> int | None:
        """How many records the answers say that there are; None where they do not, or not alike."""
        return self._stated.total

    def begin(self) -> None:
        """Another read begins."""
        self._stated.begin()

    def note_total(self, reply: Reply) -> None:
        """Take in how many records an answer says that there are."""
        if self._is_checked:
            info = read_list_info(reply, self._endpoint.records)
            self._stated.note(info.total)

    def check(
        self,
        pages: Pages,
        answer: Answer,
        answers: int,
    ) -> None:
        """Refuse an end at which the answer itself says that there is more, or at which nothing distinguishes a cut
        list from a whole one.

        Args:
            pages: the requests, of which the last one was answered.
            answer: the last one.
            answers: how many came.

        Raises:
            SourceContractError: it does.
        """
        fetched = answer.page.fetched
        size_param = self._endpoint.pagination.size_param
        is_full = fetched > 0
        if size_param is not None:
            is_full = is_full and fetched >= self._page_size
        if is_full and not pages.names_next:
            self.may_be_early = True
        if not self._is_checked:
            return
        info = read_list_info(answer.reply, self._endpoint.records)
        reason = info.more
        has_one_end = self._endpoint.ids is None and not pages.numbered
        if reason is None and has_one_end:
            reason = self._more_than_came(pages, info, fetched, answers)
        if reason is None and is_full and self._lacks_a_next_place(pages, info):
            reason = (
                f"it brought as many as were asked for, {fetched}, and no answer has the place where the"
                " next page is named"
            )
        if reason is not None:
            raise SourceContractError(
                f"The read ended, but {reason}: the pagination {self._endpoint.pagination.type!r} does not reach"
                " the rest.",
                where=self._where,
                next_command=_NEXT_COMMAND,
            )

    def _lacks_a_next_place(self, pages: Pages, info: ListInfo) -> bool:
        """Whether answers name their next page, none had the place for it, and none says that it is the last."""
        pagination = self._endpoint.pagination
        if not isinstance(pagination, (CursorPagination, NextLinkPagination)):
            return False
        return pagination.size_param is not None and not pages.names_next and not info.ends

    def _more_than_came(
        self,
        pages: Pages,
        info: ListInfo,
        records: int,
        answers: int,
    ) -> str | None:
        """Why the answers so far are not everything; None when nothing indicates it."""
        if info.pages is not None and info.pages > answers:
            if answers > 1:
                return f"there are {info.pages} pages, and {answers} came"
            return f"the answer is one of {info.pages} pages"
        if not isinstance(self._endpoint.pagination, NoPagination):
            return None
        if info.ends:
            return None
        if info.total is not None and info.total <= records:
            return None
        if info.position is not None:
            return info.position
        limits = _sizes_asked_for(pages)
        if info.limit is not None:
            limits.add(info.limit)
        if records and records in limits:
            return f"it brought exactly as many as a page has, {records}"
        return None


def _is_checked(endpoint: Endpoint) -> bool:
    """Whether answers are pages of a list whose end they may name."""
    pagination = endpoint.pagination
    if isinstance(pagination, PagePagination) and pagination.last_page is not None:
        return False  # what was declared to end early does so
    if not pagination.checked or endpoint.recording is not None:
        return False
    return endpoint.ids is None or endpoint.ids.param is not None


def _sizes_asked_for(pages: Pages) -> set[int]:
    sizes: set[int] = set()
    for name, value in pages.query.items():
        text = str(value)
        if plain_name(name) in SIZES and text.isdigit():
            sizes.add(int(text))
    return sizes
