"""Connectors of kind dlt: resources of a dlt source go the way of every other entity."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dlt
import pytest
from dlt.common.configuration.container import Container
from dlt.common.pipeline import StateInjectableContext

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.declare.connector_file import validate
from sync_pipelines.declare.plan import as_connector
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.declare.usage import plan_usage
from sync_pipelines.errors import (
    NotFoundError,
    SettingsError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.network.origins import origin_of
from sync_pipelines.network.outbound import Outbound
from sync_pipelines.sources.dlt_resource.adapter import DeclaredResource, bodies_of, call_source
from sync_pipelines_tests.declared_world import DeclaredWorld
from sync_pipelines_tests.sources.dlt_resource.declaring import COLUMNS, file_of, resource_of


def test_a_resource_comes_into_the_table_with_every_digit(
    declared: DeclaredWorld, module: Any
) -> None:
    declared.apply(file_of(declared))
    result = declared.sync("items")
    assert result.ledger.inserted == 30
    assert declared.table("items")[7] == {
        "id": 7,
        "name": "n7",
        "amount": Decimal("0.10"),
        "changed": 7,
    }
    assert module.given[-1] == ("canary-key-of-the-shop", 2)
    module.records[3]["name"] = "other"
    assert declared.sync("items").ledger.updated == 1


def test_arrow_tables_and_inferred_columns(declared: DeclaredWorld, module: Any) -> None:
    declared.apply(file_of(declared, endpoints={"things": {"resource": "tables", "key": ["id"]}}))
    declared.sync("things")
    row = declared.table("things")[1]
    assert (row["at"], row["amount"]) == (datetime(2024, 1, 1, tzinfo=UTC), Decimal("1.50"))


def test_a_bad_record_goes_to_quarantine_and_nan_does_not_become_null(
    declared: DeclaredWorld, module: Any
) -> None:
    declared.apply(file_of(declared))
    module.records[1]["amount"] = float("nan")
    module.records[2]["name"] = 5
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (28, 2)
    assert {one["column_name"] for one in declared.quarantine("items")} == {"amount", "name"}


@pytest.mark.parametrize(
    "failure, kind",
    [(ConnectionError("down"), SourceUnreachableError), (KeyError("x"), SourceContractError)],
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
        (
            {"endpoints": {"items": {"cursor": {"field": "changed", "param": "since"}}}},
            "param: incremental",
        ),
    ],
)
def test_a_file_that_cannot_work_is_refused(
    declared: DeclaredWorld, module: Any, changes: dict[str, Any], message: str
) -> None:
    data = {
        name: value for name, value in file_of(declared, **changes).items() if value is not None
    }
    with pytest.raises(SettingsError, match=message):
        validate(data, SourceFile("shop.yaml", data))


def test_a_source_that_is_not_there_is_reported_when_it_is_applied(
    declared: DeclaredWorld, module: Any
) -> None:
    with pytest.raises(SettingsError, match="has no resource 'nothing'; it has items, tables"):
        declared.apply(file_of(declared, endpoints={"nothing": {"key": ["id"]}}))
    with pytest.raises(SettingsError, match="cannot be imported"):
        declared.apply(
            file_of(
                declared, source="module_of_nobody.shop", endpoints={"nothing": {"key": ["id"]}}
            )
        )


def test_a_rest_connector_has_no_source(declared: DeclaredWorld) -> None:
    data = {**declared.declare(), "source": "module_of_somebody.shop"}
    with pytest.raises(SettingsError, match="a connector of kind rest has no `source`"):
        validate(data, SourceFile("shop.yaml", data))


def test_a_source_that_was_made_once_is_refused_since_its_second_read_would_be_empty(
    declared: DeclaredWorld, module: Any
) -> None:
    module.made = module.shop("key")
    module.bound = module.shop("key").resources["tables"]()
    for name in ("made", "bound"):
        with pytest.raises(SettingsError, match="only once"):
            declared.apply(
                file_of(
                    declared,
                    source=f"module_of_somebody.{name}",
                    arguments={},
                    endpoints={"tables": {"key": ["id"]}},
                )
            )


def test_a_resource_of_another_name_does_not_fill_the_entity(
    declared: DeclaredWorld, module: Any
) -> None:
    resource_of(module, [{"id": 1, "at": 1}])
    with pytest.raises(SettingsError, match="gives the resource 'moves' and not 'orders'"):
        declared.apply(
            file_of(
                declared,
                source="module_of_somebody.moves",
                arguments={},
                endpoints={"orders": {"key": ["id"]}},
            )
        )


def test_a_text_that_is_no_unicode_costs_its_record_and_no_other(
    declared: DeclaredWorld, module: Any
) -> None:
    declared.apply(file_of(declared))
    module.records[1]["name"] = "half \ud800"
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (29, 1)


def test_keys_that_are_no_text_cost_their_record_and_no_value_is_lost_silently(
    declared: DeclaredWorld, module: Any
) -> None:
    columns = [*COLUMNS, {"name": "more", "type": "json"}]
    declared.apply(file_of(declared, endpoints={"items": {"columns": columns}}))
    module.records[1]["more"] = {1: "a", "1": "b"}
    module.records[2]["more"] = {None: "a", "x\udfff": 1}
    module.records[3][5] = 1
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (27, 3)


def test_secrets_of_arguments_are_found_and_given_however_deep_they_are(
    declared: DeclaredWorld, module: Any
) -> None:
    data = file_of(declared, arguments={"api_key": {"keys": ["env:SHOP_KEY"]}})
    assert validate(data, SourceFile("shop.yaml", data)).secrets == ["env:SHOP_KEY"]
    declared.apply(data)
    declared.sync("items")
    assert module.given[-1][0] == {"keys": ["canary-key-of-the-shop"]}
    agreed = get_connector(declared.database, declared.connector).agreed
    assert agreed is not None
    assert [reference for reference, _ in agreed["secrets"]] == ["env:SHOP_KEY"]


@pytest.mark.parametrize("name", ["password", "api_key", "client_secret", "accessToken"])
def test_a_secret_of_arguments_in_clear_is_refused_without_being_repeated(
    declared: DeclaredWorld, module: Any, name: str
) -> None:
    data = file_of(declared, arguments={"login": [{name: "canary-in-clear"}]})
    with pytest.raises(SettingsError, match="env:NAME") as caught:
        validate(data, SourceFile("shop.yaml", data))
    assert "canary" not in str(caught.value)


def test_another_source_or_other_arguments_are_a_change(
    declared: DeclaredWorld, module: Any
) -> None:
    declared.apply(file_of(declared))
    module.store = module.shop
    plan = declared.plan(file_of(declared, source="module_of_somebody.store"))
    assert plan.changes == ["source changes"]
    plan = declared.plan(file_of(declared, arguments={"api_key": "env:SHOP_KEY", "size": 3}))
    assert plan.changes == ["arguments changes"]


def test_the_cause_of_a_failure_keeps_no_secret_in_clear(
    declared: DeclaredWorld, module: Any
) -> None:
    declared.apply(file_of(declared))
    module.failure = ConnectionError("down for canary-key-of-the-shop")
    with pytest.raises(SourceUnreachableError) as caught:
        declared.sync("items")
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary-key" not in shown


def test_a_source_does_not_see_the_state_of_a_pipeline_around_it(module: Any) -> None:
    seen = []

    @dlt.source
    def stateful() -> Any:
        dlt.current.source_state()["inner"] = 1

        @dlt.resource(name="one")
        def one() -> Iterator[Any]:
            seen.append(dict(dlt.current.resource_state()))
            dlt.current.resource_state()["inner"] = 1
            yield {"id": 1}

        return one

    module.stateful = stateful
    state: dict[str, Any] = {}
    outbound = Outbound(frozenset(), frozenset())
    with Container().injectable_context(StateInjectableContext(state=state)):  # type: ignore[typeddict-item]
        for _ in range(2):
            made = call_source("module_of_somebody.stateful", {}, outbound, "https://example.com")
            assert list(bodies_of(made, DeclaredResource("", "one", Endpoint()), 10)) == [
                b'[{"id":1}]'
            ]
    assert (seen, state) == ([{}, {}], {})


def test_other_code_is_never_run_by_an_agreement_to_addresses_and_secrets(
    declared: DeclaredWorld, module: Any
) -> None:
    module.store = module.shop

    def is_agreed(source: str) -> bool:
        data = file_of(declared, source=source, endpoints={"tables": {"key": ["id"]}})
        declaration = validate(data, SourceFile("shop.yaml", data))
        stored = None
        with contextlib.suppress(NotFoundError):
            stored = get_connector(declared.database, declared.connector)
        bound = [("SHOP_KEY", origin_of(declared.server.url))]
        return plan_usage(declaration, as_connector(declaration), stored, bound=bound).is_agreed

    assert not is_agreed("module_of_somebody.shop")
    declared.apply(file_of(declared))
    assert is_agreed("module_of_somebody.shop")
    assert not is_agreed("module_of_somebody.store")
