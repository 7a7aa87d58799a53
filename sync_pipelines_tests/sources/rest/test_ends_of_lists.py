"""Where a list ends: the words of its answers, and what is no end."""

from __future__ import annotations

import json
import random

import pytest

from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.answers import json_answer
from sync_pipelines.errors import (
    SourceContractError,
)
from sync_pipelines_tests.declared_world import user, users
from sync_pipelines_tests.sources.rest.paged import PAGINATIONS, answering, start


@pytest.mark.parametrize(
    "beside",
    [
        {"has_more": True},
        {"meta": {"hasNextPage": True}},
        {"last": False},
        {"next": "/users?page=2"},
        {"links": {"next": {"href": "/users?page=2"}}},
        {"paging": {"next": {"after": "x"}}},
        {"nextPageToken": "abc"},
        {"@odata.nextLink": "https://x.example.com/"},
        {"total": 4},
        {"meta": {"pagination": {"total_count": "4"}}},
        {"count": 4, "next": None},
        {"totalPages": 2},
        {"limit": 3},
        {"_scroll_id": "abc"},
        {"other": {"has_more": True}},
    ],
)
def test_one_answer_that_says_that_there_is_more_is_not_everything(declared, beside):
    answering(declared, users(3), **beside)
    declared.apply_endpoint(records="$.items")
    error = declared.fails(SourceContractError, "users")
    assert "pagination" in error.next_command
    declared.apply_endpoint(records="$.items", pagination={"type": "none", "checked": False})
    assert declared.sync("users").ledger.inserted == 3


@pytest.mark.parametrize(
    "headers",
    [{"Link": '</users?page=2>; rel="next"'}, {"X-Next-Page": "2"}, {"X-Total-Count": "4"}],
)
def test_headers_tell_of_more_as_well(declared, headers):
    answering(declared, users(3), headers)
    declared.apply_endpoint(records="$.items")
    declared.fails(SourceContractError, "users")


@pytest.mark.parametrize(
    "beside",
    [
        {"has_more": False},
        {"next": None, "limit": 3},
        {"total": 3, "count": 3, "limit": 3},
        {"total": 2},
        {"total": [4]},
        {"other": {"more": True, "next": "x", "total": 9}},
        {"done": True, "cursor": "x"},
        {"last": 0, "remaining": 0},
        {"next_sync": "tomorrow", "links": [{"rel": "self", "href": "/users"}]},
        {"page": 1, "pages": 1, "next_update": "tomorrow"},
        {"links": {"self": "/users", "next": ""}},
    ],
)
def test_an_answer_that_says_that_it_is_all_is_all(declared, beside):
    answering(declared, users(3), **beside)
    declared.apply_endpoint(records="$.items")
    assert declared.sync("users").ledger.inserted == 3


def test_fields_of_records_are_no_words_about_the_list(declared):
    columns = [{"name": "id", "type": "bigint", "key": True}, {"name": "total", "type": "bigint"}]
    declared.serve(0)
    record = {"id": 1, "total": 9, "has_more": True, "next": "/users/2", "limit": 1}
    for body, records in (
        (record, "$"),
        ({"item": record}, "$.item"),
        ([record], "$"),
        ({"items": [record]}, "$.items"),
    ):
        declared.faults.clear()
        declared.faults.add(Fault(kind="rest", times=None, body=json.dumps(body).encode()))
        declared.apply_endpoint(records=records, columns=columns)
        assert declared.sync("users").ledger.fetched == 1


@pytest.mark.parametrize("size, fails", [(3, True), (4, False)])
def test_exactly_as_many_records_as_were_asked_for_are_no_end(declared, size, fails):
    answering(declared, users(3))
    for ending in (
        {"pagination": {"type": "none", "size_param": "limit", "size": size}},
        {"params": {"per_page": size}},
    ):
        declared.apply_endpoint(records="$.items", **ending)
        if fails:
            assert "exactly as many" in declared.fails(SourceContractError, "users").what
        else:
            declared.sync("users")


@pytest.mark.parametrize("paging", ["page", "offset", "next_link"])
def test_an_end_before_the_total_is_no_end(declared, monkeypatch, paging):
    _, endpoint = start(declared, paging, 25)
    endpoint["records"] = "$.items"
    endpoint["pagination"] = {**endpoint["pagination"], "max_size": 10}
    answer, total = declared.rest.answer, [26]

    def telling(token, method, path, query, headers, body):
        content = json.loads(answer(token, method, path, query, headers, body).body)
        return json_answer(
            {**(content if isinstance(content, dict) else {"items": content}), "total": total[0]}
        )

    monkeypatch.setattr(declared.rest, "answer", telling)
    declared.apply_endpoint(**endpoint)
    assert "26 records, and 25 came" in declared.fails(SourceContractError, "users").what
    total[0] = 25
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("paging", ["page", "offset", "next_link"])
def test_pages_that_move_are_reported_read_again_and_delete_nothing(declared, monkeypatch, paging):
    served, endpoint = start(declared, paging, 40)
    answer, shuffle = declared.rest.answer, random.Random(5).shuffle

    def shuffled(token, method, path, query, headers, body):
        shuffle(served.records)
        return answer(token, method, path, query, headers, body)

    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    monkeypatch.setattr(declared.rest, "answer", shuffled)
    asked = len(declared.requests("/users"))
    for _ in range(3):
        result = declared.sync("users")
        assert any("came twice" in warning and "sort" in warning for warning in result.warnings)
        assert result.ledger.deleted == 0
        assert declared.entity("users").position.full_refresh_pending
    assert len(declared.requests("/users")) - asked <= 3 * 3 * 7, "three reads a run"
    assert set(declared.table()) == set(range(1, 41))
    assert declared.sql("SELECT count(*) FROM bridge.absences") == [(0,)]
    monkeypatch.setattr(declared.rest, "answer", answer)
    del served.records[0]
    assert [declared.sync("users").ledger.deleted for _ in range(2)] == [0, 1]
    assert not declared.entity("users").position.full_refresh_pending


def test_a_record_that_the_list_has_twice_is_no_sign_of_pages_that_move(declared):
    served, endpoint = start(declared, "page", 25)
    served.records.append(user(1))
    declared.apply_endpoint(**endpoint)
    result = declared.sync("users")
    assert not any("twice" in warning for warning in result.warnings)
    assert (result.ledger.inserted, result.ledger.superseded) == (25, 27), (
        "a second read brought the same pages"
    )
    del served.records[3]
    assert [declared.sync("users").ledger.deleted for _ in range(2)] == [0, 1]


WRONG = [("next_link", {"next_path": "$.nxet"}), ("cursor", {"cursor_path": "$.meta.nxet"})]


@pytest.mark.parametrize("paging, wrong", WRONG)
def test_a_next_page_that_is_named_elsewhere_is_an_error_and_no_end(declared, paging, wrong):
    start(declared, paging)
    declared.apply_endpoint(records="$.items", pagination={**PAGINATIONS[paging], **wrong})
    assert "names a next page" in declared.fails(SourceContractError, "users").what
    declared.apply_endpoint(
        records="$.items", pagination={**PAGINATIONS[paging], **wrong, "checked": False}
    )
    assert declared.sync("users").ledger.inserted == 10, "a person said that this is the end"


@pytest.mark.parametrize("count, warned", [(10, True), (9, False)])
@pytest.mark.parametrize("paging, wrong", WRONG)
def test_a_next_page_that_no_answer_names_is_warned_about_unless_the_first_is_short(
    declared, paging, wrong, count, warned
):
    start(declared, paging, count=count)
    declared.apply_endpoint(records="$.items", pagination={**PAGINATIONS[paging], **wrong})
    found = [
        warning for warning in declared.sync("users").warnings if "next page is named" in warning
    ]
    assert bool(found) is warned


@pytest.mark.parametrize("paging, wrong", WRONG)
def test_as_many_as_were_asked_for_are_no_end_where_nothing_names_a_next_page(
    declared, paging, wrong
):
    declared.serve(0)
    declared.faults.add(
        Fault(kind="rest", times=None, body=json.dumps({"items": users(3)}).encode())
    )
    pagination = {**PAGINATIONS[paging], **wrong, "size_param": "size", "size": 3}
    declared.apply_endpoint(records="$.items", pagination=pagination)
    assert "as many as were asked for" in declared.fails(SourceContractError, "users").what
    declared.apply_endpoint(records="$.items", pagination={**pagination, "size": 4})
    assert declared.sync("users").ledger.inserted == 3


def test_pages_that_are_announced_and_do_not_come_are_an_error(declared):
    declared.serve(0)
    answers = [
        {"items": users(3), "next": "/users?page=2", "pages": 3},
        {"items": [{"id": 9, "name": "x"}], "next": None, "pages": 3},
    ]
    for answer in answers:
        declared.faults.add(Fault(kind="rest", body=json.dumps(answer).encode()))
    declared.apply_endpoint(records="$.items", pagination={"type": "next_link"})
    assert "there are 3 pages, and 2 came" in declared.fails(SourceContractError, "users").what


@pytest.mark.parametrize("paging", ["next_link", "cursor", "link_header"])
def test_a_next_page_that_is_named_is_not_warned_about(declared, paging):
    _, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    assert not [
        warning for warning in declared.sync("users").warnings if "next page is named" in warning
    ]


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_an_error_that_calls_itself_a_success_is_no_page(declared, paging):
    _, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    declared.faults.add(Fault(kind="rest", nth=2, times=2, body=b'{"error": "busy"}'))
    declared.fails(SourceContractError, "users")
    assert declared.quarantine("users") == []
    declared.faults.clear()
    assert declared.sync("users").ledger.unchanged == 25
