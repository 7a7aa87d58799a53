"""Start and stop a Trino; it never outlives the process that it was started for."""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trino

from sync_pipelines.demo.trino_server.artifacts import find_java, install_trino
from sync_pipelines.demo.trino_server.layout import ServerOptions, write_layout
from sync_pipelines.errors import DatabaseUnavailableError

START_SECONDS = 180
STOP_SECONDS = 20
USER = "sync_pipelines"


@dataclass(frozen=True)
class RunningTrino:
    """Where a server answers and where its files are.

    Attributes:
        port: on 127.0.0.1.
        root: of its files; `lake` below it is what its catalogs call `local:///`.
    """

    port: int
    root: Path

    @property
    def lake(self) -> Path:
        """The folder of tables and staging."""
        return self.root / "lake"


class TrinoProcess:
    """A server with its own folder; the same folder may be started again with its tables.

    Raises:
        TrinoNotInstallableError: no Trino or no Java can be had here.
    """

    def __init__(
        self, root: Path, options: ServerOptions | None = None, *, port: int | None = None
    ) -> None:
        self.options = options or ServerOptions()
        self._home, self._java = install_trino(), find_java()
        self.running = RunningTrino(port or free_port(), root)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.running.root / "trino.log"

    @property
    def pid(self) -> int:
        """Process id of the Java machine."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """The Java machine lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until a query succeeds.

        Raises:
            DatabaseUnavailableError: it ended or did not answer in time.
        """
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.running.port):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace")[-1500:]
                raise DatabaseUnavailableError(
                    f"Trino did not start; the end of {self.log}:\n{tail}", state=""
                )
            time.sleep(0.2)

    def launch(self) -> None:
        """Start without waiting."""
        root = self.running.root
        root.mkdir(parents=True, exist_ok=True)
        etc = write_layout(root, self._home, self.running.port, self.options)
        command = [
            str(self._java),
            *(etc / "jvm.config").read_text().split(),
            f"-Dconfig={etc / 'config.properties'}",
            f"-Dlog.levels-file={etc / 'log.properties'}",
            *(f"-D{line}" for line in (etc / "node.properties").read_text().split()),
            "-cp",
            f"{self._home / 'lib'}/*",
            "io.trino.server.TrinoServer",
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=root / "data",
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,
            )

    def stop(self, *, kill: bool = False) -> None:
        """End the server; `kill` as a power cut would."""
        if self._process is None:
            return
        (self._process.kill if kill else self._process.terminate)()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @contextmanager
    def serving(self, *, wipe: bool = True) -> Iterator[RunningTrino]:
        """Run for the length of the block, and remove the folder afterwards if `wipe`."""
        try:
            self.start()
            yield self.running
        finally:
            self.stop()
            if wipe:
                shutil.rmtree(self.running.root, ignore_errors=True)


def answers(port: int) -> bool:
    """True when a query over an Iceberg table's schema succeeds; the first heartbeats may find no node."""
    try:
        with trino.dbapi.Connection(
            host="127.0.0.1", port=port, user=USER, max_attempts=1, request_timeout=5
        ) as connection:
            return bool(connection.cursor().execute("SHOW SCHEMAS FROM iceberg").fetchall())
    except Exception:  # noqa: BLE001 - whatever it is, it does not answer yet
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
