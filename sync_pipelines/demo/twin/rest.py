"""Endpoints of declared sources on the twin: each kind of authentication, pagination, filter and envelope over real
HTTP.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import threading
import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

from sync_pipelines.demo.twin.answers import Answer, error_answer, json_answer
from sync_pipelines.demo.twin.graphql import PATH as GRAPHQL_PATH
from sync_pipelines.demo.twin.graphql import GraphqlTwin
from sync_pipelines.demo.twin.people import answer as people_answer
from sync_pipelines.demo.twin.rows import decode_json, encode_json

Paging = t.Literal["none", "page", "offset", "cursor", "link_header", "next_link", "people"]
AuthKind = t.Literal["none", "bearer", "api_key_header", "api_key_query", "basic", "oauth2"]


@dataclass
class RestEndpoint:
    """One endpoint; its `records` may be changed at any time.

    Attributes:
        path: exact path; `{id}` at its end answers one record by its key, for GET and PUT.
        key: field that identifies a record.
        envelope: where the records go in the answer; "" for a bare list.
        since: (parameter, field): only records with a greater field.
        sort: field to sort by.
        ids: parameter with ids joined by commas.
        max_size: largest page it gives.
        next_url: makes the next link from (own address, query), to lead astray.
        empty_pages: numbers of pages that are answered empty.
    """

    path: str
    records: list[dict[str, t.Any]] = field(default_factory=list)
    key: str = "id"
    paging: Paging = "none"
    auth: AuthKind = "bearer"
    envelope: str = ""
    since: tuple[str, str] | None = None
    sort: str | None = None
    ids: str | None = None
    max_size: int = 1000
    next_url: Callable[[str, dict[str, str]], str] | None = None
    empty_pages: set[int] = field(default_factory=set)


class RestTwin:
    """The endpoints of a twin with their credentials.

    Attributes:
        api_key, user, password, client: what callers must send.
        lifetime_seconds: how long a token of `/oauth/token` is good.
        issued: tokens that were given out, with the moment they end.
        written: bodies of accepted PUT requests by path.
        document: served at `/openapi.json`.
        graphql: served at `/graphql`.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, RestEndpoint] = {}
        self.api_key = "twin-api-key"
        self.user = "twin-user"
        self.password = "twin-password"
        self.client = ("twin-client", "twin-client-secret")
        self.lifetime_seconds = 3600.0
        self.issued: dict[str, float] = {}
        self.written: list[tuple[str, dict[str, t.Any]]] = []
        self.document: t.Any = None
        self.graphql = GraphqlTwin()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, endpoint: RestEndpoint) -> RestEndpoint:
        """Serve an endpoint."""
        self.endpoints[endpoint.path] = endpoint
        return endpoint

    def revoke_tokens(self) -> None:
        """Refuse every token that was given out so far."""
        with self._lock:
            self.issued.clear()

    def find(self, method: str, path: str) -> tuple[RestEndpoint | None, str | None]:
        """The endpoint of a path, and the id at its end."""
        if path in self.endpoints:
            return self.endpoints[path], None
        head, _, last = path.rpartition("/")
        return self.endpoints.get(head + "/{id}"), unquote(last)

    def answer(
        self,
        token: str,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Answer | None:
        """The answer, or None where no endpoint is."""
        sent = {name.lower(): value for name, value in headers.items()}
        if path == "/oauth/token" and method == "POST":
            return self._token(headers, body)
        if path == GRAPHQL_PATH and method == "POST":
            return (
                self.graphql.answer(body)
                if self._may("bearer", token, query, sent)
                else error_answer(401, "no")
            )
        if path == "/openapi.json" and self.document is not None:
            return json_answer(self.document)
        endpoint, one = self.find(method, path)
        if endpoint is None or (method != "GET" and one is None):
            return None
        if not self._may(endpoint.auth, token, query, sent):
            return error_answer(401, "not authorized")
        if one is not None:
            return self._single(endpoint, method, path, one, query, body)
        return self._list(endpoint, path, query)

    def _may(
        self, kind: AuthKind, token: str, query: dict[str, str], headers: dict[str, str]
    ) -> bool:
        sent = headers.get("authorization", "")
        if kind == "bearer":
            return hmac.compare_digest(sent, f"Bearer {token}")
        if kind == "basic":
            wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return hmac.compare_digest(sent, f"Basic {wanted}")
        if kind == "oauth2":
            with self._lock:
                return self.issued.get(sent.removeprefix("Bearer "), 0) > time.monotonic()
        if kind == "api_key_header":
            return hmac.compare_digest(headers.get("x-api-key", ""), self.api_key)
        return kind == "none" or hmac.compare_digest(query.get("api_key", ""), self.api_key)

    def _token(self, headers: dict[str, str], body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode()))
        basic = (
            "Basic "
            + base64.b64encode(
                ":".join(quote(part, safe="") for part in self.client).encode()
            ).decode()
        )
        given = (form.get("client_id"), form.get("client_secret"))
        if form.get("grant_type") != "client_credentials" or not (
            given == self.client or headers.get("Authorization") == basic
        ):
            return json_answer({"error": "invalid_client"}, 401)
        with self._lock:
            token = f"twin-oauth-token-{next(self._numbers)}"
            self.issued[token] = time.monotonic() + self.lifetime_seconds
        return json_answer(
            {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds}
        )

    def _single(
        self,
        endpoint: RestEndpoint,
        method: str,
        path: str,
        one: str,
        query: dict[str, str],
        body: bytes,
    ) -> Answer:
        record = next(
            (record for record in endpoint.records if str(record.get(endpoint.key)) == one), None
        )
        if record is None:
            return error_answer(404, "no such record")
        if method == "PUT":
            changes = decode_json(body)
            self.written.append((path, changes))
            record.update(changes)
        elif endpoint.since is not None and query.get(endpoint.since[0], "") >= str(
            record.get(endpoint.since[1]) or ""
        ):
            return error_answer(404, "not changed since")
        fields = [name for name in query.get("fields", "").split(",") if name]
        always = {endpoint.key, *(endpoint.since[1:] if endpoint.since else ())}
        return json_answer(
            {
                name: value
                for name, value in record.items()
                if not fields or name in fields or name in always
            }
        )

    def _list(self, endpoint: RestEndpoint, path: str, query: dict[str, str]) -> Answer:
        if endpoint.paging == "people":
            people = people_answer(
                _whole(query, "results", 1), _whole(query, "page", 1), query.get("seed", "any")
            )
            return Answer(body=people)
        records = _selected(endpoint, query)
        if endpoint.paging == "none":
            return _answer(endpoint, records, {}, {})
        size = min(_whole(query, "size", _whole(query, "limit", 10)), endpoint.max_size)
        start = _start(endpoint, query, size)
        is_empty = start // size + 1 in endpoint.empty_pages
        part = [] if is_empty else records[start : start + size]
        has_more = start + size < len(records) and endpoint.paging != "page"
        following = {name: value for name, value in query.items() if name != "api_key"}
        following["cursor"] = str(start + size)
        make_url = endpoint.next_url or _url
        url = make_url(path, following)
        headers: dict[str, str] = {}
        if endpoint.paging == "link_header" and has_more:
            headers["Link"] = f'<{url}>; rel="next"'
        return _answer(
            endpoint, part, _beside(endpoint, url, following["cursor"], has_more), headers
        )


def _selected(endpoint: RestEndpoint, query: dict[str, str]) -> list[t.Any]:
    """The records that the query asks for, in the endpoint's order."""
    records = list(endpoint.records)
    if endpoint.since is not None:
        parameter, field = endpoint.since
        after = query.get(parameter)
        if after:
            records = [record for record in records if str(record[field] or "") > after]
    if endpoint.sort is not None:
        records.sort(key=lambda record: str(record[endpoint.sort or ""]))
    if endpoint.ids is not None:
        wanted = query.get(endpoint.ids, "").split(",")
        records = [record for record in records if str(record[endpoint.key]) in wanted]
    return records


def _start(endpoint: RestEndpoint, query: dict[str, str], size: int) -> int:
    """Number of records before the page that the query asks for."""
    if endpoint.paging == "page":
        return (_whole(query, "page", 1) - 1) * size
    return _whole(query, "offset" if endpoint.paging == "offset" else "cursor", 0)


def _url(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}"


def _beside(endpoint: RestEndpoint, url: str, cursor: str, has_more: bool) -> dict[str, t.Any]:
    """What the body tells of the next page."""
    if endpoint.paging == "next_link":
        return {"next": url if has_more else None}
    if endpoint.paging != "cursor":
        return {}
    if endpoint.next_url is not None:
        return {"meta": {"next": url}}
    return {"meta": {"next": cursor if has_more else None}}


def _answer(
    endpoint: RestEndpoint, part: list[t.Any], beside: dict[str, t.Any], headers: dict[str, str]
) -> Answer:
    content: t.Any = part
    if endpoint.envelope or beside:
        content = {endpoint.envelope or "items": part, **beside}
    return Answer(body=encode_json(content), headers=headers)


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default
