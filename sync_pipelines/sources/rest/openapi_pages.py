"""How the operation of an OpenAPI document is paged, or that it is and we cannot say how.

A parameter that asks for a size or a place, or a word about more beside the list, is proof of pages. What is not
recognised is never taken for "one answer is everything".
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.pagination import MAX_PAGE_SIZE
from sync_pipelines.secrets import printable
from sync_pipelines.sources.rest.openapi_beside import Schema, quoted_name
from sync_pipelines.sources.rest.openapi_words import (
    AFTER_LAST,
    CURSOR,
    LINKS,
    OFFSET,
    PAGE,
    PLAIN_OFFSET,
    TOKENS,
    asks_for_a_page,
    is_of_pages,
    types_of_schema,
)
from sync_pipelines.sources.rest.page_words import MORE, NEXT, SIZES, concerns_pages, plain_name

Pagination = dict[str, Any]
_NUMBERS = {"integer", "number"}
_ADDRESS_FORMATS = ("uri", "url", "uri-reference")
_RESERVED = "[]{}:,#&*!|>'\"%@`\\ "
"""Letters that a plain scalar of YAML cannot have."""


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
    query: dict[str, Schema]
    records: str
    beside: dict[str, Schema] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def parameter(self, names: Set[str]) -> str | None:
        """The first query parameter, in the order of the document, with one of these plain names."""
        for name in self.query:
            if plain_name(name) in names:
                return name
        return None

    def preferred(self, names: Sequence[str]) -> str | None:
        """The query parameter with the first of these plain names that there is."""
        for wanted in names:
            name = self.parameter({wanted})
            if name is not None:
                return name
        return None

    def place(self, names: set[str], types: set[str]) -> str | None:
        """JSONPath of the first thing beside the list with one of these plain names and types."""
        for path, schema in self.beside.items():
            if _last(path) in names and types & types_of_schema(schema):
                return path
        return None

    def types_of(self, parameter: str) -> set[str]:
        """The types of a query parameter."""
        return types_of_schema(self.query[parameter])

    @property
    def last_key(self) -> str:
        """JSONPath of the key of the last record."""
        return f"{self.records}[-1].{quoted_name(self.key[0])}"


def plan_pagination(operation: Operation) -> Pagination | None:
    """The pagination of an operation; None when nothing says that it has pages.

    Raises:
        EntityDefinitionError: it is paged, and none of our paginations plainly fits; with the lines to add.
    """
    size = _size(operation)
    for plan in (_by_link, _by_token, _by_last_record, _by_page):
        found = plan(operation)
        if found is not None:
            return found | size
    if size:
        found = _by_offset(operation)
        if found is not None:
            return found | size
    headers = [name.lower() for name in operation.headers]
    if "link" in headers:
        return {"type": "link_header", **size}
    signs = _signs(operation)
    if not signs:
        return None
    guess = _flow(_guess(operation, size))
    slug = operation.slug
    raise EntityDefinitionError(
        f"it is paged ({printable(', '.join(signs), 200)}), and it is not known how its next page is asked for; add"
        f" `endpoints: {{{slug}: {{pagination: {guess}}}}}` to the connector's file, with what is"
        f" true of it, or `endpoints: {{{slug}: {{pagination: {{type: none}}}}}}` if one answer is"
        " everything"
    )


def _signs(operation: Operation) -> list[str]:
    """What shows that there are pages, in words."""
    signs = []
    for name, schema in operation.query.items():
        if asks_for_a_page(name, schema):
            signs.append(f"parameter {name}")
    for path, schema in operation.beside.items():
        if is_of_pages(_last(path), types_of_schema(schema)):
            signs.append(f"{path} in the answer")
    for name in operation.headers:
        if concerns_pages(name):
            signs.append(f"header {name}")
    return signs


def _size(operation: Operation) -> Pagination:
    """The parameter for a number of records, and the most that it takes; nothing where there is none."""
    name = operation.parameter(SIZES - {"first"})
    if name is None:
        name = operation.preferred(("maxpagesize", "count"))
    if name is None:
        return {}
    largest = operation.query[name].get("maximum")
    if isinstance(largest, bool) or not isinstance(largest, int):
        return {"size_param": name}
    if not 1 <= largest <= MAX_PAGE_SIZE:
        return {"size_param": name}
    return {"size_param": name, "max_size": largest}


def _by_link(operation: Operation) -> Pagination | None:
    for path, schema in operation.beside.items():
        name = _last(path.removesuffix(".href"))
        if name not in NEXT or "string" not in types_of_schema(schema):
            continue
        *parents, _ = path.split(".")
        is_within_links = any(plain_name(part) == "links" for part in parents)
        has_format = schema.get("format") in _ADDRESS_FORMATS
        if is_within_links or has_format or _last(path) in LINKS:
            return {"type": "next_link", "next_path": path}
    return None


def _by_token(operation: Operation) -> Pagination | None:
    path = operation.place(NEXT - LINKS, {"string"})
    if path is None:
        path = operation.place({"cursor"}, {"string"})
    name = operation.preferred(TOKENS)
    if path is None or name is None:
        return None
    # A number of a page is no token.
    is_number = "string" not in operation.types_of(name)
    if is_number and plain_name(name) == "page":
        return None
    return {"type": "cursor", "cursor_path": path, "cursor_param": name}


def _by_last_record(operation: Operation) -> Pagination | None:
    more = operation.place(MORE, {"boolean"})
    name = operation.preferred(AFTER_LAST)
    if more is None or name is None:
        return None
    if len(operation.key) != 1 or operation.records == "$":
        return None
    last = operation.place({"lastid"}, {"string", "integer"})
    return {
        "type": "cursor",
        "cursor_path": last or operation.last_key,
        "cursor_param": name,
        "has_more_path": more,
    }


def _by_page(operation: Operation) -> Pagination | None:
    name = operation.parameter(PAGE)
    if name is None or operation.types_of(name) - _NUMBERS:
        return None
    plan: Pagination = {"type": "page", "page_param": name}
    schema = operation.query[name]
    for bound in ("default", "minimum"):
        first = schema.get(bound)
        if first in (0, 1):
            if not first:
                plan["first_page"] = 0
            break
    return plan


def _by_offset(operation: Operation) -> Pagination | None:
    name = operation.parameter(PLAIN_OFFSET)
    if name is None:
        name = operation.parameter({"start"})
        if name is None or not _begins_at_zero(operation.query[name]):
            return None
    if operation.types_of(name) - _NUMBERS:
        return None
    return {"type": "offset", "offset_param": name}


def _begins_at_zero(schema: Schema) -> bool:
    bounds = (schema.get("default"), schema.get("minimum"))
    return 0 in bounds


def _guess(operation: Operation, size: Pagination) -> Pagination:
    """The pagination that may be meant."""
    cursor = operation.parameter(CURSOR)
    if cursor is not None:
        path = operation.place(NEXT | {"cursor"}, {"string", "integer"})
        if path is None:
            path = operation.last_key if operation.key else "$.next"
        return {
            "type": "cursor",
            "cursor_path": path,
            "cursor_param": cursor,
            **size,
        }
    offset = operation.parameter(OFFSET)
    if offset is not None:
        size = size or {"size_param": "limit"}
        return {"type": "offset", "offset_param": offset, **size}
    page = operation.parameter(PAGE) or "page"
    return {"type": "page", "page_param": page, **size}


def _flow(pagination: Pagination) -> str:
    """A pagination as one line of YAML."""
    members = [f"{name}: {_scalar(value)}" for name, value in pagination.items()]
    inside = ", ".join(members)
    return f"{{{inside}}}"


def _scalar(value: Any) -> str:
    text = printable(str(value), 100)
    if not any(letter in _RESERVED for letter in text):
        return text
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _last(path: str) -> str:
    """The plain name of the last step of a path."""
    return plain_name(path.rpartition(".")[2])
