"""How a list of a declared source goes on: the kinds of `pagination` of a connector file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sync_pipelines.model.strict_model import StrictModel

MAX_PAGE_SIZE = 100_000


class _Ending(StrictModel):
    """How a list ends.

    Attributes:
        checked: what the answers say of it (has_more, a next page, a total) is compared with what was read.
    """

    checked: bool = True


class NoPagination(_Ending):
    """One answer is everything."""

    type: Literal["none"] = "none"
    size: int | None = Field(None, ge=1, le=MAX_PAGE_SIZE)
    size_param: str | None = None


class _Sized(_Ending):
    size: int | None = Field(None, ge=1, le=MAX_PAGE_SIZE)
    max_size: int = Field(MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)

    @model_validator(mode="after")
    def _within(self) -> _Sized:
        if self.size is not None and self.size > self.max_size:
            raise ValueError(f"size {self.size} is larger than max_size {self.max_size}")
        return self


class PagePagination(_Sized):
    """By page number; `last_page` ends the read of a source that never ends by itself."""

    type: Literal["page"]
    page_param: str = "page"
    first_page: int = Field(1, ge=0)
    last_page: int | None = Field(None, ge=0)
    size_param: str | None = None


class OffsetPagination(_Sized):
    """By offset and limit."""

    type: Literal["offset"]
    offset_param: str = "offset"
    size_param: str = "limit"


class CursorPagination(_Sized):
    """By a token of the answer, which goes into the next request; false at `has_more_path` ends it, too."""

    type: Literal["cursor"]
    cursor_path: str
    cursor_param: str = "cursor"
    has_more_path: str | None = None
    size_param: str | None = None


class LinkHeaderPagination(_Sized):
    """By the header `Link: <…>; rel="next"`."""

    type: Literal["link_header"]
    rel: str = "next"
    size_param: str | None = None


class NextLinkPagination(_Sized):
    """By an address in the answer."""

    type: Literal["next_link"]
    next_path: str = "next"
    size_param: str | None = None


class ConnectionPagination(_Sized):
    """By the cursor connection of a GraphQL query: `pageInfo { hasNextPage endCursor }`.

    Attributes:
        after: variable of the query that takes the endCursor.
        size_param: variable that takes the size of a page; None where the query has none.
    """

    type: Literal["connection"]
    after: str = "after"
    size_param: str | None = "first"


Pagination = Annotated[
    NoPagination
    | PagePagination
    | OffsetPagination
    | CursorPagination
    | LinkHeaderPagination
    | NextLinkPagination
    | ConnectionPagination,
    Field(discriminator="type"),
]
