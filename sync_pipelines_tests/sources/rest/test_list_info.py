"""Words of many vendors about their lists: that there is more, how many there are, and what is no such word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.list_info import ListInfo, read_list_info

ROWS = [{"id": 1, "total": 9, "has_more": True, "next": "/users/2"}]
ADDRESS = "https://x.example.com/users?page=2"


def info_of(beside: Any, records: str = "$.items", **headers: str) -> ListInfo:
    body = beside if isinstance(beside, list) else {"items": ROWS, **beside}
    return read_list_info(
        Reply(
            json.dumps(body).encode(),
            {name.replace("_", "-"): value for name, value in headers.items()},
            ADDRESS,
        ),
        records,
    )


@pytest.mark.parametrize(
    "beside",
    [
        {"done": False, "nextRecordsUrl": "/query/01g-50"},
        {"done": False},
        {"complete": "false"},
        {"has_more": "true"},
        {"hasMore": 1},
        {"more": True, "total": None},
        {"moreResult": True},
        {"remaining": 70},
        {"pages": {"type": "pages", "next": {"page": 2, "starting_after": "abc"}}},
        {"additional_data": {"pagination": {"more_items_in_collection": True, "next_start": 50}}},
        {"additional_data": {"next_cursor": "abc"}},
        {"result": {"state": {"has_more": True}}},
        {"navigation": {"next_page_url": "?page=2"}},
        {"links": [{"rel": "self", "href": "/users"}, {"rel": "next", "href": "/users?offset=50"}]},
        {"LastEvaluatedKey": {"id": {"N": "50"}}},
        {"@odata.nextLink": "https://x.example.com/users?$skiptoken=1"},
        {"d": 1, "__next": "https://x.example.com/users?$skiptoken=1"},
    ],
)
def test_more_is_recognised_by_many_words(beside: dict[str, Any]) -> None:
    assert info_of(beside).more is not None
    assert not info_of(beside).ends


@pytest.mark.parametrize(
    "headers",
    [
        {"x_next_page": "2"},
        {"x_has_more": "true"},
        {"x_ms_continuation": "abc"},
        {"x_acme_next_cursor": "abc"},
        {"x_pagination": '{"HasNext": true}'},
        {"link": '<https://x.example.com/users?page_info=abc>; rel="next"'},
    ],
)
def test_more_is_recognised_in_headers(headers: dict[str, str]) -> None:
    assert info_of({}, **headers).more is not None


@pytest.mark.parametrize(
    ("beside", "headers"),
    [
        ({"nbHits": 120}, {}),
        ({"numberMatched": 120}, {}),
        ({"gesamt": 120}, {}),
        ({"meta": {"pagination": {"total_count": "120"}}}, {}),
        ({}, {"content_range": "items 0-49/120"}),
        ({}, {"x_wp_total": "120"}),
        ({}, {"pagination_count": "120"}),
        ({}, {"x_acme_total_count": "120"}),
        ({}, {"x_pagination": '{"TotalCount": 120}'}),
    ],
)
def test_totals_are_read_from_many_words(beside: dict[str, Any], headers: dict[str, str]) -> None:
    assert info_of(beside, **headers).total == 120


def test_the_total_beside_hits_and_in_another_element_of_a_list_counts() -> None:
    nested = {"hits": {"total": {"value": 120, "relation": "eq"}, "hits": ROWS}}
    assert (
        read_list_info(Reply(json.dumps(nested).encode(), {}, ADDRESS), "$.hits.hits").total == 120
    )
    assert info_of([{"page": 1, "pages": 3, "total": 120}, ROWS], "$[1]") == ListInfo(
        total=120, pages=3
    )


@pytest.mark.parametrize(
    ("beside", "headers"),
    [
        ({"last_page": 3}, {}),
        ({"nbPages": 3}, {}),
        ({}, {"x_total_pages": "3"}),
        ({}, {"x_wp_totalpages": "3"}),
    ],
)
def test_numbers_of_pages_are_read_from_many_words(
    beside: dict[str, Any], headers: dict[str, str]
) -> None:
    assert info_of(beside, **headers).pages == 3


@pytest.mark.parametrize(
    "beside", [{"cursor": "abc"}, {"_scroll_id": "DXF1"}, {"offset": "itrXYZ/recABC"}]
)
def test_a_place_to_go_on_from_proves_no_more(beside: dict[str, Any]) -> None:
    assert info_of(beside).more is None
    assert info_of(beside).position is not None


@pytest.mark.parametrize(
    ("beside", "headers"),
    [
        (
            {
                "next_sync": "tomorrow",
                "next_update_at": "2026-01-01",
                "last": 0,
                "offset": 0,
                "limitation": 3,
            },
            {},
        ),
        ({"user": {"done": False, "total": 9, "next": "tomorrow", "more": True}}, {}),
        ({"links": [{"rel": "self", "href": "/users"}], "next_page": "null"}, {}),
        (
            {},
            {
                "x_ratelimit_remaining": "70",
                "x_request_count": "9",
                "content_range": "bytes 0-9/120",
                "x_cost_total": "7",
                "x_cache_hits": "3",
            },
        ),
        ({}, {"x_pagination": "{broken", "x_next_page": " "}),
    ],
)
def test_other_words_tell_nothing(beside: dict[str, Any], headers: dict[str, str]) -> None:
    found = info_of(beside, **headers)
    assert (found.more, found.position, found.total, found.pages, found.limit) == (
        None,
        None,
        None,
        None,
        None,
    )
