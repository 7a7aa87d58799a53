"""Every pagination and every authentication against the real twin, well-behaved and not."""

from __future__ import annotations

import json

import pytest

from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.answers import error_answer, json_answer
from sync_pipelines.errors import (
    BrokenPageError,
    GuardError,
    SourceBusyError,
    SourceContractError,
)
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.declared_world import user, users
from sync_pipelines_tests.sources.rest.paged import ENVELOPED, PAGINATIONS, start


@pytest.mark.parametrize("paging", PAGINATIONS)
@pytest.mark.parametrize("count", [0, 1, 10, 25])
def test_every_pagination_reads_everything_once(declared, paging, count):
    _, endpoint = start(declared, paging, count)
    declared.apply_endpoint(**endpoint)
    result = declared.sync("users")
    assert result.ledger.fetched == result.ledger.inserted == count
    assert set(declared.table()) == set(range(1, count + 1))


@pytest.mark.parametrize("paging", PAGINATIONS)
def test_changes_and_deletions_are_found_by_full_reads(declared, paging):
    served, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    served.records[:] = [user(1, name="other"), *users(20)[1:]]
    first = declared.sync("users")
    assert (first.ledger.updated, first.ledger.unchanged, first.ledger.deleted) == (1, 19, 0)
    assert declared.sync("users").ledger.deleted == 5, "absent from two reads in a row"
    assert set(declared.table()) == set(range(1, 21))


@pytest.mark.parametrize("paging", PAGINATIONS)
def test_a_source_that_answers_empty_does_not_empty_the_table(declared, paging):
    served, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    served.records.clear()
    declared.sync("users", status=RunStatus.INCOMPLETE)
    assert len(declared.table()) == 25


@pytest.mark.parametrize("paging", ["cursor", "next_link"])
def test_a_next_page_that_was_read_already_is_a_loop(declared, paging):
    _, endpoint = start(
        declared,
        paging,
        next_url=lambda path, query: f"{path}?cursor=10&size=10" if paging == "next_link" else "10",
    )
    declared.apply_endpoint(**endpoint)
    assert "loop" in declared.fails(SourceContractError, "users").what


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_a_source_that_ignores_its_page_is_a_loop(declared, paging):
    start(declared, "none")
    declared.apply_endpoint(pagination=PAGINATIONS[paging])
    assert "loop" in declared.fails(SourceContractError, "users").what


@pytest.mark.parametrize("paging", ["link_header", "next_link"])
@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example.com/users",
        "//evil.example.com/users",
        "http://user:pw@127.0.0.1/users",
        "file:///etc/passwd",
    ],
)
def test_a_next_link_to_another_origin_is_refused_and_never_asked(declared, paging, target):
    _, endpoint = start(declared, paging, next_url=lambda path, query: target)
    declared.apply_endpoint(**endpoint)
    error = declared.fails(GuardError, "users")
    assert "leaves the connector's origin" in error.what
    assert len(declared.requests("/users")) == 1


def test_an_absolute_next_link_of_the_same_origin_is_followed(declared):
    from urllib.parse import urlencode

    _, endpoint = start(
        declared,
        "next_link",
        next_url=lambda path, query: f"{declared.server.url}{path}?{urlencode(query)}",
    )
    declared.apply_endpoint(**endpoint)
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_an_empty_page_in_the_middle_is_no_end(declared, paging):
    served, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    served.empty_pages = {2}
    assert "behind it has records" in declared.fails(SourceContractError, "users").what


@pytest.mark.parametrize("paging", ["page", "offset"])
def test_a_page_that_is_empty_once_is_no_end(declared, paging):
    _, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    declared.faults.add(Fault(kind="rest", nth=2, body=b"[]"))
    declared.fails(BrokenPageError, "users")
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("paging", [paging for paging in PAGINATIONS if paging != "none"])
def test_a_source_that_caps_its_pages_silently_loses_no_row(declared, paging):
    _, endpoint = start(declared, paging, 250, max_size=100)
    endpoint["pagination"] = {**endpoint["pagination"], "size": 1000}
    declared.apply_endpoint(**endpoint)
    assert declared.sync("users").ledger.inserted == 250


@pytest.mark.parametrize("refuses", [False, True])
def test_a_source_that_caps_its_pages_but_numbers_them_by_the_size_asked_for_loses_no_row(
    declared, monkeypatch, refuses
):
    _, endpoint = start(declared, "page", 250, max_size=1000)
    endpoint["pagination"] = {**endpoint["pagination"], "size": 250 if refuses else 200}
    declared.apply_endpoint(**endpoint)
    answer = declared.rest.answer

    def capped(token, method, path, query, headers, body):
        if refuses:  # a first page with records held back, and sizes from a list
            if query["size"] != "250":
                return error_answer(400, "no such size")
            return answer(token, method, path, {**query, "size": "125"}, headers, body)
        whole = answer(token, method, path, query, headers, body)
        return json_answer(json.loads(whole.body)[:100])

    monkeypatch.setattr(declared.rest, "answer", capped)
    assert declared.sync("users").ledger.inserted == 250


@pytest.mark.parametrize(
    "headers",
    [
        {
            "Link": '</users?cursor=10&size=10>; rel="next"',
            "link": '</users?cursor=90>; rel="last"',
        },
        {"Link": '</users?cursor=10&size=10>; rel="start Next"'},
    ],
)
def test_the_next_link_is_found_among_others(declared, headers):
    _, endpoint = start(declared, "link_header")
    declared.apply_endpoint(**endpoint)
    declared.faults.add(Fault(kind="rest", headers=headers))
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("ending", ["null", "false", "0", '""'])
def test_a_next_page_may_be_denied_in_many_ways(declared, ending):
    _, endpoint = start(declared, "next_link")
    declared.apply_endpoint(**endpoint)
    declared.faults.add(
        Fault(
            kind="rest",
            times=None,
            body=b'{"items": [{"id": 1}], "next": ' + ending.encode() + b"}",
        )
    )
    assert declared.sync("users").ledger.inserted == 1


@pytest.mark.parametrize("paging", ENVELOPED)
def test_a_bad_text_in_an_answer_does_not_hide_its_next_page(declared, paging):
    _, endpoint = start(declared, paging)
    declared.apply_endpoint(**endpoint)
    beside = (
        b'"next": "/users?cursor=10&size=10"' if paging == "next_link" else b'"meta": {"next": 10}'
    )
    declared.faults.add(
        Fault(
            kind="rest",
            body=b'{"items": [{"id": 1, "name": "\xff"}, {"id": 2, "name": "a\nb"}], '
            + beside
            + b"}",
        )
    )
    result = declared.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined) == (15, 2)


@pytest.mark.parametrize("paging", ENVELOPED)
def test_an_empty_page_with_a_next_one_is_read_over(declared, paging):
    served, endpoint = start(declared, paging)
    served.empty_pages = {2}
    declared.apply_endpoint(**endpoint)
    assert set(declared.table() if declared.sync("users") else ()) == {
        *range(1, 11),
        *range(21, 26),
    }


@pytest.mark.parametrize(
    "body", [b"{}", b'{"items": null}', b'{"rows": []}', b"null", b'{"items": 3}']
)
def test_an_answer_of_another_shape_is_not_asked_for_again_and_has_a_next_step(declared, body):
    _, endpoint = start(declared, "next_link")
    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    declared.faults.add(Fault(kind="rest", times=None, body=body))
    assert declared.fails(SourceContractError, "users").next_command


@pytest.mark.parametrize("body", [b"[1, 2", b"", b"<html>", b'{"items": []} x'])
def test_an_answer_that_is_cut_does_not_pass_for_an_empty_one(declared, body):
    _, endpoint = start(declared, "next_link")
    declared.apply_endpoint(**endpoint)
    declared.sync("users")
    declared.faults.add(Fault(kind="rest", times=None, body=body))
    declared.fails(BrokenPageError, "users")


def test_too_many_requests_waits_as_asked_and_goes_on(declared):
    _, endpoint = start(declared, "page")
    declared.apply_endpoint(**endpoint)
    limited = declared.faults.add(
        Fault(kind="rest", nth=2, status=429, headers={"Retry-After": "0"})
    )
    assert declared.sync("users").ledger.inserted == 25
    assert declared.faults.fired(limited) == 1
    declared.faults.add(Fault(kind="rest", times=None, status=429))
    declared.fails(SourceBusyError, "users")
