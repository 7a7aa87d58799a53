"""The twin on the wire: S2's contract over real HTTP, broken where the fault plan has a fault."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

from sync_pipelines.demo.twin.faults import FaultPlan, RequestInfo
from sync_pipelines.demo.twin.handler import TwinHandler
from sync_pipelines.demo.twin.rest import RestTwin
from sync_pipelines.demo.twin.store import TwinStore


class TwinServer:
    """Serves a store; a context manager. After `stop()` it can `start()` again on the same port.

    Args:
        store: the tables.
        token: the bearer token callers must send.
        host: address to listen on.
        port: 0 takes any free port.
        faults: the misbehaviour; an own empty plan if None.
        latency_seconds: wait before every API answer.
        gzip: compress answers for callers that accept it.
        clock: seconds since the epoch for the Date header, to play a skewed host.
        ssl_context: serve https with it.
    """

    def __init__(
        self,
        store: TwinStore,
        token: str = "twin-token",
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultPlan | None = None,
        latency_seconds: float = 0.0,
        gzip: bool = False,
        *,
        clock: Callable[[], float] = time.time,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.store = store
        self.token = token
        self.host = host
        self.port = port
        self.faults = faults if faults is not None else FaultPlan()
        self.latency_seconds = latency_seconds
        self.gzip = gzip
        self.clock = clock
        self.ssl_context = ssl_context
        self.rest = RestTwin()
        self._http: TwinHttpServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        scheme = "https" if self.ssl_context else "http"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def requests_log(self) -> list[RequestInfo]:
        """The API requests so far."""
        return self.faults.requests_log

    def start(self) -> TwinServer:
        """Listen and answer in the background."""
        if self._http is not None:
            raise RuntimeError("the twin is already running")
        self._http = TwinHttpServer((self.host, self.port), self)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="twin", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse new connections and break the open ones."""
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._http.server_close()
        self._http.break_connections()
        self._thread.join()
        self._http = None
        self._thread = None

    def __enter__(self) -> TwinServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class TwinHttpServer(ThreadingHTTPServer):
    """Knows its open connections, so that `stop()` is felt by keep-alive clients."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], twin: TwinServer) -> None:
        self.twin = twin
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, TwinHandler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Talk to one caller until either side hangs up."""
        if self.twin.ssl_context is not None:
            # Here and not in accept(): a slow handshake must not hold up other callers.
            try:
                request = self.twin.ssl_context.wrap_socket(request, server_side=True)
            except OSError:
                request.close()
                return
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)

    def break_connections(self) -> None:
        """Hang up on every caller."""
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: callers that hang up are part of the game."""
