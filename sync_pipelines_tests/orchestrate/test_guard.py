"""The guard, asked as a browser, a script, a hostile page and a proxy would ask it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from sync_pipelines.errors import SettingsError
from sync_pipelines.orchestrate.guard import MAX_QUERY_BYTES, POLICY_VIOLATION, Guard
from sync_pipelines.orchestrate.guard_hosts import AllowedHosts
from sync_pipelines.orchestrate.guard_queries import operations_of

MUTATION = 'mutation { launchRun(executionParams: {mode: "default"}) { __typename } }'
QUERY = "{ version }"
JSON = {"content-type": "application/json"}


class Dagster:
    """An application that answers everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.received: list[dict[str, Any]] = []

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "websocket":
            while (message := await receive())["type"] != "websocket.disconnect":
                self.received.append(message)
            return
        self.bodies.append((await receive()).get("body", b""))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-security-policy", b"object-src 'none'")],
            }
        )
        await send({"type": "http.response.body", "body": b"dagster"})


def guarded(*names: str, bound: str = "127.0.0.1", read_only: bool = False) -> Guard:
    return Guard(Dagster(), AllowedHosts(bound, names), read_only=read_only)


def ask(
    guard: Guard,
    method: str,
    target: str,
    headers: dict[str, str] | list[tuple[str, str]] = (),
    body: bytes = b"",
) -> tuple[int, str, list]:
    """Status, body and headers of the answer to one request."""
    path, _, query = target.partition("?")
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "localhost:3000"))
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs if value is not None]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": raw,
    }
    return asyncio.run(_ask(guard, scope, [body[: len(body) // 2], body[len(body) // 2 :]]))


async def _ask(guard: Guard, scope: dict, parts: list[bytes]) -> tuple[int, str, list]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message) -> None:
        sent.append(message)

    await guard(scope, receive, send)
    return (
        sent[0]["status"],
        b"".join(part.get("body", b"") for part in sent[1:]).decode(),
        sent[0]["headers"],
    )


def passes(guard: Guard, *asked, **more) -> bool:
    return ask(guard, *asked, **more)[1] == "dagster"


@pytest.mark.parametrize(
    "document",
    [
        MUTATION,
        f"query a {{ version }} {MUTATION}",
        "mutation\n#{query}\n{ x }",
        "\ufeffmutation { x }",
        ",,, mutation { x }",
        "fragment f on Query { version } mutation m { x }",
        "subscription { x }",
        f"[{QUERY}]",
        f'[{{"query": "{QUERY}"}}]',
        "",
        "query {",
        "fragment f on Query { version }",
        "{ a" + "{ a" * 5000 + "}" * 5001,
    ],
)
def test_whatever_is_not_purely_a_query_is_refused_by_get(document: str) -> None:
    status, _, headers = ask(guarded(), "GET", f"/graphql?query={quote(document)}")
    assert status in (400, 405)
    assert (b"x-frame-options", b"DENY") in headers


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "//graphql", "/some/prefix/graphql"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_mutation_of_an_image_is_refused_under_every_spelling_of_the_path(
    method: str, path: str
) -> None:
    for query in (
        quote(MUTATION),
        quote(QUERY) + "&query=" + quote(MUTATION),
        quote(MUTATION) + "&query=" + quote(QUERY),
    ):
        assert ask(guarded(), method, f"{path}?query={query}")[0] == 405
    for named in (
        "extensions=%7B%7D",
        "id=1",
        "documentId=abc",
        "operationName=m",
        "queryId=1&variables=%7B%7D",
    ):
        assert ask(guarded(), method, f"{path}?{named}")[0] == 400


def test_queries_pages_and_files_of_the_ui_pass() -> None:
    assert passes(guarded(), "GET", f"/graphql?query={quote(QUERY)}")
    assert passes(guarded(), "GET", "/graphql", {"accept": "text/html"})
    for document in (QUERY, MUTATION):
        body = json.dumps({"query": document}).encode()
        own = {**JSON, "origin": "http://localhost:3000", "sec-fetch-site": "same-origin"}
        assert passes(guarded(), "POST", "/graphql?op=AssetViewDefinitionQuery", own, body), (
            "so the UI names what it asks"
        )
        assert passes(guarded(), "POST", "/graphql", JSON, body), (
            "a script sends neither Origin nor Sec-Fetch-Site"
        )
    for path in (
        "/",
        "/assets/erp/items",
        "/server_info",
        "/logs/a/compute_logs/b.err",
        "/download_debug/1",
    ):
        assert passes(
            guarded(), "GET", path, {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
        )
    assert passes(guarded(), "POST", "/report_asset_materialization/a", JSON, b"{}")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:3000",
        "localhost:3000:1",
        "",
        "a b",
        "10.0.0.1",
        "[::1",
        "[evil.example]",
        "localhost:0x10",
        "localhost@evil.example",
        "127.1",
        "evil.example:3000",
    ],
)
def test_a_name_that_was_bound_to_this_address_is_refused(host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/graphql"), ("GET", "/logs/x.out")):
        status, said, _ = ask(guarded(), method, path, {**JSON, "host": host}, b"{}")
        assert status == 403
        assert "SYNC_PIPELINES_UI_HOSTS" in said
    assert ask(guarded(), "GET", "/", [("host", "localhost"), ("host", "evil.example")])[0] == 403
    assert ask(guarded(), "GET", "/", {"host": None})[0] == 403


def test_loopback_bound_and_listed_names_are_known_at_every_port() -> None:
    for host in (
        "localhost",
        "LOCALHOST:9",
        "127.0.0.1:3000",
        "127.0.0.2",
        "[::1]:3000",
        "::1",
        "localhost.",
    ):
        assert passes(guarded(), "GET", "/", {"host": host}), host
    assert passes(guarded(bound="data.lan"), "GET", "/", {"host": "data.lan:3000"})
    assert passes(guarded("UI.example.com"), "GET", "/", {"host": "ui.example.com:8443"})
    everywhere = guarded(bound="0.0.0.0")
    assert passes(everywhere, "GET", "/", {"host": "192.0.2.7:3000"}), (
        "an address cannot be bound anew"
    )
    assert not passes(everywhere, "GET", "/", {"host": "evil.example"})


@pytest.mark.parametrize(
    "name", ["http://ui.example.com", "ui.example.com/x", "", "a:b", "*", "a,b"]
)
def test_a_listed_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="no name of a host"):
        AllowedHosts("127.0.0.1", [name])


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://localhost:8000",
        "http://localhost",
        "https://localhost:3000.evil.example",
        "file://",
        "",
        "http://localhost:3000/x",
        "chrome-extension://abc",
        "http://127.0.0.1:3000",
        "http://user@localhost:3000",
    ],
)
def test_another_origin_asks_in_vain(origin: str) -> None:
    body = json.dumps({"query": QUERY}).encode()
    assert ask(guarded(), "POST", "/graphql", {**JSON, "origin": origin}, body)[0] == 403
    assert ask(guarded(), "GET", "/server_info", {"origin": origin})[0] == 403
    assert (
        ask(
            guarded(),
            "POST",
            "/graphql",
            [*JSON.items(), ("origin", "http://localhost:3000"), ("origin", origin)],
            body,
        )[0]
        == 403
    )


def test_a_proxy_may_change_host_scheme_and_port() -> None:
    body = json.dumps({"query": MUTATION}).encode()
    guard = guarded("ui.example.com", "other.example.com:8443", "webserver:3000")
    for origin, host in (
        ("https://ui.example.com", "ui.example.com"),
        ("https://ui.example.com", "webserver:3000"),
        ("https://other.example.com:8443", "localhost:3000"),
    ):
        assert passes(guard, "POST", "/graphql", {**JSON, "origin": origin, "host": host}, body), (
            origin
        )
    for origin in ("https://other.example.com", "https://ui.example.com:9", "https://evil.example"):
        assert not passes(
            guard, "POST", "/graphql", {**JSON, "origin": origin, "host": "webserver:3000"}, body
        ), origin


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "something-new"])
def test_another_site_may_link_to_a_page_and_nothing_else(site: str) -> None:
    visit = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert passes(guarded(), "GET", "/assets/erp/items", visit)
    for changed in (
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-dest": "image", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-mode": "cors"},
    ):
        assert ask(guarded(), "GET", "/assets/erp/items", {**visit, **changed})[0] == 403
    for path in (
        "/graphql",
        f"/graphql?query={quote(QUERY)}",
        "/logs/a.out",
        "/download_debug/1",
        "//logs/a.out",
        "/notebook",
    ):
        assert ask(guarded(), "GET", path, visit)[0] == 403, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(guarded(), method, "/report_asset_materialization/a", visit)[0] == 403


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain; application/json",
        "application/graphql; x=application/json",
        "Application/JSON",
    ],
)
def test_a_form_is_no_graphql_request(kind: str | None) -> None:
    assert (
        ask(
            guarded(),
            "POST",
            "/graphql",
            {"content-type": kind},
            json.dumps({"query": MUTATION}).encode(),
        )[0]
        == 415
    )


def test_a_posted_query_is_in_the_body_and_nowhere_else() -> None:
    assert ask(guarded(), "POST", f"/graphql?query={quote(MUTATION)}", JSON, b"{}")[0] == 400


def test_a_read_only_server_executes_no_mutation_and_takes_nothing() -> None:
    guard = guarded(read_only=True)
    for body in (
        json.dumps({"query": MUTATION}),
        json.dumps({"query": f"query a {QUERY} mutation b {{ x }}", "operationName": "a"}),
        json.dumps([{"query": MUTATION}]),
        json.dumps({"query": QUERY})[:-1] + f', "query": {json.dumps(MUTATION)}}}',
        json.dumps({"extensions": {"persistedQuery": {}}}),
        "[" * 100_000,
        "{",
    ):
        assert ask(guard, "POST", "/graphql", JSON, body.encode())[0] in (400, 403), body[:80]
    assert (
        ask(guard, "POST", "/graphql", JSON, json.dumps({"query": MUTATION}).encode("utf-16"))[0]
        == 400
    )
    assert (
        ask(guard, "POST", "/graphql", {"content-type": "application/graphql"}, MUTATION.encode())[
            0
        ]
        == 403
    )
    assert ask(guard, "POST", "/graphql", JSON, b" " * (MAX_QUERY_BYTES + 2))[0] == 413
    assert ask(guard, "POST", "/report_asset_materialization/a", JSON, b"{}")[0] == 403
    asked = json.dumps({"query": QUERY}).encode()
    assert passes(guard, "POST", "/graphql", JSON, asked)
    assert guard._application.bodies == [asked]
    assert passes(guard, "GET", "/runs")


def connect(guard: Guard, headers: dict[str, str], *messages: str) -> list[dict[str, Any]]:
    """What a client of a websocket is sent."""
    raw = [
        (name.encode(), value.encode())
        for name, value in {"host": "localhost:3000", **headers}.items()
    ]
    incoming = [
        {"type": "websocket.connect"},
        *({"type": "websocket.receive", "text": text} for text in messages),
        {"type": "websocket.disconnect"},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(
        guard(
            {"type": "websocket", "path": "/graphql", "query_string": b"", "headers": raw},
            receive,
            send,
        )
    )
    return sent


def test_a_websocket_is_for_pages_of_this_server() -> None:
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"sec-fetch-site": "cross-site"},
    ):
        guard = guarded()
        assert [message["code"] for message in connect(guard, headers)] == [POLICY_VIOLATION]
        assert guard._application.received == []
    for headers in ({}, {"origin": "http://localhost:3000", "sec-fetch-site": "same-origin"}):
        assert connect(guarded(), headers) == []


def test_a_websocket_subscribes_and_never_mutates() -> None:
    start = json.dumps(
        {
            "type": "start",
            "id": "1",
            "payload": {
                "query": "subscription { locationStateChangeEvents { event { message } } }"
            },
        }
    )
    guard = guarded()
    assert (
        connect(
            guard,
            {},
            '{"type": "connection_init", "payload": {}}',
            start,
            '{"type": "stop", "id": "1"}',
        )
        == []
    )
    assert len(guard._application.received) == 4
    for bad in (
        json.dumps({"type": "start", "payload": {"query": MUTATION}}),
        '{"payload": {"query": []}}',
        "[]",
        "no json",
        "[" * 100_000,
    ):
        assert [message["code"] for message in connect(guarded(), {}, bad)] == [POLICY_VIOLATION], (
            bad[:60]
        )


def test_no_picture_and_no_frame_of_another_site_is_shown() -> None:
    _, _, headers = ask(guarded(), "GET", "/")
    policies = [value for name, value in headers if name == b"content-security-policy"]
    assert b"object-src 'none'" in policies
    assert any(
        b"img-src 'self'" in policy and b"frame-ancestors 'none'" in policy for policy in policies
    )


def test_the_kinds_of_every_operation_count_whichever_is_chosen() -> None:
    assert operations_of("query a { x } query b { y }") == {"query"}
    assert operations_of("query a { x } mutation b { y } subscription c { z }") == {
        "query",
        "mutation",
        "subscription",
    }
    assert operations_of("{ " + "a " * 30_000 + "}") is None
    assert operations_of(7) is None
