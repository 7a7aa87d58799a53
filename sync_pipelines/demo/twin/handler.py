"""The conversation with one caller."""

from __future__ import annotations

import hmac
import socket
import struct
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
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

if TYPE_CHECKING:
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

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the request log of the fault plan has more."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the Date header by the twin's own clock."""
        if timestamp is None:
            timestamp = self.server.twin.clock()
        return formatdate(timestamp, usegmt=True)

    def do_GET(self) -> None:
        """Answer a request of any method."""
        twin = self.server.twin
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length") or 0
        self._body = self.rfile.read(int(length))
        pairs = parse_qsl(url.query, keep_blank_values=True)
        query = dict(pairs)
        if url.path.startswith(_CONTROL):
            action = url.path.removeprefix(_CONTROL)
            answer = self._control(action, query)
            self._answer(answer)
            return
        request = self._request_info(url.path, query)
        fault = twin.faults.meet(request)
        if twin.latency_seconds:
            time.sleep(twin.latency_seconds)
        if fault is None:
            answer = self._honest(request)
            self._answer(answer, request)
        else:
            self._misbehave(fault, request)

    do_POST = do_DELETE = do_PUT = do_GET

    def _request_info(self, path: str, query: dict[str, str]) -> RequestInfo:
        headers = dict(self.headers.items())
        request = RequestInfo(time.time(), self.command, path, query, headers, "other")
        endpoint, _ = self.server.twin.rest.find(self.command, path)
        if endpoint is not None or path in _REST:
            request.kind = "rest"
        elif path == _APIS:
            request.kind = "apis"
        elif path.startswith(_DATA):
            slug = path.removeprefix(_DATA)
            request.kind = "data"
            request.slug = unquote(slug)
            request.page = _number(query.get("page"), 1)
            request.page_size = _number(query.get("page_size"), DEFAULT_PAGE_SIZE)
            request.rowversion_gt = query.get("rowversion_gt") or None
        return request

    def _is_authorized(self) -> bool:
        header = self.headers.get("Authorization", "")
        sent = header.encode("latin-1", "replace")
        wanted = f"Bearer {self.server.twin.token}"
        return hmac.compare_digest(sent, wanted.encode())

    def _control(self, path: str, query: dict[str, str]) -> Answer:
        if path == "health":
            return json_answer({"status": "ok"})
        if not self._is_authorized():
            return error_answer(401, "missing or wrong bearer token")
        twin = self.server.twin
        return control_answer(twin, self.command, unquote(path), query, self._body)

    def _api(self, request: RequestInfo) -> Answer:
        if request.kind == "rest":
            return self._declared(request)
        if not self._is_authorized():
            return error_answer(401, "missing or wrong bearer token")
        if request.kind == "other":
            return error_answer(404, "no such endpoint")
        if request.method != "GET":
            return error_answer(405, "no such endpoint")
        if request.kind == "apis":
            apis = self.server.twin.store.describe()
            return json_answer(apis)
        return self._page(request)

    def _declared(self, request: RequestInfo) -> Answer:
        twin = self.server.twin
        answer = twin.rest.answer(
            twin.token, request.method, request.path, request.query, request.headers, self._body
        )
        return answer or error_answer(405, "no such endpoint")

    def _page(self, request: RequestInfo) -> Answer:
        table = self.server.twin.store.get(request.slug or "")
        if table is None:
            return error_answer(404, f"unknown api {request.slug!r}")
        if request.page is None or request.page_size is None:
            return error_answer(400, "page and page_size must be whole numbers from 1")
        try:
            body = table.page(request.rowversion_gt, request.page, request.page_size)
        except ValueError:
            detail = "rowversion_gt cannot be compared with this table's row versions"
            return error_answer(400, detail)
        return Answer(body=body)

    def _honest(self, request: RequestInfo) -> Answer:
        """The right answer, in gzip where twin and caller want it so."""
        answer = self._api(request)
        accepted = self.headers.get("Accept-Encoding", "")
        is_wanted = self.server.twin.gzip and "gzip" in accepted
        return compressed(answer) if is_wanted else answer

    def _misbehave(self, fault: Fault, request: RequestInfo) -> None:
        time.sleep(fault.delay_seconds)
        if fault.drop_connection:
            self._break_connection()
            return
        if is_replaced(fault):
            authorization = self.headers.get("Authorization", "")
            answer = broken_answer(fault, authorization)
        else:
            answer = self._honest(request)
        self._answer(dress(answer, fault), request, fault)

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
        headers |= answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault is not None and (fault.cut_at_byte is not None or fault.drip_bytes):
            self._send_badly(answer, fault)
            return
        for piece in answer.pieces:
            self.wfile.write(piece)

    def _send_badly(self, answer: Answer, fault: Fault) -> None:
        body = b"".join(answer.pieces)
        # A cut at None is the whole body.
        part = body[: fault.cut_at_byte]
        step = fault.drip_bytes or max(len(part), 1)
        for start in range(0, len(part), step):
            piece = part[start : start + step]
            self.wfile.write(piece)
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
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


def _number(text: str | None, default: int) -> int | None:
    """A whole number from 1, the default without a text, or None for what is no such number."""
    if text is None:
        return default
    is_short = len(text) <= 12
    if not is_short or not text.isascii() or not text.isdigit():
        return None
    return int(text) or None
