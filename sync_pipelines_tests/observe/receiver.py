"""A receiver of webhooks over real HTTP: it verifies every signature and answers as a test wants."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

KEY = "whsec_" + base64.b64encode(b"canary-key-that-signs-webhooks!!").decode()


class Receiver(ThreadingHTTPServer):
    """Attributes:
    answers: status codes for the next requests; then 204. A number below 0 never answers until `release` is set.
    requests: every request as {id, ok, body, headers, path, status}.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.answer_headers: dict[str, str] = {}
        self.answer_body = b""
        self.requests: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.release = threading.Event()
        self.arrived = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Requests that were answered with 2xx."""
        return [request for request in self.requests if 200 <= request["status"] < 300]

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """Type, kind and subject of what was taken, in order."""
        return [
            (body["type"], body["data"]["kind"], body["data"]["subject"])
            for body in (request["body"] for request in self.taken)
        ]

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Wait until so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, seconds), (
                self.requests
            )


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            Webhook(KEY).verify(body, dict(self.headers))
            ok = True
        except WebhookVerificationError:
            ok = False
        with self.server.arrived:
            status = self.server.answers.pop(0) if self.server.answers else 204
            self.server.requests.append(
                {
                    "id": self.headers["webhook-id"],
                    "ok": ok,
                    "body": json.loads(body),
                    "headers": dict(self.headers),
                    "path": self.path,
                    "status": status,
                }
            )
            self.server.arrived.notify_all()
        if status < 0:
            self.server.release.wait(60)
            return
        self.send_response(status)
        for name, value in self.server.answer_headers.items():
            self.send_header(name, value)
        self.send_header(
            "Content-Length", str(len(self.server.answer_body) if status != 204 else 0)
        )
        self.end_headers()
        if status != 204:
            self.wfile.write(self.server.answer_body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that runs."""
    server = Receiver()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
