"""Connectors of kind graphql: from a query over real HTTP into PostgreSQL."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.declare.connector_file import validate
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.errors import (
    AuthenticationError,
    SettingsError,
    SourceBusyError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.run import RunStatus
from sync_pipelines.sources.graphql.adapter import info_of
from sync_pipelines.sources.graphql.answers import check_errors
from sync_pipelines.sources.http.hiding import hiding
from sync_pipelines.sources.registry import source_kind
from sync_pipelines_tests.declared_world import DeclaredWorld
from sync_pipelines_tests.world import TOKEN

QUERY = """
query Items($first: Int, $after: String, $since: String) {
  items(first: $first, after: $after, updatedAfter: $since) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes { id name amount updatedAt owner { city } }
  }
}
"""
EDGES = QUERY.replace(
    "nodes { id name amount updatedAt owner { city } }",
    "edges { node { id name amount updatedAt owner { city } } }",
)
COLUMNS = [
    {"name": "id", "type": "bigint", "key": True},
    {"name": "name", "type": "text"},
    {"name": "amount", "type": "numeric"},
    {"name": "updated_at", "type": "timestamptz", "from": "updatedAt"},
    {"name": "city", "type": "text", "from": "owner.city"},
]
CURSOR = {"field": "updated_at", "param": "since"}


def item(number: int, **changes: Any) -> dict[str, Any]:
    moment = f"2024-06-30T10:{number // 60:02d}:{number % 60:02d}Z"
    record = {
        "id": number,
        "name": f"item {number}",
        "amount": Decimal("5445657342436287.8969"),
        "updatedAt": moment,
    }
    return {**record, "owner": {"city": f"city {number}"}, **changes}


def file_of(world: DeclaredWorld, **endpoint: Any) -> dict[str, Any]:
    declared = {
        "query": QUERY,
        "records": "$.data.items.nodes",
        "columns": COLUMNS,
        "cursor": CURSOR,
        **endpoint,
    }
    data = world.declare()
    declared = {name: value for name, value in declared.items() if value is not None}
    return {**data, "kind": "graphql", "endpoints": {"items": declared}}


def serve(world: DeclaredWorld, count: int = 25, **endpoint: Any) -> None:
    world.rest.graphql.records[:] = [item(number) for number in range(1, count + 1)]
    world.apply(file_of(world, **{"pagination": {"type": "connection", "size": 10}, **endpoint}))
    world.set("items", lookback_seconds=0)


@pytest.mark.parametrize(
    "path, query", [("$.data.items.nodes", QUERY), ("$.data.items.edges[*].node", EDGES)]
)
def test_every_page_of_a_connection_comes_into_the_table(
    declared: DeclaredWorld, path: str, query: str
) -> None:
    serve(declared, query=query, records=path)
    result = declared.sync("items")
    assert (result.ledger.inserted, result.pages) == (25, 3)
    row = declared.table("items")[7]
    assert (row["name"], row["amount"], row["city"]) == (
        "item 7",
        Decimal("5445657342436287.8969"),
        "city 7",
    )
    assert [one[1]["after"] for one in declared.rest.graphql.operations] == [None, "c10", "c20"]


def test_a_delta_asks_with_the_filter_and_reads_only_what_changed(declared: DeclaredWorld) -> None:
    serve(declared)
    declared.sync("items")
    declared.rest.graphql.operations.clear()
    declared.rest.graphql.records[4].update(name="changed", updatedAt=item(100)["updatedAt"])
    result = declared.sync("items")
    assert (result.mode, result.ledger.updated, result.ledger.inserted) == ("delta", 1, 0)
    assert result.ledger.fetched < 10
    assert declared.table("items")[5]["name"] == "changed"
    assert all(one[1]["since"] for one in declared.rest.graphql.operations)


def test_without_columns_they_come_from_a_sample(declared: DeclaredWorld) -> None:
    unfiltered = QUERY.replace(", $since: String", "").replace(", updatedAfter: $since", "")
    serve(declared, columns=None, cursor=None, key=["id"], flatten=True, query=unfiltered)
    declared.sync("items")
    row = declared.table("items")[1]
    assert (row["owner_city"], row["amount"], len(row)) == (
        "city 1",
        Decimal("5445657342436287.8969"),
        5,
    )


def test_what_is_missing_twice_is_deleted(declared: DeclaredWorld) -> None:
    serve(declared, cursor=None)
    declared.sync("items")
    del declared.rest.graphql.records[3]
    for _ in range(2):
        declared.sync("items", accept_vanished=True)
    assert 4 not in declared.table("items")


def test_a_value_of_another_type_goes_to_quarantine_and_the_others_pass(
    declared: DeclaredWorld,
) -> None:
    serve(declared)
    declared.rest.graphql.records[2]["amount"] = "much"
    declared.rest.graphql.records[3]["owner"] = None
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (24, 1)
    (kept,) = declared.quarantine("items")
    assert (kept["column_name"], kept["business_key"]) == ("amount", ["3"])
    assert declared.table("items")[4]["city"] is None


def test_a_node_that_is_null_is_no_record_and_is_reported(declared: DeclaredWorld) -> None:
    serve(declared, 3, query=EDGES, records="$.data.items.edges[*].node")
    declared.rest.graphql.records.append({})
    result = declared.sync("items")
    assert (result.ledger.inserted, result.ledger.quarantined) == (3, 1)


@pytest.mark.parametrize("beside", [True, False])
def test_an_answer_with_errors_is_never_read_as_complete(
    declared: DeclaredWorld, beside: bool
) -> None:
    serve(declared, query=QUERY.replace("name amount", "name amount secret"))
    twin = declared.rest.graphql
    twin.refused = ("no rights on Item.secret, token-of-the-twin", None)
    if not beside:
        twin.error = {"data": None, "errors": [{"message": "no rights on Item.secret"}]}
    with pytest.raises(SourceContractError, match="errors.*no rights on Item.secret") as caught:
        declared.sync("items")
    assert ("beside its data" in caught.value.what) is beside
    assert declared.runs("items")[0]["status"] == RunStatus.FAILED
    twin.refused = twin.error = None
    assert declared.sync("items").ledger.inserted == 25


def test_a_message_of_the_source_shows_no_secret(declared: DeclaredWorld) -> None:
    serve(declared)
    declared.rest.graphql.error = {"errors": [{"message": f"bad Authorization: Bearer {TOKEN}"}]}
    with pytest.raises(SourceContractError) as caught:
        declared.sync("items")
    assert TOKEN not in f"{caught.value} {caught.value.details()}"


@pytest.mark.parametrize(
    "code, kind", [("THROTTLED", SourceBusyError), ("UNAUTHENTICATED", AuthenticationError)]
)
def test_what_an_error_says_of_itself_decides_what_is_done(
    declared: DeclaredWorld, code: str, kind: type
) -> None:
    serve(declared)
    declared.rest.graphql.error = {"errors": [{"message": "no", "extensions": {"code": code}}]}
    with pytest.raises(kind):
        declared.sync("items")


def test_a_next_page_without_its_name_is_not_taken_for_the_end(declared: DeclaredWorld) -> None:
    serve(declared)
    declared.rest.graphql.forgets_cursor = True
    with pytest.raises(SourceContractError, match="endCursor is missing"):
        declared.sync("items")


def test_a_cursor_that_does_not_move_is_a_loop(declared: DeclaredWorld) -> None:
    serve(declared)
    declared.rest.graphql.repeats_cursor = True
    with pytest.raises(SourceContractError, match="looping"):
        declared.sync("items")


def test_fewer_records_than_the_source_counts_are_refused(declared: DeclaredWorld) -> None:
    serve(declared)
    declared.rest.graphql.total = 26
    with pytest.raises(SourceContractError, match="there are 26 records, and 25 came"):
        declared.sync("items")


@pytest.mark.parametrize("info", ["", "pageInfo { endCursor }"])
def test_an_answer_that_does_not_say_whether_there_are_more_is_refused(
    declared: DeclaredWorld, info: str
) -> None:
    declared.rest.graphql.records[:] = [item(1)]
    serve(declared, 1, query=QUERY.replace("pageInfo { hasNextPage endCursor }", info))
    with pytest.raises(SourceContractError, match="whether there are more is unknown"):
        declared.sync("items")


def test_one_answer_is_not_everything_when_it_names_a_next_page(declared: DeclaredWorld) -> None:
    query = QUERY.replace("$first: Int, $after: String, ", "").replace(
        "first: $first, after: $after, ", ""
    )
    serve(declared, query=query, pagination={"type": "none"})
    with pytest.raises(SourceContractError, match="there is a next page"):
        declared.sync("items")


def test_a_connector_test_asks_each_query_once(declared: DeclaredWorld) -> None:
    serve(declared)
    connector = get_connector(declared.database, declared.connector)
    checks = source_kind(connector).test(connector, declared.settings)
    assert [(check.name, str(check.verdict)) for check in checks] == [
        ("secret", "PASSED"),
        ("items", "PASSED"),
    ]
    declared.rest.graphql.error = {"errors": [{"message": "no such field"}]}
    checks = source_kind(connector).test(connector, declared.settings)
    assert (str(checks[1].verdict), "no such field" in checks[1].detail) == ("FAILED", True)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"query": None}, "needs a `query`"),
        ({"query": "mutation M { drop }"}, "a mutation is never sent"),
        ({"query": "query A { a } query B { b }"}, "has one query"),
        ({"query": "query {"}, "no query that can be sent: Syntax Error"),
        ({"query": "query { items { nodes { id } } }"}, r"declares no variable \$after"),
        ({"variables": {"after": "x"}}, "takes the place in the connection"),
        ({"variables": {"colour": "red"}}, "declares no such variable"),
        ({"variables": {"first": "env:TOKEN"}}, "a secret is sent by `auth` only"),
        ({"params": {"a": 1}}, "an endpoint of kind graphql has no `params`"),
        ({"pagination": {"type": "page"}}, "has the pagination connection or none"),
        ({"records": "$.data.shops.nodes[*].items.nodes"}, "inside of another list"),
        ({"records": "$.data.shops.edges[*].node.items.edges[*].node"}, "inside of another list"),
        (
            {"records": "$.data.shops[*].items.nodes", "pagination": {"type": "none"}},
            "inside of another list",
        ),
        ({"records": "$.data.shops.nodes[0].items.nodes"}, "inside of another list"),
        ({"records": ["$.data.items.nodes", "$.data.others.nodes"]}, "have one path"),
    ],
)
def test_a_file_that_cannot_work_is_refused_with_its_place(
    declared: DeclaredWorld, changes: dict[str, Any], message: str
) -> None:
    data = file_of(declared, **changes)
    with pytest.raises(SettingsError, match=message):
        validate(json.loads(json.dumps(data)), SourceFile("shop.yaml", data))


def test_a_rest_endpoint_has_no_query_and_no_connection(declared: DeclaredWorld) -> None:
    for changes, message in (
        ({"query": QUERY}, "an endpoint of kind rest has no `query`"),
        (
            {"pagination": {"type": "connection"}},
            "the pagination connection is one of the kind graphql",
        ),
    ):
        data = declared.declare(**changes)
        with pytest.raises(SettingsError, match=message):
            validate(data, SourceFile("shop.yaml", data))


def test_a_kind_that_nobody_knows_names_the_nearest(declared: DeclaredWorld) -> None:
    data = {**file_of(declared), "kind": "grapql"}
    with pytest.raises(SettingsError, match="did you mean graphql"):
        validate(data, SourceFile("shop.yaml", data))


@pytest.mark.parametrize("pagination", [{"type": "none"}, {"type": "connection"}])
def test_a_list_on_the_way_to_the_records_is_not_cut_silently(pagination: dict[str, Any]) -> None:
    end, more = {"hasNextPage": False}, {"hasNextPage": True, "endCursor": "c"}

    def answer(inner: dict[str, Any]) -> bytes:
        shop = {"items": {"pageInfo": inner, "all": [{"id": 1}]}}
        return json.dumps(
            {"data": {"shops": {"pageInfo": end, "list": [{"items": {}} | shop]}}}
        ).encode()

    endpoint = Endpoint(records="$.data.shops.list[*].items.all", pagination=pagination)  # type: ignore[arg-type]
    assert not info_of(endpoint, answer(end)).has_next
    with pytest.raises(SourceContractError, match="Another list on the way"):
        info_of(endpoint, answer(more))


@pytest.mark.parametrize(
    "body",
    [
        b'["canary"]',
        b'{"canary": 1}',
        b'{"errors": [{"message": "no rights on canary"}]}',
        b'{"errors": "canary", "data": {"a": 1}}',
    ],
)
def test_errors_about_masked_answers_tell_none_of_their_text(body: bytes) -> None:
    with pytest.raises(SourceContractError, match="is not shown") as caught, hiding(True):
        check_errors(body)
    assert "canary" not in f"{caught.value} {caught.value.details()}"


def test_an_unreachable_source_with_masks_tells_nothing_of_its_text() -> None:
    with pytest.raises(SourceUnreachableError, match="is not shown") as caught, hiding(True):
        raise SourceUnreachableError("It could not be reached", excerpt="canary", status=502)
    assert ("canary" in str(caught.value), caught.value.status) == (False, 502)


def test_the_page_size_that_a_person_sets_wins_over_the_declared_one(
    declared: DeclaredWorld,
) -> None:
    serve(declared, pagination={"type": "connection", "size": 10, "max_size": 20})
    for size, asked in ((5, 5), (50, 20)):
        declared.rest.graphql.operations.clear()
        declared.set("items", page_size=size)
        declared.sync("items", full_refresh=True)
        assert {one[1]["first"] for one in declared.rest.graphql.operations} == {asked}


def test_a_connection_without_end_names_the_requests_that_were_sent(
    declared: DeclaredWorld,
) -> None:
    serve(declared)
    declared.settings = declared.settings.model_copy(update={"max_pages": 2})
    with pytest.raises(SourceContractError, match="asked 2 times in one read"):
        declared.sync("items")
    assert len(declared.rest.graphql.operations) == 2


@pytest.mark.parametrize("pagination", [{"type": "none"}, {"type": "connection"}])
def test_an_answer_without_the_path_to_its_records_is_refused_with_or_without_page_info(
    pagination: dict[str, Any],
) -> None:
    endpoint = Endpoint(records="$.data.shops.nodes", pagination=pagination)  # type: ignore[arg-type]
    end = {"hasNextPage": False}
    assert not info_of(endpoint, answer_of({"shops": {"pageInfo": end, "nodes": []}})).has_next
    with pytest.raises(SourceContractError):
        info_of(endpoint, answer_of({"shops": {"pageInfo": end}}))
    with pytest.raises(SourceContractError):
        info_of(endpoint, answer_of({"stores": {"nodes": []}}))


def answer_of(data: dict[str, Any]) -> bytes:
    return json.dumps({"data": data}).encode()
