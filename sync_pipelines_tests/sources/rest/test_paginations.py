"""Every pagination and every authentication against the real twin, well-behaved and not."""

from __future__ import annotations

import json
import random

import pytest

from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.answers import error_answer, json_answer
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    GuardError,
    SecretMissingError,
    SourceBusyError,
    SourceContractError,
)
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.declared_world import user, users

PAGINATIONS = {
    "none": {"type": "none"},
    "page": {"type": "page", "size_param": "size", "size": 10},
    "offset": {"type": "offset", "size": 10},
    "cursor": {"type": "cursor", "cursor_path": "$.meta.next", "size_param": "size", "size": 10},
    "link_header": {"type": "link_header", "size_param": "size", "size": 10},
    "next_link": {"type": "next_link", "next_path": "$.next", "size_param": "size", "size": 10},
}
ENVELOPED = ("cursor", "next_link")


def start(world, paging, count=25, auth="bearer", **options):
    served = world.serve(count, paging=paging, auth=auth, **options)
    return served, {
        "pagination": PAGINATIONS[paging],
        "records": "$.items" if paging in ENVELOPED else "$",
    }


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
        if refuses:  # a first page with records that are missing, and sizes from a list
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


def answering(world, records, headers=None, **beside):
    """Every request is answered by these records with something beside them."""
    body = json.dumps({"items": records, **beside}).encode()
    world.serve(0)
    world.faults.add(Fault(kind="rest", times=None, body=body, headers=headers or {}))


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
        beside = json.loads(answer(token, method, path, query, headers, body).body)
        return json_answer(
            {**(beside if isinstance(beside, dict) else {"items": beside}), "total": total[0]}
        )

    monkeypatch.setattr(declared.rest, "answer", telling)
    declared.apply_endpoint(**endpoint)
    assert "26 records, and 25 came" in declared.fails(SourceContractError, "users").what
    total[0] = 25
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("paging", ["page", "offset", "next_link"])
def test_pages_that_move_are_reported_read_again_and_delete_nothing(declared, monkeypatch, paging):
    served, endpoint = start(declared, paging, 40)
    answer, shuffle = declared.rest.answer, random.Random(5).shuffle  # noqa: S311

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


AUTHENTICATIONS = {
    "none": None,
    "bearer": {"type": "bearer", "token": "env:SHOP_TOKEN"},
    "api_key_header": {"type": "api_key", "key": "env:SHOP_KEY", "header": "X-API-Key"},
    "api_key_query": {"type": "api_key", "key": "env:SHOP_KEY", "query": "api_key"},
    "basic": {"type": "basic", "username": "env:SHOP_USER", "password": "env:SHOP_PASSWORD"},
    "oauth2": {
        "type": "oauth2",
        "client_id": "env:SHOP_CLIENT",
        "client_secret": "env:SHOP_SECRET",
    },
}
CANARIES = {
    "SHOP_TOKEN": "canary-token-17",
    "SHOP_KEY": "canary/key+18",
    "SHOP_USER": "canary-user-19",
    "SHOP_PASSWORD": "canary-password-20",
    "SHOP_CLIENT": "canary-client-21",
    "SHOP_SECRET": "canary&secret=22",
}


def credentials(world, monkeypatch, kind, **changes):
    """The declaration's auth, with the twin and the environment agreeing on the secrets."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    world.server.token, world.rest.api_key = CANARIES["SHOP_TOKEN"], CANARIES["SHOP_KEY"]
    world.rest.user, world.rest.password = CANARIES["SHOP_USER"], CANARIES["SHOP_PASSWORD"]
    world.rest.client = (CANARIES["SHOP_CLIENT"], CANARIES["SHOP_SECRET"])
    auth = AUTHENTICATIONS[kind]
    if kind == "oauth2":
        auth = {**auth, "token_url": f"{world.server.url}/oauth/token", **changes}
    return auth


@pytest.mark.parametrize("kind", AUTHENTICATIONS)
@pytest.mark.parametrize("paging", ["page", "next_link"])
def test_every_authentication_is_accepted_on_every_page(declared, monkeypatch, kind, paging):
    auth = credentials(declared, monkeypatch, kind)
    _, endpoint = start(declared, paging, auth=kind)
    declared.apply_endpoint(auth=auth, **endpoint)
    assert declared.sync("users").ledger.inserted == 25


@pytest.mark.parametrize("kind", [kind for kind in AUTHENTICATIONS if kind != "none"])
def test_a_refused_secret_is_an_error_that_shows_nothing_of_it(declared, monkeypatch, caplog, kind):
    auth = credentials(declared, monkeypatch, kind)
    start(declared, "page", auth=kind)
    declared.apply_endpoint(auth=auth)
    for name in CANARIES:
        monkeypatch.setenv(name, CANARIES[name] + "-wrong")
    error = declared.fails(AuthenticationError, "users")
    shown = [
        str(error),
        caplog.text,
        str(declared.runs("users")),
        str(declared.sql("SELECT * FROM bridge.connectors, bridge.errors")),
    ]
    for text in shown:
        assert "canary" not in text
    declared.faults.add(Fault(kind="rest", times=None, echo_authorization=True))
    assert "canary" not in str(declared.fails((AuthenticationError, SourceBusyError), "users"))


def test_a_missing_secret_is_named(declared, monkeypatch):
    start(declared, "page")
    declared.apply_endpoint(auth={"type": "bearer", "token": "env:NOT_SET_ANYWHERE"})
    assert "NOT_SET_ANYWHERE" in declared.fails(SecretMissingError, "users").what


@pytest.mark.parametrize("send", ["body", "header"])
def test_one_oauth_token_serves_many_requests(declared, monkeypatch, send):
    auth = credentials(declared, monkeypatch, "oauth2", send=send)
    _, endpoint = start(declared, "page", auth="oauth2")
    declared.apply_endpoint(auth=auth, **endpoint)
    declared.sync("users")
    assert len(declared.rest.issued) == 1


def test_an_oauth_token_that_ends_while_reading_is_fetched_anew(declared, monkeypatch):
    auth = credentials(declared, monkeypatch, "oauth2")
    _, endpoint = start(declared, "page", auth="oauth2")
    declared.apply_endpoint(auth=auth, **endpoint)

    def revoke(request):
        if (
            request.query.get("page") == "2"
            and "done" not in request.query
            and len(declared.rest.issued) == 1
            and not revoked
        ):
            revoked.append(1)
            declared.rest.revoke_tokens()

    revoked = []
    declared.faults.on_request = revoke
    assert declared.sync("users").ledger.inserted == 25
    assert revoked and len(declared.requests("/oauth/token")) == 2


def test_a_short_lived_oauth_token_is_renewed_before_it_ends(declared, monkeypatch):
    from sync_pipelines.model.declaration import OAuth2Auth
    from sync_pipelines.model.limits import HttpLimits
    from sync_pipelines.secrets import resolve_secret
    from sync_pipelines.sources.http.auth import ClientCredentials

    auth = credentials(declared, monkeypatch, "oauth2")
    now = [0.0]
    source = ClientCredentials(
        OAuth2Auth(**auth), HttpLimits(), resolve_secret, clock=lambda: now[0]
    )
    declared.rest.lifetime_seconds = 100
    first = source.headers()
    now[0] = 69
    assert source.headers() == first
    now[0] = 71
    assert source.headers() != first


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
