"""What an answer says about the list that it is a page of: that there is more, where the next page is, how many there are.

Only what stands beside the list, or in an object of a known name beside it, counts; a record's own fields never do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from sync_pipelines.extract.http import Reply
from sync_pipelines.extract.links import next_target
from sync_pipelines.extract.raw_json import compile_path
from sync_pipelines.extract.records import members_of

HEADERS = ("link", "x-next-page", "x-total-count", "x-total")
MAX_BYTES = 4096
"""Of a value beside the list; longer ones are neither flags nor addresses."""
MORE = {"hasmore", "hasnext", "hasnextpage", "hasmorepages", "hasmoreitems", "hasmoreresults", "morepages", "moreavailable",
        "istruncated", "truncated", "incompleteresults"}  # fmt: skip
LAST = {"last", "islast", "islastpage", "lastpage", "isend", "endoflist"}
NEXT = {"next", "nextpage", "nextpageurl", "nexturl", "nexturi", "nextlink", "nexthref", "nextpagelink", "nextpageuri", "odatanextlink",
        "nextrecordsurl", "nextresults", "nextpagetoken", "nexttoken", "nextcursor", "nextpagecursor", "nextmarker", "nextoffset",
        "nextstart", "nextpagenumber", "nextpageid", "nextstartingafter", "nextcontinuationtoken", "continuationtoken"}  # fmt: skip
TOTAL = {"total", "totalcount", "totalresults", "totalelements", "totalitems", "totalrecords", "totalrows", "totalhits", "totalsize",
         "totalentries", "totalobjects", "count", "recordcount", "resultcount", "itemcount", "numfound", "odatacount"}  # fmt: skip
PAGES = {"totalpages", "pagecount", "pagestotal", "lastpagenumber", "numpages", "pages"}
LIMIT = {"limit", "perpage", "pagesize", "pagelen", "maxresults", "pagelimit", "itemsperpage"}
SIZES = {*LIMIT, "size", "top", "first", "take", "rows", "results", "pagecount", "itemsperpage", "maxitems", "maxrecords", "batchsize"}
"""Names of query parameters that ask for a number of records."""
ENVELOPES = {"meta", "metadata", "pagination", "paging", "page", "pageinfo", "paginginfo", "links", "responsemetadata", "info", "resultinfo",
             "resultset", "cursors", "pager", "paginator"}  # fmt: skip
_ADDRESSES = {"href", "url", "link", "after", "cursor", "token", "uri"}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def plain_name(name: str) -> str:
    """A name without case and punctuation: has_more, hasMore and has-more are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Told:
    """What one answer says.

    Attributes:
        more: the words that say that there is more; None when there are none.
        ends: it says in so many words that there is no more.
        total: how many records there are.
        pages: how many pages there are.
        limit: how many records a page has at most.
    """

    more: str | None = None
    ends: bool = False
    total: int | None = None
    pages: int | None = None
    limit: int | None = None


def read_told(reply: Reply, records: str | list[str]) -> Told:
    """What an answer says about its list.

    Args:
        reply: the answer.
        records: JSONPath to its list.

    Raises:
        SourceContractError: its header Link cannot be read.
    """
    more: list[str] = []
    ends = False
    figures: dict[str, int] = {}
    target = next_target(reply.headers.get("link", ""), reply.url)
    if target is not None:
        more.append("the header Link names a next page")
    if reply.headers.get("x-next-page", "").strip():
        more.append("the header X-Next-Page names a next page")
    for name in ("x-total-count", "x-total"):
        figure = _figure(reply.headers.get(name, "").strip())
        if figure is not None:
            figures.setdefault("total", figure)
    # Of several paths the first counts that has anything beside its list.
    paths = [records] if isinstance(records, str) else records
    beside = next((found for found in (list(_beside(reply.body, path)) for path in paths) if found), [])
    for name, value in beside:
        plain = plain_name(name.rpartition(".")[2])
        if plain in MORE or plain in LAST:
            if isinstance(value, bool):
                is_more = value is (plain in MORE)
                more += [f"`{name}` is {str(value).lower()}"] if is_more else []
                ends = ends or not is_more
        elif plain in NEXT:
            names_it = _names_a_page(value)
            more += [f"`{name}` names a next page"] if names_it else []
            ends = ends or not names_it
        else:
            kind = next((kind for kind, names in _FIGURES.items() if plain in names), None)
            figure = _figure(value)
            if kind is not None and figure is not None:
                figures.setdefault(kind, figure)
    return Told(more[0] if more else None, ends and not more, figures.get("total"), figures.get("pages"), figures.get("limit"))


_FIGURES = {"total": TOTAL, "pages": PAGES, "limit": LIMIT}


def _figure(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names_a_page(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_names_a_page(inner) for name, inner in value.items() if plain_name(name) in _ADDRESSES)
    return value not in (None, "", False, 0) and not isinstance(value, list)


def _beside(body: bytes, records: str) -> Iterator[tuple[str, Any]]:
    """Names and values beside the list on the way to it, those within objects of known names included."""
    raw, prefix = body, ""
    found: list[tuple[str, Any]] = []
    for step in compile_path(records):
        members = _members(raw)
        if members is None or not isinstance(step, str) or step not in members:
            break
        found += [(f"{prefix}{name}", value) for name, value in _short(members, step)]
        raw, prefix = bytes(members[step]), f"{prefix}{step}."
    if not raw.lstrip(b" \t\r\n").startswith(b"["):
        return  # one object is its own record
    for name, value in found:
        yield name, value
        if isinstance(value, dict):
            yield from _within(name, value)


def _within(prefix: str, envelope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if plain_name(prefix.rpartition(".")[2]) not in ENVELOPES:
        return
    for name, value in envelope.items():
        yield f"{prefix}.{name}", value
        if isinstance(value, dict):
            yield from _within(f"{prefix}.{name}", value)


def _members(raw: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(raw)
    except RecursionError:  # one record is too deep; what stands beside the records is told all the same
        return {name: msgspec.Raw(value) for name, value in members_of(raw).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _short(members: dict[str, msgspec.Raw], step: str) -> Iterator[tuple[str, Any]]:
    for name, raw in members.items():
        if name == step or len(bytes(raw)) > MAX_BYTES:
            continue
        try:
            yield name, msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
