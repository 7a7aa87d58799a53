"""A module with a dlt source, which connector files name."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dlt
import pyarrow as pa
import pytest


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module with a dlt source, as somebody writes it."""
    made: Any = types.ModuleType("module_of_somebody")
    made.records = [
        {"id": number, "name": f"n{number}", "amount": Decimal("0.10"), "changed": number}
        for number in range(30)
    ]
    made.given, made.starts, made.failure = [], [], None

    @dlt.source
    def shop(api_key: str, size: int = 1) -> Any:
        made.given.append((api_key, size))

        @dlt.resource(name="items")
        def items(
            since: Any = dlt.sources.incremental("changed", initial_value=-1),  # noqa: B008
        ) -> Iterator[Any]:
            made.starts.append(since.last_value)
            if made.failure is not None:
                raise made.failure
            yield [dict(one) for one in made.records[:20]]
            for one in made.records[20:]:
                yield dict(one)

        @dlt.resource(name="tables")
        def tables() -> Iterator[Any]:
            yield pa.table(
                {
                    "id": [1, 2],
                    "at": [datetime(2024, 1, 1, tzinfo=UTC), None],
                    "amount": [Decimal("1.50"), None],
                }
            )

        return items, tables

    made.shop = shop
    monkeypatch.setitem(sys.modules, "module_of_somebody", made)
    monkeypatch.setenv("SHOP_KEY", "canary-key-of-the-shop")
    return made
