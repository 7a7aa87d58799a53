"""Connectors of kind dlt: resources of a dlt source go the way of every other entity."""

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

from sync_pipelines.declare.connector_file import SourceFile, validate
from sync_pipelines.errors import SettingsError, SourceContractError, SourceUnreachableError
from sync_pipelines_tests.declared_world import DeclaredWorld

COLUMNS = [
    {"name": "id", "type": "bigint", "key": True},
    {"name": "name", "type": "text"},
    {"name": "amount", "type": "numeric"},
    {"name": "changed", "type": "bigint"},
]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module with a dlt source, as somebody writes it."""
    made: Any = types.ModuleType("module_of_somebody")
    made.records = [
        {"id": number, "name": f"n{number}", "amount": Decimal("0.10"), "changed": number} for number in range(30)
    ]
    made.given, made.starts, made.failure = [], [], None

    @dlt.source
    def shop(api_key: str, size: int = 1) -> Any:
        made.given.append((api_key, size))

        @dlt.resource(name="items")
        def items(since: Any = dlt.sources.incremental("changed", initial_value=-1)) -> Iterator[Any]:  # noqa: B008
            made.starts.append(since.last_value)
            if made.failure is not None:
                raise made.failure
            yield [dict(one) for one in made.records[:20]]
            for one in made.records[20:]:
                yield dict(one)

        @dlt.resource(name="tables")
        def tables() -> Iterator[Any]:
            yield pa.table(
                {"id": [1, 2], "at": [datetime(2024, 1, 1, tzinfo=UTC), None], "amount": [Decimal("1.50"), None]}
            )

        return items, tables

    made.shop = shop
    monkeypatch.setitem(sys.modules, "module_of_somebody", made)
    monkeypatch.setenv("SHOP_KEY", "canary-key-of-the-shop")
    return made


def file_of(world: DeclaredWorld, **changes: Any) -> dict[str, Any]:
    data = world.declare(auth=None)
    endpoints = {"items": {"columns": COLUMNS}}
    return {
        **data, "kind": "dlt", "source": "module_of_somebody.shop", "endpoints": endpoints,
        "arguments": {"api_key": "env:SHOP_KEY", "size": 2}, **changes,
    }  # fmt: skip


def test_a_resource_comes_into_the_table_with_every_digit(declared: DeclaredWorld, module: Any) -> None:
    declared.apply(file_of(declared))
    result = declared.sync("items")
    assert result.ledger.inserted == 30
    assert declared.table("items")[7] == {"id": 7, "name": "n7", "amount": Decimal("0.10"), "changed": 7}
    assert module.given[-1] == ("canary-key-of-the-shop", 2)
    module.records[3]["name"] = "other"
    assert declared.sync("items").ledger.updated == 1


def test_a_declared_cursor_is_where_the_resource_begins(declared: DeclaredWorld, module: Any) -> None:
    cursor = {"field": "changed", "param": "incremental", "codec": "integer"}
    declared.apply(file_of(declared, endpoints={"items": {"columns": COLUMNS, "cursor": cursor}}))
    declared.set("items", lookback_seconds=0)
    declared.sync("items")
    module.records.append({"id": 99, "name": "new", "amount": Decimal(1), "changed": 99})
    result = declared.sync("items")
    assert (result.mode, result.ledger.inserted) == ("delta", 1)
    assert module.starts[-1] is not None
    assert module.starts[-1] >= 20
    assert result.ledger.fetched < 5


def test_arrow_tables_and_inferred_columns(declared: DeclaredWorld, module: Any) -> None:
    declared.apply(file_of(declared, endpoints={"things": {"resource": "tables", "key": ["id"]}}))
    declared.sync("things")
    row = declared.table("things")[1]
    assert (row["at"], row["amount"]) == (datetime(2024, 1, 1, tzinfo=UTC), Decimal("1.50"))


def test_a_bad_record_goes_to_quarantine_and_nan_does_not_become_null(declared: DeclaredWorld, module: Any) -> None:
    declared.apply(file_of(declared))
    module.records[1]["amount"] = float("nan")
    module.records[2]["name"] = 5
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (28, 2)
    assert {one["column_name"] for one in declared.quarantine("items")} == {"amount", "name"}


@pytest.mark.parametrize(
    "failure, kind", [(ConnectionError("down"), SourceUnreachableError), (KeyError("x"), SourceContractError)]
)
def test_what_fails_inside_of_a_resource_publishes_nothing(
    declared: DeclaredWorld, module: Any, failure: Exception, kind: type
) -> None:
    declared.apply(file_of(declared))
    declared.sync("items")
    module.failure = failure
    with pytest.raises(kind) as caught:
        declared.sync("items")
    assert "canary-key" not in f"{caught.value} {caught.value.details()}"
    assert len(declared.table("items")) == 30


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"source": None}, "needs a `source`"),
        ({"auth": {"type": "bearer", "token": "env:SHOP_KEY"}}, "the source authenticates itself"),
        ({"endpoints": {"items": {"path": "/x"}}}, "an endpoint of kind dlt has no `path`"),
        ({"endpoints": {"items": {"cursor": {"field": "changed", "param": "since"}}}}, "param: incremental"),
    ],
)
def test_a_file_that_cannot_work_is_refused(
    declared: DeclaredWorld, module: Any, changes: dict[str, Any], message: str
) -> None:
    data = {name: value for name, value in file_of(declared, **changes).items() if value is not None}
    with pytest.raises(SettingsError, match=message):
        validate(data, SourceFile("shop.yaml", data))


def test_a_source_that_is_not_there_is_told_when_it_is_applied(declared: DeclaredWorld, module: Any) -> None:
    with pytest.raises(SettingsError, match="has no resource 'nothing'; it has items, tables"):
        declared.apply(file_of(declared, endpoints={"nothing": {"key": ["id"]}}))
    with pytest.raises(SettingsError, match="cannot be imported"):
        declared.apply(file_of(declared, source="module_of_nobody.shop", endpoints={"nothing": {"key": ["id"]}}))


def test_a_rest_connector_has_no_source(declared: DeclaredWorld) -> None:
    data = {**declared.declare(), "source": "module_of_somebody.shop"}
    with pytest.raises(SettingsError, match="a connector of kind rest has no `source`"):
        validate(data, SourceFile("shop.yaml", data))
