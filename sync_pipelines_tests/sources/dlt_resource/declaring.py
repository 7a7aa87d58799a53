"""Connector files of kind dlt, and resources that yield given rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa

from sync_pipelines_tests.declared_world import DeclaredWorld

COLUMNS = [
    {"name": "id", "type": "bigint", "key": True},
    {"name": "name", "type": "text"},
    {"name": "amount", "type": "numeric"},
    {"name": "changed", "type": "bigint"},
]


def file_of(world: DeclaredWorld, **changes: Any) -> dict[str, Any]:
    data = world.declare(auth=None)
    endpoints = {"items": {"columns": COLUMNS}}
    return {
        **data,
        "kind": "dlt",
        "source": "module_of_somebody.shop",
        "endpoints": endpoints,
        "arguments": {"api_key": "env:SHOP_KEY", "size": 2},
        **changes,
    }


def resource_of(
    module: Any, rows: list[dict[str, Any]], initial: Any = None, **options: Any
) -> list[Any]:
    """Put the resource `moves` into the module, which yields all rows every time; where it began comes back."""
    starts: list[Any] = []

    @dlt.resource(name="moves")
    def moves(since: Any = dlt.sources.incremental("at", initial_value=initial)) -> Iterator[Any]:  # noqa: B008
        starts.append(since.last_value)
        yield pa.Table.from_pylist(rows) if options.get("as_arrow") else [dict(row) for row in rows]

    module.moves = moves
    return starts


def moves_of(
    world: DeclaredWorld, column: str, codec: str | None, **changes: Any
) -> dict[str, Any]:
    columns = [{"name": "id", "type": "bigint", "key": True}, {"name": "at", "type": column}]
    cursor = {"field": "at", "param": "incremental", **({"codec": codec} if codec else {})}
    endpoints = {"moves": {"columns": columns, "cursor": cursor}}
    return file_of(
        world, source="module_of_somebody.moves", arguments={}, endpoints=endpoints, **changes
    )
