"""Answers without end, and small ones that unpack to very much, where a request is not for a page."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sync_pipelines.errors import GuardError
from sync_pipelines.model.authentication import OAuth2Auth
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.sources.apismith.protocol import fetch_apis
from sync_pipelines.sources.http.auth import MAX_TOKEN_ANSWER_BYTES, ClientCredentials
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.rest.openapi import resolve_openapi

PIECE = b" " * 65_536
BOMB = gzip.compress(bytes(30_000_000))
LIMITS = HttpLimits(max_document_bytes=1_000_000, timeout_seconds=5, tries=3)


class Hostile(BaseHTTPRequestHandler):
    """Answers `/endless…` without end and everything else with a bomb; counts what it could send."""

    sent_bytes = 0
    requests = 0

    def do_GET(self) -> None:
        """Answer."""
        type(self).requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        if not self.path.startswith("/endless"):
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(BOMB)))
        self.end_headers()
        with suppress(OSError):
            while self.path.startswith("/endless"):
                type(self).sent_bytes += self.wfile.write(PIECE)
            self.wfile.write(BOMB)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Hostile.sent_bytes = Hostile.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask_for_token(base: str) -> object:
    auth = OAuth2Auth(
        type="oauth2", token_url=f"{base}/token", client_id="env:A", client_secret="env:B"
    )
    return ClientCredentials(auth, LIMITS, lambda _: "a-client").headers()


def ask_for_apis(base: str) -> object:
    return fetch_apis(GuardedSession(base, lambda: None, LIMITS))


def ask_for_openapi(base: str) -> object:
    declaration = Declaration.model_validate(
        {"name": "shop", "kind": "openapi", "base_url": base, "openapi": {"path": "/openapi.json"}}
    )
    return resolve_openapi(declaration, GuardedSession(base, lambda: None, LIMITS))


ASKING = {
    ask_for_token: MAX_TOKEN_ANSWER_BYTES,
    ask_for_apis: LIMITS.max_document_bytes,
    ask_for_openapi: LIMITS.max_document_bytes,
}


@pytest.mark.parametrize("kind", ["endless", "bomb"])
@pytest.mark.parametrize("ask", ASKING)
def test_what_is_no_page_is_read_to_its_limit_and_not_asked_for_again(
    url: str, ask: Callable[[str], object], kind: str
) -> None:
    with pytest.raises(GuardError, match=f"larger than {ASKING[ask]} bytes"):
        ask(f"{url}/{kind}")
    assert Hostile.requests == 1
    # The rest is in the buffers of the two sockets.
    assert Hostile.sent_bytes < ASKING[ask] + 16_000_000
