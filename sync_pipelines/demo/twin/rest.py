"""Endpoints of declared sources on the twin: authentication, pagination, filters and envelopes over real HTTP."""

from __future__ import annotations

import base64
import hmac
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

from sync_pipelines.demo.twin.answers import Answer, error_answer, json_answer
from sync_pipelines.demo.twin.graphql import PATH as GRAPHQL_PATH
from sync_pipelines.demo.twin.graphql import GraphqlTwin
from sync_pipelines.demo.twin.people import answer as people_answer
from sync_pipelines.demo.twin.rows import Record, decode_json, encode_json

Texts = dict[str, str]
Paging = Literal["none", "page", "offset", "cursor", "link_header", "next_link", "people"]
AuthKind = Literal["none", "bearer", "api_key_header", "api_key_query", "basic", "oauth2"]


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
    records: list[Record] = field(default_factory=list)
    key: str = "id"
    paging: Paging = "none"
    auth: AuthKind = "bearer"
    envelope: str = ""
    since: tuple[str, str] | None = None
    sort: str | None = None
    ids: str | None = None
    max_size: int = 1000
    next_url: Callable[[str, Texts], str] | None = None
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
        self.written: list[tuple[str, Record]] = []
        self.document: Any = None
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
        endpoint = self.endpoints.get(head + "/{id}")
        return endpoint, unquote(last)

    def answer(
        self,
        token: str,
        method: str,
        path: str,
        query: Texts,
        headers: Texts,
        body: bytes,
    ) -> Answer | None:
        """The answer, or None where no endpoint is."""
        sent = {name.lower(): value for name, value in headers.items()}
        if method == "POST" and path == "/oauth/token":
            return self._token(headers, body)
        if method == "POST" and path == GRAPHQL_PATH:
            return self._graphql(token, query, sent, body)
        if path == "/openapi.json" and self.document is not None:
            return json_answer(self.document)
        endpoint, one = self.find(method, path)
        if endpoint is None or (method != "GET" and one is None):
            return None
        if not self._may(endpoint.auth, token, query, sent):
            return error_answer(401, "not authorized")
        if one is None:
            return self._list(endpoint, path, query)
        record = _record_of(endpoint, one)
        if record is None:
            return error_answer(404, "no such record")
        if method == "PUT":
            changes = decode_json(body)
            self.written.append((path, changes))
            record.update(changes)
            return json_answer(_chosen_fields(endpoint, record, query))
        return _single(endpoint, record, query)

    def _graphql(self, token: str, query: Texts, headers: Texts, body: bytes) -> Answer:
        if not self._may("bearer", token, query, headers):
            return error_answer(401, "no")
        return self.graphql.answer(body)

    def _may(self, kind: AuthKind, token: str, query: Texts, headers: Texts) -> bool:
        if kind == "none":
            return True
        sent = headers.get("authorization", "")
        if kind == "bearer":
            return hmac.compare_digest(sent, f"Bearer {token}")
        if kind == "basic":
            return hmac.compare_digest(sent, _basic(self.user, self.password))
        if kind == "oauth2":
            token = sent.removeprefix("Bearer ")
            with self._lock:
                ends_at = self.issued.get(token, 0)
            return ends_at > time.monotonic()
        is_in_header = kind == "api_key_header"
        key = headers.get("x-api-key") if is_in_header else query.get("api_key")
        return hmac.compare_digest(key or "", self.api_key)

    def _token(self, headers: Texts, body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode()))
        given = (form.get("client_id"), form.get("client_secret"))
        # RFC 6749 2.3.1: both are encoded as in a form before they go into the header.
        user, password = (quote(part, safe="") for part in self.client)
        in_header = headers.get("Authorization") == _basic(user, password)
        is_client = in_header or given == self.client
        if not is_client or form.get("grant_type") != "client_credentials":
            return json_answer({"error": "invalid_client"}, 401)
        with self._lock:
            number = next(self._numbers)
            token = f"twin-oauth-token-{number}"
            self.issued[token] = time.monotonic() + self.lifetime_seconds
        issued = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.lifetime_seconds,
        }
        return json_answer(issued)

    def _list(self, endpoint: RestEndpoint, path: str, query: Texts) -> Answer:
        if endpoint.paging == "people":
            count = _whole(query, "results", 1)
            page = _whole(query, "page", 1)
            people = people_answer(count, page, query.get("seed", "any"))
            return Answer(body=people)
        records = _selected(endpoint, query)
        if endpoint.paging == "none":
            return _answer(endpoint, records, {}, {})
        limit = _whole(query, "limit", 10)
        size = min(_whole(query, "size", limit), endpoint.max_size)
        start = _start(endpoint, query, size)
        end = start + size
        is_empty = start // size + 1 in endpoint.empty_pages
        part = [] if is_empty else records[start:end]
        has_more = end < len(records) and endpoint.paging != "page"
        cursor = str(end)
        following = {**query, "cursor": cursor}
        following.pop("api_key", None)
        make_url = endpoint.next_url or _url
        url = make_url(path, following)
        headers: Texts = {}
        if endpoint.paging == "link_header" and has_more:
            headers["Link"] = f'<{url}>; rel="next"'
        beside = _beside(endpoint, url, cursor, has_more)
        return _answer(endpoint, part, beside, headers)


def _basic(user: str, password: str) -> str:
    """The value of the header Authorization."""
    pair = f"{user}:{password}"
    encoded = base64.b64encode(pair.encode())
    return f"Basic {encoded.decode()}"


def _record_of(endpoint: RestEndpoint, one: str) -> Record | None:
    for record in endpoint.records:
        if str(record.get(endpoint.key)) == one:
            return record
    return None


def _single(endpoint: RestEndpoint, record: Record, query: Texts) -> Answer:
    if _is_unchanged(endpoint, record, query):
        return error_answer(404, "not changed since")
    return json_answer(_chosen_fields(endpoint, record, query))


def _is_unchanged(endpoint: RestEndpoint, record: Record, query: Texts) -> bool:
    """Whether the record is no newer than the query asks for."""
    if endpoint.since is None:
        return False
    parameter, field = endpoint.since
    changed_at = str(record.get(field) or "")
    return query.get(parameter, "") >= changed_at


def _chosen_fields(endpoint: RestEndpoint, record: Record, query: Texts) -> Record:
    """The fields that the query names, with key and time of change; all where it names none."""
    asked = query.get("fields", "").split(",")
    names = {name for name in asked if name}
    if not names:
        return record
    names.add(endpoint.key)
    if endpoint.since is not None:
        _, field = endpoint.since
        names.add(field)
    return {name: value for name, value in record.items() if name in names}


def _selected(endpoint: RestEndpoint, query: Texts) -> list[Record]:
    """The records that the query asks for, in the endpoint's order."""
    records = list(endpoint.records)
    if endpoint.since is not None:
        parameter, field = endpoint.since
        after = query.get(parameter)
        if after:
            records = [record for record in records if str(record[field] or "") > after]
    sort = endpoint.sort
    if sort is not None:
        records.sort(key=lambda record: str(record[sort]))
    if endpoint.ids is not None:
        wanted = query.get(endpoint.ids, "").split(",")
        records = [record for record in records if str(record[endpoint.key]) in wanted]
    return records


def _start(endpoint: RestEndpoint, query: Texts, size: int) -> int:
    """Number of records before the page that the query asks for."""
    if endpoint.paging == "page":
        number = _whole(query, "page", 1)
        return (number - 1) * size
    name = "offset" if endpoint.paging == "offset" else "cursor"
    return _whole(query, name, 0)


def _url(path: str, query: Texts) -> str:
    return f"{path}?{urlencode(query)}"


def _beside(endpoint: RestEndpoint, url: str, cursor: str, has_more: bool) -> Record:
    """The members of the body that name the next page."""
    if endpoint.paging == "next_link":
        return {"next": url if has_more else None}
    if endpoint.paging != "cursor":
        return {}
    if endpoint.next_url is not None:
        return {"meta": {"next": url}}
    return {"meta": {"next": cursor if has_more else None}}


def _answer(endpoint: RestEndpoint, part: list[Record], beside: Record, headers: Texts) -> Answer:
    content: Any = part
    if endpoint.envelope or beside:
        envelope = endpoint.envelope or "items"
        content = {envelope: part, **beside}
    return Answer(body=encode_json(content), headers=headers)


def _whole(query: Texts, name: str, default: int) -> int:
    text = query.get(name, "")
    is_whole = text.isascii() and text.isdigit()
    return int(text) if is_whole else default
