"""The conversation with one caller."""

from __future__ import annotations

import hmac
import socket
import struct
import time
import typing as t
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, unquote, urlsplit

from sync_pipelines.demo.twin.answers import (
    Answer,
    broken_answer,
    compressed,
    dress,
    error_answer,
    is_replaced,
    json_answer,
)
from sync_pipelines.demo.twin.control import control_answer
from sync_pipelines.demo.twin.faults import Fault, RequestInfo

if t.TYPE_CHECKING:
    from sync_pipelines.demo.twin.server import TwinHttpServer

DEFAULT_PAGE_SIZE = 1000
_APIS = "/api/v1/apis"
_DATA = "/api/v1/data/"
_CONTROL = "/_twin/"
_REST = ("/oauth/token", "/openapi.json", "/graphql")


class TwinHandler(BaseHTTPRequestHandler):
    """Answers one connection: the contract, the control endpoints, and the faults."""

    protocol_version = "HTTP/1.1"
    server_version = "twin"
    sys_version = ""
    disable_nagle_algorithm = True
    server: TwinHttpServer

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing: the request log of the fault plan tells more."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date header by the twin's own clock."""
        return formatdate(self.server.twin.clock() if timestamp is None else timestamp, usegmt=True)

    def do_GET(self) -> None:
        """Answer a request of any method."""
        twin = self.server.twin
        url = urlsplit(self.path)
        body = self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path.startswith(_CONTROL):
            self._answer(self._control(url.path[len(_CONTROL) :], query, body))
            return
        request = self._request_info(url.path, query)
        fault = twin.faults.meet(request)
        if twin.latency_seconds:
            time.sleep(twin.latency_seconds)
        if fault is None:
            self._answer(self._packed(self._api(request)), request)
        else:
            self._misbehave(fault, request)

    do_POST = do_DELETE = do_PUT = do_GET

    def _request_info(self, path: str, query: dict[str, str]) -> RequestInfo:
        request = RequestInfo(
            time.time(), self.command, path, query, dict(self.headers.items()), "other"
        )
        endpoint, _ = self.server.twin.rest.find(self.command, path)
        if endpoint is not None or path in _REST:
            request.kind = "rest"
        elif path == _APIS:
            request.kind = "apis"
        elif path.startswith(_DATA):
            request.kind = "data"
            request.slug = unquote(path[len(_DATA) :])
            request.page = _number(query.get("page"), 1)
            request.page_size = _number(query.get("page_size"), DEFAULT_PAGE_SIZE)
            request.rowversion_gt = query.get("rowversion_gt") or None
        return request

    def _is_authorized(self) -> bool:
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return hmac.compare_digest(sent, f"Bearer {self.server.twin.token}".encode())

    def _control(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        if path == "health":
            return json_answer({"status": "ok"})
        if not self._is_authorized():
            return error_answer(401, "missing or wrong bearer token")
        return control_answer(self.server.twin, self.command, unquote(path), query, body)

    def _api(self, request: RequestInfo) -> Answer:
        store = self.server.twin.store
        if request.kind == "rest":
            answer = self.server.twin.rest.answer(
                self.server.twin.token,
                request.method,
                request.path,
                request.query,
                request.headers,
                self._body,
            )
            return answer or error_answer(405, "no such endpoint")
        if not self._is_authorized():
            return error_answer(401, "missing or wrong bearer token")
        if request.kind == "other" or request.method != "GET":
            return error_answer(404 if request.kind == "other" else 405, "no such endpoint")
        if request.kind == "apis":
            return json_answer(store.describe())
        table = store.get(request.slug or "")
        if table is None:
            return error_answer(404, f"unknown api {request.slug!r}")
        if request.page is None or request.page_size is None:
            return error_answer(400, "page and page_size must be whole numbers from 1")
        try:
            return Answer(body=table.page(request.rowversion_gt, request.page, request.page_size))
        except ValueError:
            return error_answer(
                400, "rowversion_gt cannot be compared with this table's row versions"
            )

    def _packed(self, answer: Answer) -> Answer:
        wanted = self.server.twin.gzip and "gzip" in self.headers.get("Accept-Encoding", "")
        return compressed(answer) if wanted else answer

    def _misbehave(self, fault: Fault, request: RequestInfo) -> None:
        time.sleep(fault.delay_seconds)
        if fault.drop_connection:
            self._break_connection()
        elif is_replaced(fault):
            replaced = broken_answer(fault, self.headers.get("Authorization", ""))
            self._answer(dress(replaced, fault), request, fault)
        else:
            self._answer(dress(self._packed(self._api(request)), fault), request, fault)

    def _answer(
        self, answer: Answer, request: RequestInfo | None = None, fault: Fault | None = None
    ) -> None:
        if request is not None:
            request.status = answer.status
            request.bytes = answer.content_length
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(answer.content_length),
        }
        for name, value in (headers | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if fault is not None and (fault.cut_at_byte is not None or fault.drip_bytes):
            self._send_badly(answer, fault)
            return
        for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body:
            self.wfile.write(piece)

    def _send_badly(self, answer: Answer, fault: Fault) -> None:
        body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        part = body if fault.cut_at_byte is None else body[: fault.cut_at_byte]
        step = fault.drip_bytes or max(len(part), 1)
        for at in range(0, len(part), step):
            self.wfile.write(part[at : at + step])
            if fault.drip_bytes:
                time.sleep(fault.drip_interval_seconds)
        if fault.cut_at_byte is not None:
            # RST throws away what the kernel has not sent yet; let the bytes before the cut arrive.
            time.sleep(0.05)
            self._break_connection(reset=fault.cut_with_reset)

    def _break_connection(self, *, reset: bool = True) -> None:
        self.close_connection = True
        if reset:
            # Linger of zero seconds: close() sends RST instead of FIN. Nothing may shut down politely before.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _number(text: str | None, default: int) -> int | None:
    if text is None:
        return default
    return (
        int(text)
        if text.isascii() and text.isdigit() and int(text[:12]) > 0 and len(text) <= 12
        else None
    )
