"""A GraphQL endpoint on the twin: a real schema with cursor connections, and answers that go wrong on command."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from graphql import GraphQLError, build_schema, graphql_sync

from sync_pipelines.demo.twin.answers import Answer, error_answer
from sync_pipelines.demo.twin.rows import decode_json, encode_json

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
        cursor_stands: endCursor is the same on every page.
        total: totalCount, where it is not the number of records.
        refused: (message, code) with which the field `secret` of every item is answered instead of a value.
        error: whole answer instead of data, with status 200.
        operations: (query, variables) of the requests, in order.
    """

    records: list[dict[str, t.Any]] = field(default_factory=list)
    max_size: int = 100
    forgets_cursor: bool = False
    cursor_stands: bool = False
    total: int | None = None
    refused: tuple[str, str | None] | None = None
    error: t.Any = None
    operations: list[tuple[str, dict[str, t.Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._schema = build_schema(_SCHEMA)

    def answer(self, body: bytes) -> Answer:
        """The answer to one request."""
        asked = decode_json(body)
        if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
            return error_answer(400, "no query")
        self.operations.append((asked["query"], dict(asked.get("variables") or {})))
        if self.error is not None:
            return Answer(body=encode_json(self.error))
        done = graphql_sync(
            self._schema,
            asked["query"],
            {"items": self._items},
            variable_values=asked.get("variables"),
        )
        told: dict[str, t.Any] = {} if done.data is None else {"data": done.data}
        if done.errors:
            told["errors"] = [error.formatted for error in done.errors]
        return Answer(body=encode_json(told))

    def _items(
        self,
        info: t.Any,
        first: int = 10,
        after: str | None = None,
        updatedAfter: str | None = None,
    ) -> dict[str, t.Any]:
        found = sorted(self.records, key=lambda record: str(record.get("updatedAt") or ""))
        found = [
            one
            for one in found
            if updatedAfter is None or str(one.get("updatedAt") or "") > updatedAfter
        ]
        start = int(after.removeprefix("c")) if after else 0
        part = found[start : start + min(first, self.max_size)]
        has_next = start + len(part) < len(found)
        cursor = (
            None
            if self.forgets_cursor and has_next
            else "c1"
            if self.cursor_stands
            else f"c{start + len(part)}"
        )
        nodes = [None if not record else {**record, "secret": self._secret} for record in part]
        return {
            "nodes": nodes,
            "edges": [
                {"cursor": f"c{start + place}", "node": node} for place, node in enumerate(nodes, 1)
            ],
            "pageInfo": {"hasNextPage": has_next, "endCursor": cursor},
            "totalCount": len(found) if self.total is None else self.total,
        }

    def _secret(self, info: t.Any) -> str:
        if self.refused is None:
            return "visible"
        message, code = self.refused
        raise GraphQLError(message, extensions={"code": code} if code is not None else None)
