"""An OpenAPI document gives a pagination that plainly fits, or the lines to add, and never one page for all."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.sources.rest.openapi import plan_endpoints


def query(name: str, kind: str | None = "integer", **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {**({"type": kind} if kind else {}), **schema}}


def text(**schema: Any) -> dict[str, Any]:
    return {"type": "string", **schema}


def plan(
    parameters: list[dict[str, Any]],
    beside: dict[str, Any] | None = None,
    headers: Any = None,
    **override: Any,
) -> Any:
    """The plan of one operation with these query parameters and these properties beside its list."""
    record = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "total": {"type": "integer"}, "next": text()},
    }
    items = {"type": "array", "items": record}
    schema = (
        items if beside is None else {"type": "object", "properties": {"data": items, **beside}}
    )
    answer = {"headers": headers or {}, "content": {"application/json": {"schema": schema}}}
    document = {
        "openapi": "3.0.3",
        "paths": {"/customers": {"get": {"parameters": parameters, "responses": {"200": answer}}}},
    }
    return plan_endpoints(document, {"customers": override} if override else {})


@pytest.mark.parametrize(
    ("parameters", "beside", "expected"),
    [
        (
            [query("page"), query("per_page", maximum=100)],
            None,
            {"type": "page", "page_param": "page", "size_param": "per_page", "max_size": 100},
        ),
        ([query("page", default=0)], None, {"type": "page", "page_param": "page", "first_page": 0}),
        (
            [query("page[number]"), query("page[size]")],
            {},
            {"type": "page", "page_param": "page[number]", "size_param": "page[size]"},
        ),
        (
            [query("offset"), query("limit")],
            {"total": {"type": "integer"}},
            {"type": "offset", "offset_param": "offset", "size_param": "limit"},
        ),
        (
            [query("startAt"), query("maxResults")],
            {},
            {"type": "offset", "offset_param": "startAt", "size_param": "maxResults"},
        ),
        (
            [query("pageToken", "string"), query("maxResults")],
            {"nextPageToken": text()},
            {
                "type": "cursor",
                "cursor_path": "$.nextPageToken",
                "cursor_param": "pageToken",
                "size_param": "maxResults",
            },
        ),
        (
            [query("cursor", "string")],
            {"response_metadata": {"type": "object", "properties": {"next_cursor": text()}}},
            {
                "type": "cursor",
                "cursor_path": "$.response_metadata.next_cursor",
                "cursor_param": "cursor",
            },
        ),
        (
            [query("page", "string")],
            {"next_page": text(nullable=True)},
            {"type": "cursor", "cursor_path": "$.next_page", "cursor_param": "page"},
        ),
        (
            [query("page")],
            {"count": {"type": "integer"}, "next": text(format="uri")},
            {"type": "next_link", "next_path": "$.next"},
        ),
        (
            [],
            {"links": {"type": "object", "properties": {"next": text()}}},
            {"type": "next_link", "next_path": "$.links.next"},
        ),
        (
            [query("limit"), query("starting_after", "string"), query("ending_before", "string")],
            {"has_more": {"type": "boolean"}},
            {
                "type": "cursor",
                "cursor_path": "$.data[-1].id",
                "cursor_param": "starting_after",
                "has_more_path": "$.has_more",
                "size_param": "limit",
            },
        ),
    ],
)
def test_a_pagination_that_plainly_fits_is_used(
    parameters: Any, beside: Any, expected: dict[str, Any]
) -> None:
    planned = plan(parameters, beside)
    assert planned.skipped == {}
    assert planned.endpoints["customers"]["pagination"] == expected
    assert Endpoint.model_validate(planned.endpoints["customers"]).has_pages


def test_a_declared_header_link_is_followed() -> None:
    assert plan([query("per_page")], headers={"Link": {}}).endpoints["customers"]["pagination"] == {
        "type": "link_header",
        "size_param": "per_page",
    }


@pytest.mark.parametrize(
    ("parameters", "beside"),
    [
        ([query("limit")], None),
        ([query("$top")], None),
        ([query("offset")], None),
        ([query("limit"), query("startIndex")], {}),
        ([query("after", "string")], None),
        ([query("cursor", None)], {}),
        ([query("page", "string")], {}),
        ([], {"has_more": {"type": "boolean"}}),
        ([], {"hasNextPage": {"type": "boolean"}}),
        ([], {"next": text()}),
        ([], {"next_cursor": text()}),
        ([], {"total": {"type": "integer"}}),
        ([], {"count": {"type": "integer"}}),
        ([], {"done": {"type": "boolean"}}),
        ([], {"_scroll_id": text()}),
        ([], {"nextRecordsUrl": text()}),
        (
            [],
            {
                "additional_data": {
                    "type": "object",
                    "properties": {"more_items_in_collection": {"type": "boolean"}},
                }
            },
        ),
        ([], {"remaining": {"type": "integer"}}),
        ([query("page_info", "string")], {}),
        ([query("sysparm_offset")], {}),
        ([query("resultPageSize")], None),
        ([], {"meta": {"type": "object", "properties": {"total_pages": {"type": "integer"}}}}),
    ],
)
def test_a_paged_operation_that_is_not_understood_is_left_out_with_the_lines_to_add(
    parameters: Any, beside: Any
) -> None:
    planned = plan(parameters, beside)
    assert planned.endpoints == {}
    why = planned.skipped["GET /customers"]
    assert "it is paged (" in why
    lines = re.findall(r"`(endpoints: .*?)`", why)
    assert len(lines) == 2
    for line in lines:
        added = yaml.safe_load(line)["endpoints"]["customers"]
        completed = plan(parameters, beside, **added)
        assert completed.skipped == {}
        assert (
            Endpoint.model_validate(completed.endpoints["customers"]).pagination.type
            == added["pagination"]["type"]
        )


@pytest.mark.parametrize(
    "header",
    ["X-Next-Page", "X-Total-Count", "X-WP-TotalPages", "Content-Range", "x-ms-continuation"],
)
def test_a_declared_header_that_concerns_pages_is_a_sign(header: str) -> None:
    assert f"header {header}" in plan([], headers={header: {}}).skipped["GET /customers"]


@pytest.mark.parametrize(
    ("parameters", "beside"),
    [
        ([query("credit_limit"), query("landing_page", "string")], {"done": {"type": "integer"}}),
        ([], None),
        ([query("active", "boolean")], {}),
        ([query("after", "string", format="date-time")], {"version": text()}),
        ([], {"info": text()}),
    ],
)
def test_what_shows_no_sign_of_pages_is_one_answer(parameters: Any, beside: Any) -> None:
    """Fields of the records, such as total and next, are no sign."""
    assert "pagination" not in plan(parameters, beside).endpoints["customers"]


def test_of_parameters_that_are_needed_the_first_one_that_is_not_given_is_named() -> None:
    needed = [{**query("tenant"), "required": True}, {**query("region"), "required": True}]
    found = plan(needed, params={"tenant": 1})
    assert "'region'" in found.skipped["GET /customers"]
    assert "customers" in plan(needed, params={"tenant": 1, "region": 2}).endpoints


@pytest.mark.parametrize("sizes", itertools.permutations(["per_page", "limit", "top"], 2))
def test_of_two_sizes_the_first_of_the_document_is_taken(sizes: tuple[str, str]) -> None:
    """It was another one in another process: the order of a set is not fixed."""
    planned = plan([query("page"), *map(query, sizes)])
    assert planned.endpoints["customers"]["pagination"]["size_param"] == sizes[0]
