"""A filter in front of Dagster's web server: it refuses what a page of somebody else makes a browser ask.

Dagster has no login, executes GraphQL mutations by GET and does not look at who asks. An image in a description, a form
of another site or a name that is bound anew to a loopback address could start runs with it. This is a plain ASGI
application and needs nothing of Dagster.
"""

from __future__ import annotations

import json
import logging
import re
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
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_QUERY_BYTES = 10 * 1024 * 1024
POLICY_VIOLATION = 1008
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
# Dagster looks for these within the header, so that anything beside them could be read in another way than here.
_GRAPHQL_TYPES = re.compile(r"application/(json|graphql)(; ?charset=(utf-8|UTF-8))?")
# Endpoints of Dagster that are no page: nobody has a reason to be sent there from another site.
_NO_PAGES = ("graphql", "logs", "download_debug", "notebook", "dagit")
_HEADERS = [
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Beside Dagster's own policy: no picture and no frame of another site, even where text became markup.
    (
        b"content-security-policy",
        b"img-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'",
    ),
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
        if refusal is not None:
            _log(scope, refusal)
            await _answer(refusal, send)
            return
        await self._application(scope, receive, _with_headers(send))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refuse_sender(scope)
        if refusal is not None:
            _log(scope, refusal)
            await receive()  # the request to connect; the server turns the close into 403
            await send(
                {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.why[:100]}
            )
            return

        async def only_reads() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not _reads(message):
                _log(scope, Refusal(403, "a mutation through a websocket"))
                await send(
                    {
                        "type": "websocket.close",
                        "code": POLICY_VIOLATION,
                        "reason": "Only queries and subscriptions.",
                    }
                )
                return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            return message

        await self._application(scope, only_reads, send)

    def _refuse_sender(self, scope: Scope) -> Refusal | None:
        """By the headers that a browser sets and a page cannot: Host, Origin and Sec-Fetch-Site."""
        headers = _Headers(scope)
        host = headers.only("host")
        if host is None or not self._hosts.knows(host):
            return Refusal(
                403,
                f"This server is not called {printable(host or 'by no name', 100)}. If it should be, name it in "
                "SYNC_PIPELINES_UI_HOSTS, or with --allowed-host, and start it again.",
            )
        if headers.all("origin") and not self._hosts.same_origin(headers.only("origin"), host):
            return Refusal(403, "A page of another origin may not ask this server.")
        if (
            headers.all("sec-fetch-site")
            and headers.only("sec-fetch-site") not in _OWN_SITES
            and not _is_visit(scope, headers)
        ):
            return Refusal(403, "Another site may link to this server's pages, but not ask it.")
        return None

    def _refuse_request(self, scope: Scope) -> Refusal | None:
        if self._read_only and scope["method"] not in _SAFE_METHODS and not _is_graphql(scope):
            return Refusal(403, "This server only shows; it takes nothing.")
        if not _is_graphql(scope):
            return None
        if scope["method"] in _SAFE_METHODS:
            return _refuse_get(scope)
        if not _GRAPHQL_TYPES.fullmatch(_Headers(scope).only("content-type") or ""):
            return Refusal(415, "A GraphQL request by POST has the content type application/json.")
        return (
            Refusal(400, "A GraphQL request by POST carries its query in its body.")
            if "query" in _asked(scope)
            else None
        )

    def _has_query_in_body(self, scope: Scope) -> bool:
        return self._read_only and _is_graphql(scope) and scope["method"] == "POST"

    def _refuse_body(self, scope: Scope, body: bytes) -> Refusal | None:
        try:
            text = body.decode()
            is_json = "json" in (_Headers(scope).only("content-type") or "")
            query = _query_of(json.loads(text)) if is_json else text
        except (ValueError, RecursionError):
            return Refusal(400, "The request is not understood.")
        return _refuse_operations(query, 403, "This server only shows; it executes no mutation.")


def _refuse_get(scope: Scope) -> Refusal | None:
    """GET is for queries, and for nothing that is only named: a document that is kept elsewhere could be a mutation."""
    asked = _asked(scope)
    for query in asked.get("query", []):
        refusal = _refuse_operations(query, 405, "A mutation is executed by POST only.")
        if refusal is not None:
            return refusal
    if asked and "query" not in asked:
        return Refusal(400, "A GraphQL request by GET carries its query.")
    return None


def _asked(scope: Scope) -> dict[str, list[str]]:
    """The parameters in the address."""
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _refuse_operations(query: str, status: int, why: str) -> Refusal | None:
    operations = operations_of(query)
    if operations is None:
        return Refusal(400, "The GraphQL document is not understood.")
    return None if operations <= {"query"} else Refusal(status, why)


def _reads(message: Message) -> bool:
    """Whether a message of the protocol graphql-ws starts nothing but queries and subscriptions."""
    try:
        content = json.loads(message.get("text") or message.get("bytes") or "")
        if (
            not isinstance(content, dict)
            or not isinstance(content.get("payload"), dict)
            or "query" not in content["payload"]
        ):
            return isinstance(content, dict)
        operations = operations_of(content["payload"]["query"])
    except (ValueError, RecursionError):
        return False
    return operations is not None and operations <= {"query", "subscription"}


def _query_of(content: object) -> str:
    """The document of a JSON body.

    Raises:
        ValueError: a batch, or a document that is only named; Dagster executes neither.
    """
    if not isinstance(content, dict) or not isinstance(content.get("query"), str):
        raise ValueError("no query")
    query: str = content["query"]
    return query


def _is_graphql(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.rstrip("/").endswith("/graphql")


def _is_visit(scope: Scope, headers: _Headers) -> bool:
    """Whether a person followed a link to one of the pages."""
    visits = scope["type"] == "http" and scope["method"] == "GET"
    visits = (
        visits
        and headers.only("sec-fetch-mode") == "navigate"
        and headers.only("sec-fetch-dest") == "document"
    )
    return visits and scope["path"].lstrip("/").partition("/")[0] not in _NO_PAGES


class _Headers:
    def __init__(self, scope: Scope) -> None:
        self._pairs = [(name.lower(), value) for name, value in scope["headers"]]

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self._pairs if key == name.encode()]

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
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            added = [
                pair
                for pair in _HEADERS
                if pair[0] not in known or pair[0] == b"content-security-policy"
            ]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_more


async def _answer(refusal: Refusal, send: Send) -> None:
    """In the shape of a GraphQL answer, so that the UI shows the sentence."""
    body = json.dumps({"errors": [{"message": refusal.why}]}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if refusal.status == 405:
        headers.append((b"allow", b"POST"))
    await send(
        {"type": "http.response.start", "status": refusal.status, "headers": [*headers, *_HEADERS]}
    )
    await send({"type": "http.response.body", "body": body})


def _log(scope: Scope, refusal: Refusal) -> None:
    logger.warning(
        "Refused %s %s: %s",
        scope.get("method", "websocket"),
        printable(scope["path"], 100),
        printable(refusal.why, 300),
    )
