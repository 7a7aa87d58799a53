"""A filter in front of Dagster's web server: it refuses what a page of somebody else makes a browser ask.

Dagster has no login, executes GraphQL mutations by GET and does not look at who asks. An image in a description, a form
of another site or a name that is bound anew to a loopback address could start runs with it. This is a plain ASGI
application and needs nothing of Dagster.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from sync_pipelines.orchestrate.guard_hosts import AllowedHosts
from sync_pipelines.orchestrate.guard_queries import operations_of
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_QUERY_BYTES = 10 * 1024 * 1024
POLICY_VIOLATION = 1008
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
# Dagster looks for these within the header, so that anything beside them could be read in another way than here.
_GRAPHQL_TYPES = re.compile(r"application/(json|graphql)(; ?charset=(utf-8|UTF-8))?")
# Endpoints of Dagster that are no page: nobody has a reason to be sent there from another site.
_NO_PAGES = ("graphql", "logs", "download_debug", "notebook", "dagit")
_CONTENT_POLICY = b"content-security-policy"
_HEADERS: list[Header] = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Beside Dagster's own policy: no picture and no frame of another site, even where text became markup.
    (_CONTENT_POLICY, b"img-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"),
]


@dataclass(frozen=True)
class Refusal:
    """Why a request does not reach Dagster, as a status and a sentence."""

    status: int
    why: str


class Guard:
    """An ASGI application around another one.

    Args:
        application: Dagster's.
        hosts: the names under which this server may be asked.
        read_only: refuse every mutation and every other request that writes.
    """

    def __init__(
        self,
        application: Application,
        hosts: AllowedHosts,
        *,
        read_only: bool = False,
    ) -> None:
        self._application = application
        self._hosts = hosts
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise ValueError(f"no such kind of connection is known: {scope['type']}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refuse_sender(scope) or self._refuse_request(scope)
        if refusal is None and self._has_query_in_body(scope):
            body, refusal = await _read_body(receive)
            refusal = refusal or self._refuse_body(scope, body)
            receive = _replay(body, receive)
        if refusal is None:
            await self._application(scope, receive, _with_headers(send))
        else:
            _log(scope, refusal)
            await _answer(refusal, send)

    async def _websocket(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        refusal = self._refuse_sender(scope)
        if refusal is not None:
            _log(scope, refusal)
            await receive()  # the request to connect; the server turns the close into 403
            await _close(send, refusal.why[:100])
            return

        async def only_reads() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive" or _reads(message):
                return message
            _log(scope, Refusal(403, "a mutation through a websocket"))
            await _close(send, "Only queries and subscriptions.")
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}

        await self._application(scope, only_reads, send)

    def _refuse_sender(self, scope: Scope) -> Refusal | None:
        """By the headers that a browser sets and a page cannot: Host, Origin and Sec-Fetch-Site."""
        headers = _Headers(scope)
        host = headers.only("host")
        if host is None or not self._hosts.knows(host):
            name = printable(host or "by no name", 100)
            return Refusal(
                403,
                f"This server is not called {name}. If it should be, name it in SYNC_PIPELINES_UI_HOSTS, or with "
                "--allowed-host, and start it again.",
            )
        if headers.all("origin"):
            origin = headers.only("origin")
            if not self._hosts.same_origin(origin, host):
                return Refusal(403, "A page of another origin may not ask this server.")
        if headers.all("sec-fetch-site"):
            site = headers.only("sec-fetch-site")
            if site not in _OWN_SITES and not _is_visit(scope, headers):
                return Refusal(403, "Another site may link to this server's pages, but not ask it.")
        return None

    def _refuse_request(self, scope: Scope) -> Refusal | None:
        is_safe = scope["method"] in _SAFE_METHODS
        if not _is_graphql(scope):
            if self._read_only and not is_safe:
                return Refusal(403, "This server only shows; it takes nothing.")
            return None
        if is_safe:
            return _refuse_get(scope)
        content_type = _Headers(scope).only("content-type")
        if not _GRAPHQL_TYPES.fullmatch(content_type or ""):
            return Refusal(415, "A GraphQL request by POST has the content type application/json.")
        if "query" in _parameters(scope):
            return Refusal(400, "A GraphQL request by POST carries its query in its body.")
        return None

    def _has_query_in_body(self, scope: Scope) -> bool:
        return self._read_only and _is_graphql(scope) and scope["method"] == "POST"

    def _refuse_body(self, scope: Scope, body: bytes) -> Refusal | None:
        content_type = _Headers(scope).only("content-type")
        try:
            query = body.decode()
            if "json" in (content_type or ""):
                query = _query_of(json.loads(query))
        except (ValueError, RecursionError):
            return Refusal(400, "The request is not understood.")
        return _refuse_operations(
            query,
            403,
            "This server only shows; it executes no mutation.",
        )


def _refuse_get(scope: Scope) -> Refusal | None:
    """GET is for queries, and for nothing that is only named: a document that is kept elsewhere could be a mutation."""
    parameters = _parameters(scope)
    for query in parameters.get("query", []):
        refusal = _refuse_operations(
            query,
            405,
            "A mutation is executed by POST only.",
        )
        if refusal is not None:
            return refusal
    if parameters and "query" not in parameters:
        return Refusal(400, "A GraphQL request by GET carries its query.")
    return None


def _parameters(scope: Scope) -> dict[str, list[str]]:
    """The parameters in the address."""
    text = scope.get("query_string", b"").decode("latin-1")
    return parse_qs(text, keep_blank_values=True)


def _refuse_operations(query: str, status: int, why: str) -> Refusal | None:
    operations = operations_of(query)
    if operations is None:
        return Refusal(400, "The GraphQL document is not understood.")
    if operations <= {"query"}:
        return None
    return Refusal(status, why)


def _reads(message: Message) -> bool:
    """Whether a message of the protocol graphql-ws starts nothing but queries and subscriptions."""
    text = message.get("text") or message.get("bytes") or ""
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            return False
        payload = content.get("payload")
        if not isinstance(payload, dict) or "query" not in payload:
            return True
        operations = operations_of(payload["query"])
    except (ValueError, RecursionError):
        return False
    return operations is not None and operations <= {"query", "subscription"}


def _query_of(content: object) -> str:
    """The document of a JSON body.

    Raises:
        ValueError: a batch, or a document that is only named; Dagster executes neither.
    """
    query = content.get("query") if isinstance(content, dict) else None
    if not isinstance(query, str):
        raise ValueError("no query")
    return query


def _is_graphql(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.rstrip("/").endswith("/graphql")


def _is_visit(scope: Scope, headers: _Headers) -> bool:
    """Whether a person followed a link to one of the pages."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    mode = headers.only("sec-fetch-mode")
    destination = headers.only("sec-fetch-dest")
    if mode != "navigate" or destination != "document":
        return False
    first, _, _ = scope["path"].lstrip("/").partition("/")
    return first not in _NO_PAGES


class _Headers:
    def __init__(self, scope: Scope) -> None:
        self._values: dict[bytes, list[str]] = defaultdict(list)
        for name, value in scope["headers"]:
            self._values[name.lower()].append(value.decode("latin-1"))

    def all(self, name: str) -> list[str]:
        return self._values.get(name.encode(), [])

    def only(self, name: str) -> str | None:
        """The header's value; None where it is missing or there twice."""
        values = self.all(name)
        return values[0].strip() if len(values) == 1 else None


async def _read_body(receive: Receive) -> tuple[bytes, Refusal | None]:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body), Refusal(400, "The request ended early.")
        body += message.get("body", b"")
        if len(body) > MAX_QUERY_BYTES:
            return b"", Refusal(413, f"A GraphQL request has at most {MAX_QUERY_BYTES} bytes.")
        if not message.get("more_body"):
            return bytes(body), None


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {
                "type": "http.request",
                "body": waiting.pop(),
                "more_body": False,
            }
        return await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.get("headers", [])
            message = {**message, "headers": [*headers, *_missing_headers(headers)]}
        await send(message)

    return send_more


def _missing_headers(headers: list[Header]) -> list[Header]:
    """Ours that an answer has not; of policies for content, the browser obeys Dagster's and ours."""
    known = {name.lower() for name, _ in headers}
    known.discard(_CONTENT_POLICY)
    return [(name, value) for name, value in _HEADERS if name not in known]


async def _answer(refusal: Refusal, send: Send) -> None:
    """In the shape of a GraphQL answer, so that the UI shows the sentence."""
    content = {"errors": [{"message": refusal.why}]}
    body = json.dumps(content).encode()
    length = str(len(body))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", length.encode()),
        (b"cache-control", b"no-store"),
        *_HEADERS,
    ]
    if refusal.status == 405:
        headers.append((b"allow", b"POST"))
    start = {
        "type": "http.response.start",
        "status": refusal.status,
        "headers": headers,
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _close(send: Send, reason: str) -> None:
    closing = {
        "type": "websocket.close",
        "code": POLICY_VIOLATION,
        "reason": reason,
    }
    await send(closing)


def _log(scope: Scope, refusal: Refusal) -> None:
    logger.warning(
        "Refused %s %s: %s",
        scope.get("method", "websocket"),
        printable(scope["path"], 100),
        printable(refusal.why, 300),
    )
