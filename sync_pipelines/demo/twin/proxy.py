"""A TCP proxy that spoils the line between a client and a server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple


class TcpProxy:
    """Forwards connections and misbehaves on command; a context manager.

    The settings may be changed while it runs and hold for bytes on their way
    from the server to the client:

    Attributes:
        latency_seconds: wait before passing on each piece.
        cut_after_bytes: break every connection with RST after so many bytes.
        drip_bytes: pass on pieces of at most this size, `drip_interval_seconds` apart.
        drip_interval_seconds: see above.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1", port: int = 0) -> None:
        self.target = (target_host, target_port)
        self.host = "127.0.0.1"
        self.port = port
        self.latency_seconds = 0.0
        self.cut_after_bytes: int | None = None
        self.drip_bytes: int | None = None
        self.drip_interval_seconds = 0.05
        self.connections = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()

    @property
    def url(self) -> str:
        """The base URL for an http client."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> TcpProxy:
        """Listen and forward in the background."""
        self._closing.clear()
        self._listen()
        return self

    def stop(self) -> None:
        """Close the port and every connection."""
        self._closing.set()
        self.refuse()
        self._flowing.set()

    def refuse(self) -> None:
        """Close the port and break every connection: new ones are refused until `heal()`."""
        listener = self._listener
        self._listener = None
        if listener is not None:
            with contextlib.suppress(OSError):
                # close() alone leaves a thread blocked in accept() holding the port open.
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset_all()

    def partition(self) -> None:
        """Let no byte through in either direction; connections stay open and connecting works."""
        self._flowing.clear()

    stall = partition

    def heal(self) -> None:
        """Forward faithfully again; what a partition held back arrives."""
        self.latency_seconds = 0.0
        self.cut_after_bytes = None
        self.drip_bytes = None
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def reset_all(self) -> None:
        """Break every open connection with RST."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.reset()

    def __enter__(self) -> TcpProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self) -> None:
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        _start(self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            _start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(client, server)
        with self._lock:
            self._lines.add(line)
        _start(self._upstream, line)
        self._downstream(line)
        with self._lock:
            self._lines.discard(line)

    def _upstream(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while piece := line.client.recv(65536):
                self._flowing.wait()
                line.server.sendall(piece)
            line.server.shutdown(socket.SHUT_WR)

    def _downstream(self, line: _Line) -> None:
        sent = 0
        try:
            while piece := line.server.recv(self.drip_bytes or 65536):
                self._pause()
                limit = self.cut_after_bytes
                if limit is not None and sent + len(piece) >= limit:
                    line.client.sendall(piece[: limit - sent])
                    # RST throws away what the kernel has not sent yet; let it leave first.
                    self._closing.wait(0.05)
                    line.reset()
                    return
                line.client.sendall(piece)
                sent += len(piece)
            line.close()
        except OSError:
            line.reset()

    def _pause(self) -> None:
        if self.latency_seconds:
            self._closing.wait(self.latency_seconds)
        if self.drip_bytes:
            self._closing.wait(self.drip_interval_seconds)
        self._flowing.wait()


class _Line(NamedTuple):
    """The two ends of one forwarded connection."""

    client: socket.socket
    server: socket.socket

    def reset(self) -> None:
        for end in self:
            _reset(end)

    def close(self) -> None:
        for end in self:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _start(target: Callable[..., None], argument: object) -> None:
    """Call the function in a thread that ends with the process."""
    thread = threading.Thread(target=target, args=(argument,), name="twin-proxy", daemon=True)
    thread.start()


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Linger of zero seconds: close() sends RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # A thread blocked in recv() keeps the closed socket alive, so nothing would be sent; this wakes it.
        end.shutdown(socket.SHUT_RD)
    end.close()
