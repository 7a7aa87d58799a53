"""A GraphQL endpoint on the twin: a real schema with cursor connections, and answers that go wrong on command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLError, build_schema, graphql_sync

from sync_pipelines.demo.twin.answers import Answer, error_answer, json_answer
from sync_pipelines.demo.twin.rows import Record, decode_json

PATH = "/graphql"
_SCHEMA = """
scalar Any
type Query { items(first: Int = 10, after: String, updatedAfter: String): ItemConnection! }
type ItemConnection { nodes: [Item] edges: [ItemEdge] pageInfo: PageInfo! totalCount: Int }
type ItemEdge { cursor: String! node: Item }
type PageInfo { hasNextPage: Boolean endCursor: String }
type Item { id: Any name: Any amount: Any updatedAt: Any owner: Owner secret: Any }
type Owner { login: Any city: Any }
"""


@dataclass
class GraphqlTwin:
    """The endpoint `/graphql`; its `records` may be changed at any time.

    Attributes:
        records: items, sorted by `updatedAt` when they are served.
        max_size: largest page it gives.
        forgets_cursor: endCursor is null although there is a next page.
        repeats_cursor: endCursor is the same on every page.
        total: totalCount, where it is not the number of records.
        refused: (message, code) with which the field `secret` of every item is answered instead of a value.
        error: whole answer instead of data, with status 200.
        operations: (query, variables) of the requests, in order.
    """

    records: list[Record] = field(default_factory=list)
    max_size: int = 100
    forgets_cursor: bool = False
    repeats_cursor: bool = False
    total: int | None = None
    refused: tuple[str, str | None] | None = None
    error: Any = None
    operations: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._schema = build_schema(_SCHEMA)

    def answer(self, body: bytes) -> Answer:
        """The answer to one request."""
        asked = decode_json(body)
        query = asked.get("query") if isinstance(asked, dict) else None
        if not isinstance(query, str):
            return error_answer(400, "no query")
        variables = asked.get("variables")
        self.operations.append((query, dict(variables or {})))
        if self.error is not None:
            return json_answer(self.error)
        root = {"items": self._items}
        done = graphql_sync(self._schema, query, root, variable_values=variables)
        content: dict[str, Any] = {}
        if done.data is not None:
            content["data"] = done.data
        if done.errors:
            content["errors"] = [error.formatted for error in done.errors]
        return json_answer(content)

    def _items(
        self,
        info: Any,
        first: int = 10,
        after: str | None = None,
        updatedAfter: str | None = None,
    ) -> dict[str, Any]:
        found = sorted(self.records, key=_updated_at)
        if updatedAfter is not None:
            found = [record for record in found if _updated_at(record) > updatedAfter]
        start = int(after.removeprefix("c")) if after else 0
        size = min(first, self.max_size)
        part = found[start : start + size]
        end = start + len(part)
        has_next = end < len(found)
        nodes = [self._node(record) for record in part]
        edges = []
        for place, node in enumerate(nodes, start + 1):
            edges.append({"cursor": f"c{place}", "node": node})
        return {
            "nodes": nodes,
            "edges": edges,
            "pageInfo": {"hasNextPage": has_next, "endCursor": self._end_cursor(end, has_next)},
            "totalCount": len(found) if self.total is None else self.total,
        }

    def _end_cursor(self, end: int, has_next: bool) -> str | None:
        if self.forgets_cursor and has_next:
            return None
        return "c1" if self.repeats_cursor else f"c{end}"

    def _node(self, record: Record) -> Record | None:
        """A record, or None for an empty one."""
        if not record:
            return None
        return {**record, "secret": self._secret}

    def _secret(self, info: Any) -> str:
        if self.refused is None:
            return "visible"
        message, code = self.refused
        extensions = None if code is None else {"code": code}
        raise GraphQLError(message, extensions=extensions)


def _updated_at(record: Record) -> str:
    return str(record.get("updatedAt") or "")
