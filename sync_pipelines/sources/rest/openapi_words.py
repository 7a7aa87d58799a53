"""The words by which OpenAPI documents name the parameters of their pages, without case and punctuation."""

from __future__ import annotations

import re
from typing import Any

from sync_pipelines.sources.rest.page_words import (
    LAST,
    MORE,
    PAGES,
    POSITIONS,
    REMAINING,
    SIZES,
    TOTAL,
    names_next,
    plain_name,
)

_SIZE = {*SIZES, "count", "num", "maxpagesize", "n"}
PAGE = {"page", "pagenumber", "pageno", "pagenum", "pageindex", "currentpage", "pagenr"}
OFFSET = {
    "offset",
    "skip",
    "startat",
    "start",
    "startindex",
    "pageoffset",
    "startrow",
    "firstresult",
}
PLAIN_OFFSET = {"offset", "skip", "startat", "pageoffset"}
CURSOR = {
    "cursor", "pagetoken", "nextpagetoken", "nexttoken", "nextcursor", "continuationtoken", "continuation",
    "pagecursor", "marker", "startcursor", "scrollid", "bookmark", "after", "before", "startingafter", "endingbefore",
    "afterid", "beforeid", "sinceid", "maxid", "startkey", "exclusivestartkey", "exclusivestartid", "pageinfo",
    "pageafter", "pagebefore", "pagekey", "skiptoken", "searchafter", "scroll", "resumptiontoken", "fromid", "lastid",
    "lastkey",
}  # fmt: skip
TOKENS = (
    "cursor",
    "pagetoken",
    "nextpagetoken",
    "nexttoken",
    "nextcursor",
    "continuationtoken",
    "pagecursor",
    "marker",
    "startcursor",
    "scrollid",
    "bookmark",
    "after",
    "token",
    "page",
)
AFTER_LAST = ("startingafter", "afterid", "after")
LINKS = {
    "nextpageurl",
    "nexturl",
    "nexturi",
    "nextlink",
    "nexthref",
    "odatanextlink",
    "nextpagelink",
    "nextpageuri",
}
_PLACES = {*PAGE, *OFFSET, *CURSOR, "limit", "size", "pagesize", "perpage"} - {
    "start",
    "before",
    "after",
    "scroll",
}
_PREFIXES = {
    "sysparm",
    "page",
    "paging",
    "pagination",
    "result",
    "results",
    "max",
    "row",
    "rows",
    "record",
    "records",
    "item",
    "items",
    "list",
    "query",
}
_DATES = {"date", "date-time", "time"}


def asks_for_a_page(name: str, schema: dict[str, Any]) -> bool:
    """Whether a query parameter is for a size or a place, also behind a prefix: sysparm_offset, resultPageSize."""
    if schema.get("format") in _DATES or types_of_schema(schema) == {"boolean"}:
        return False
    if plain_name(name) in _SIZE | PAGE | OFFSET | CURSOR:
        return True
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    words = [word.lower() for word in found]
    for start in range(1, len(words)):
        place = "".join(words[start:])
        prefixes = set(words[:start])
        if place in _PLACES and prefixes <= _PREFIXES:
            return True
    return False


def is_of_pages(word: str, types: set[str]) -> bool:
    """Whether something beside the list, by its plain name and its types, is there only because there are pages."""
    if word in MORE or names_next(word) or word == "cursor":
        return True
    if word in LAST and types == {"boolean"}:
        return True
    if word in POSITIONS | {"offset"} and types == {"string"}:
        return True
    may_be_number = not types or not types.isdisjoint({"integer", "number", "string"})
    return may_be_number and word in TOTAL | PAGES | REMAINING


def types_of_schema(schema: dict[str, Any]) -> set[str]:
    """The types that a schema names, those of its alternatives included; without null."""
    declared = schema.get("type")
    named = set(declared) if isinstance(declared, list) else {declared}
    types = {one for one in named if isinstance(one, str)}
    for choices in ("anyOf", "oneOf"):
        for one in schema.get(choices) or ():
            if isinstance(one, dict):
                types |= types_of_schema(one)
    return types - {"null"}
