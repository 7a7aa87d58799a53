"""How the operation of an OpenAPI document is paged, or that it is and we cannot say how.

A parameter that asks for a size or a place, or a word about more beside the list, is proof of pages. What is not
recognised is never taken for "one answer is everything".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.pagination import MAX_PAGE_SIZE
from sync_pipelines.secrets import printable
from sync_pipelines.sources.rest.page_words import (
    ENVELOPES,
    FLAGS,
    LAST,
    MORE,
    NEXT,
    PAGES,
    POSITIONS,
    REMAINING,
    SIZES,
    TOTAL,
    names_next,
    plain_name,
    tells_of_pages,
)

_SIZE = {*SIZES, "count", "num", "maxpagesize", "n"}
_PAGE = {"page", "pagenumber", "pageno", "pagenum", "pageindex", "currentpage", "pagenr"}
_OFFSET = {
    "offset",
    "skip",
    "startat",
    "start",
    "startindex",
    "pageoffset",
    "startrow",
    "firstresult",
}
_PLAIN_OFFSET = {"offset", "skip", "startat", "pageoffset"}
_CURSOR = {
    "cursor", "pagetoken", "nextpagetoken", "nexttoken", "nextcursor", "continuationtoken", "continuation",
    "pagecursor", "marker", "startcursor", "scrollid", "bookmark", "after", "before", "startingafter", "endingbefore",
    "afterid", "beforeid", "sinceid", "maxid", "startkey", "exclusivestartkey", "exclusivestartid", "pageinfo",
    "pageafter", "pagebefore", "pagekey", "skiptoken", "searchafter", "scroll", "resumptiontoken", "fromid", "lastid",
    "lastkey",
}  # fmt: skip
_TOKENS = (
    "cursor", "pagetoken", "nextpagetoken", "nexttoken", "nextcursor", "continuationtoken", "pagecursor", "marker",
    "startcursor", "scrollid", "bookmark", "after", "token", "page",
)  # fmt: skip
_AFTER_LAST = ("startingafter", "afterid", "after")
_LINKS = {
    "nextpageurl",
    "nexturl",
    "nexturi",
    "nextlink",
    "nexthref",
    "odatanextlink",
    "nextpagelink",
    "nextpageuri",
}
_PLACES = {*_PAGE, *_OFFSET, *_CURSOR, "limit", "size", "pagesize", "perpage"} - {
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
MAX_BESIDE = 500
Resolve = Callable[[Any], dict[str, Any]]
Properties = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Operation:
    """What a document says of one operation that concerns its pages.

    Attributes:
        slug: of the entity.
        query: schemas of its query parameters, by name.
        records: JSONPath to the list in the answer.
        beside: schemas of what is beside the list, by JSONPath.
        key: the business key.
        headers: names of the headers that the answer is declared to have.
    """

    slug: str
    query: dict[str, dict[str, Any]]
    records: str
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def parameter(self, names: Any) -> str | None:
        """The first query parameter with one of these plain names."""
        return next(
            (name for wanted in names for name in self.query if plain_name(name) == wanted), None
        )

    def place(self, names: set[str], types: set[str]) -> str | None:
        """JSONPath of the first thing beside the list with one of these plain names and types."""
        return next(
            (
                path
                for path, schema in self.beside.items()
                if _last(path) in names and types & _types(schema)
            ),
            None,
        )


def _means_pages(plain: str) -> bool:
    """Whether a name can mean nothing but pages."""
    return plain in FLAGS or (names_next(plain) and plain != "next")


def beside_list(
    schema: dict[str, Any], records: str, resolve: Resolve, properties: Properties
) -> dict[str, dict[str, Any]]:
    """What an answer has beside its list, those of objects with known names included, by JSONPath.

    Of other objects only names that can mean nothing but pages. A schema at several places is listed at the first.

    Raises:
        EntityDefinitionError: it has so much that this is no list with something beside it.
    """
    gathered = _Beside(records, resolve, properties)
    if records != "$":
        gathered.add(schema, "$", 3, is_known=True)
    return gathered.found


class _Beside:
    """The schemas beside a list, by JSONPath."""

    def __init__(self, records: str, resolve: Resolve, properties: Properties) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._records = records
        self._resolve = resolve
        self._properties = properties
        # With the schema itself, so that nothing else gets its identity meanwhile.
        self._seen: dict[tuple[int, bool], tuple[int, dict[str, Any]]] = {}

    def add(self, inner: dict[str, Any], prefix: str, depth: int, *, is_known: bool) -> None:
        """Add the properties of a schema, and those within them down to a depth."""
        before = self._seen.get((id(inner), is_known))
        if before is not None and before[0] >= depth:
            return
        self._seen[id(inner), is_known] = depth, inner
        for name, one in self._properties(inner).items():
            path = f"{prefix}.{_quoted(name)}"
            if path == self._records:
                continue
            plain = plain_name(name)
            resolved = self._resolve(one)
            if is_known or _means_pages(plain):
                self._keep(path, resolved)
            if depth:
                stays_known = is_known and (plain in ENVELOPES or names_next(plain))
                self.add(resolved, path, depth - 1, is_known=stays_known)

    def _keep(self, path: str, schema: dict[str, Any]) -> None:
        self.found[path] = schema
        if len(self.found) > MAX_BESIDE:
            raise EntityDefinitionError(
                f"its answer has more than {MAX_BESIDE} things beside its list; declare its `pagination` and `records`"
            )


def plan_pagination(operation: Operation) -> dict[str, Any] | None:
    """The pagination of an operation; None when nothing says that it has pages.

    Raises:
        EntityDefinitionError: it is paged, and none of our paginations plainly fits; with the lines to add.
    """
    size = _size(operation)
    for plan in (_by_link, _by_token, _by_last_record, _by_page, _by_offset, _by_header):
        found = plan(operation, size)
        if found is not None:
            return found
    signs = _signs(operation)
    if not signs:
        return None
    guess = _guess(operation, size)
    raise EntityDefinitionError(
        f"it is paged ({printable(', '.join(signs), 200)}), and nothing tells how its next page is asked for; add"
        f" `endpoints: {{{operation.slug}: {{pagination: {_flow(guess)}}}}}` to the connector's file, with what is"
        f" true of it, or `endpoints: {{{operation.slug}: {{pagination: {{type: none}}}}}}` if one answer is"
        " everything"
    )


def _signs(operation: Operation) -> list[str]:
    query = [name for name, schema in operation.query.items() if _asks_for_a_page(name, schema)]
    beside = [
        path
        for path, schema in operation.beside.items()
        if _tells_of_pages(_last(path), _types(schema))
    ]
    return (
        [f"parameter {name}" for name in query]
        + [f"{path} in the answer" for path in beside]
        + [f"header {name}" for name in operation.headers if tells_of_pages(name)]
    )


def _asks_for_a_page(name: str, schema: dict[str, Any]) -> bool:
    """Whether a query parameter is for a size or a place, also behind a prefix: sysparm_offset, resultPageSize."""
    if schema.get("format") in _DATES or _types(schema) == {"boolean"}:
        return False
    if plain_name(name) in _SIZE | _PAGE | _OFFSET | _CURSOR:
        return True
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    ends = range(1, len(words))
    return any(
        "".join(words[start:]) in _PLACES and set(words[:start]) <= _PREFIXES for start in ends
    )


def _tells_of_pages(word: str, types: set[str]) -> bool:
    """Whether something beside the list, by its plain name and its types, is there only because there are pages."""
    if word in MORE or names_next(word) or word == "cursor":
        return True
    is_number = not types or bool(types & {"integer", "number", "string"})
    by_type = (word in LAST and types == {"boolean"}) or (
        word in POSITIONS | {"offset"} and types == {"string"}
    )
    return by_type or (word in TOTAL | PAGES | REMAINING and is_number)


def _size(operation: Operation) -> dict[str, Any]:
    name = operation.parameter(one for one in (*SIZES, "maxpagesize", "count") if one != "first")
    if name is None:
        return {}
    largest = operation.query[name].get("maximum")
    bounded = (
        isinstance(largest, int) and not isinstance(largest, bool) and 1 <= largest <= MAX_PAGE_SIZE
    )
    return {"size_param": name, **({"max_size": largest} if bounded else {})}


def _by_link(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    for path, schema in operation.beside.items():
        within_links = any(plain_name(part) == "links" for part in path.split(".")[:-1])
        is_address = (
            schema.get("format") in ("uri", "url", "uri-reference")
            or _last(path) in _LINKS
            or within_links
        )
        name = _last(path.removesuffix(".href")) if path.endswith(".href") else _last(path)
        if name in NEXT and "string" in _types(schema) and is_address:
            return {"type": "next_link", "next_path": path, **size}
    return None


def _by_token(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    path = operation.place(NEXT - _LINKS, {"string"}) or operation.place({"cursor"}, {"string"})
    name = operation.parameter(_TOKENS)
    if (
        path is None
        or name is None
        or (plain_name(name) == "page" and "string" not in _types(operation.query[name]))
    ):
        return None
    return {"type": "cursor", "cursor_path": path, "cursor_param": name, **size}


def _by_last_record(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    more = operation.place(MORE, {"boolean"})
    name = operation.parameter(_AFTER_LAST)
    if more is None or name is None or len(operation.key) != 1 or operation.records == "$":
        return None
    last = (
        operation.place({"lastid"}, {"string", "integer"})
        or f"{operation.records}[-1].{_quoted(operation.key[0])}"
    )
    return {
        "type": "cursor",
        "cursor_path": last,
        "cursor_param": name,
        "has_more_path": more,
        **size,
    }


def _by_page(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    name = operation.parameter(_PAGE)
    if name is None or _types(operation.query[name]) - {"integer", "number"}:
        return None
    schema = operation.query[name]
    first = next((schema[one] for one in ("default", "minimum") if schema.get(one) in (0, 1)), 1)
    return {"type": "page", "page_param": name, **({} if first else {"first_page": 0}), **size}


def _by_offset(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    name = operation.parameter(_PLAIN_OFFSET)
    if name is None and (start := operation.parameter(["start"])) is not None:
        schema = operation.query[start]
        name = start if 0 in (schema.get("default"), schema.get("minimum")) else None
    if name is None or not size or _types(operation.query[name]) - {"integer", "number"}:
        return None
    return {"type": "offset", "offset_param": name, **size}


def _by_header(operation: Operation, size: dict[str, Any]) -> dict[str, Any] | None:
    return (
        {"type": "link_header", **size}
        if any(name.lower() == "link" for name in operation.headers)
        else None
    )


def _guess(operation: Operation, size: dict[str, Any]) -> dict[str, Any]:
    cursor, offset = operation.parameter(_CURSOR), operation.parameter(_OFFSET)
    if cursor is not None:
        path = operation.place(NEXT | {"cursor"}, {"string", "integer"})
        last = f"{operation.records}[-1].{_quoted(operation.key[0])}" if operation.key else "$.next"
        return {"type": "cursor", "cursor_path": path or last, "cursor_param": cursor, **size}
    if offset is not None:
        return {"type": "offset", "offset_param": offset, **({"size_param": "limit"} | size)}
    return {"type": "page", "page_param": operation.parameter(_PAGE) or "page", **size}


def _flow(pagination: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in pagination.items()) + "}"


def _scalar(value: Any) -> str:
    text = printable(str(value), 100)
    return (
        text
        if not any(letter in "[]{}:,#&*!|>'\"%@`\\ " for letter in text)
        else "'" + text.replace("'", "''") + "'"
    )


def _last(path: str) -> str:
    return plain_name(path.rpartition(".")[2])


def _quoted(name: str) -> str:
    return (
        name
        if name.replace("_", "a").isalnum() and not name[0].isdigit() and name.isascii()
        else '"' + name.replace('"', "") + '"'
    )


def _types(schema: dict[str, Any]) -> set[str]:
    """The types that a schema names, those of its alternatives included; without null."""
    declared = schema.get("type")
    types = set(declared) if isinstance(declared, list) else {declared}
    for one in [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]:
        types |= _types(one) if isinstance(one, dict) else set()
    return {one for one in types if isinstance(one, str)} - {"null"}
