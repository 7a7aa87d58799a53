"""Dagster's code server under supervision: started again, a bounded number of times, when its definitions do not
answer.

The process is what `up` and the containers start: `python -m sync_pipelines.supervise.code_server --port 4000`. It runs
`dagster code-server start` as its child and pings the inner server behind it. Runs are grandchildren; a new code server
leaves them alone, because they write to the storage themselves.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import psutil

from sync_pipelines.files.private import keep_new_files_private
from sync_pipelines.supervise.ping import Answer, Pulse, ping, target_of

logger = logging.getLogger("sync_pipelines.supervise")

LOCATION = "sync_pipelines"
# Seconds without a heartbeat after which the inner server ends itself. Dagster's 30 s are less than a busy machine may
# need.
HEARTBEAT_VARIABLE = "DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS"
HEARTBEAT_SECONDS = 300


@dataclass(frozen=True)
class Patience:
    """When a code server is given up, and how often.

    Attributes:
        start_seconds: until a new one must have answered once.
        every_seconds: between two pings.
        ping_seconds: until a ping must be answered.
        errors: pings in a row that are answered with an error before it is started again.
        silences: pings in a row without an answer before it is started again.
        restarts: most restarts within `window_seconds`; one more ends the supervision.
        stop_seconds: until one that is given up must have ended itself.
    """

    start_seconds: float = 300
    every_seconds: float = 5
    ping_seconds: float = 10
    errors: int = 3
    silences: int = 8
    restarts: int = 5
    window_seconds: float = 900
    stop_seconds: float = 5


USUAL = Patience()


class _Pulses:
    """The answers to the pings of one code server, and when they are reason enough to start it again."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._started_at = time.monotonic()
        self._answered_once = False
        self._errors = 0
        self._silences = 0

    @property
    def pause_seconds(self) -> float:
        """Time until the next ping; short until the first answer."""
        every_seconds = self._patience.every_seconds
        return every_seconds if self._answered_once else min(1, every_seconds)

    def add(self, answer: Answer) -> str | None:
        """Count an answer; returns why the code server must be started again, None when it need not."""
        match answer.pulse:
            case Pulse.ALIVE:
                self._answered_once = True
                self._errors = 0
                self._silences = 0
            case Pulse.SLOW:
                self._silences += 1
            case Pulse.DEAD:
                self._errors += 1
        patience = self._patience
        if not self._answered_once:
            if time.monotonic() - self._started_at > patience.start_seconds:
                return f"it did not answer within {patience.start_seconds:g} s of its start ({answer.reason})"
            return None
        if self._errors >= patience.errors:
            return f"its definitions answer with an error ({answer.reason})"
        if self._silences >= patience.silences:
            return f"{self._silences} pings in a row were not answered within {patience.ping_seconds:g} s"
        return None


class GivenUpError(Exception):
    """The code server died more often than it may be started again."""


class CodeServer:
    """Keeps one code server alive until `stop` is called.

    Args:
        command: starts the code server.
        ask: pings it.
        patience: bounds.
    """

    def __init__(
        self,
        command: Sequence[str],
        ask: Callable[[], Answer],
        patience: Patience = USUAL,
    ) -> None:
        self._command = list(command)
        self._ask = ask
        self._patience = patience
        self._restarted_at: deque[float] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Supervise until `stop`; returns the exit code of the code server that was stopped.

        Raises:
            GivenUpError: it died too often.
        """
        self._start()
        while not self._stopping:
            reason = self._watch()
            if reason is None:
                break
            self._replace(reason)
        self.stop()  # once more: a signal may have come while a process was started that nobody knew yet
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """Ask the code server to end; `run` returns when it has."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _start(self) -> None:
        environment = {HEARTBEAT_VARIABLE: str(HEARTBEAT_SECONDS), **os.environ}
        self._process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
        )

    def _watch(self) -> str | None:
        """Wait until the code server must be started again and return why; None when it was stopped."""
        assert self._process is not None
        pulses = _Pulses(self._patience)
        while not self._stopping:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(pulses.pause_seconds)
                return None if self._stopping else f"it ended with code {code}"
            reason = pulses.add(self._ask())
            if reason is not None:
                return reason
        return None

    def _replace(self, reason: str) -> None:
        now = time.monotonic()
        while self._restarted_at and now - self._restarted_at[0] > self._patience.window_seconds:
            self._restarted_at.popleft()
        if len(self._restarted_at) >= self._patience.restarts:
            raise GivenUpError(
                f"The code server was started again {self._patience.restarts} times within "
                f"{self._patience.window_seconds / 60:g} min and {reason}. It is not started again."
            )
        self._restarted_at.append(now)
        logger.error(
            "The code server is started again (restart %d of at most %d within %g min): %s. Runs in progress go on.",
            len(self._restarted_at),
            self._patience.restarts,
            self._patience.window_seconds / 60,
            reason,
        )
        self._end()
        if not self._stopping:
            self._start()

    def _end(self) -> None:
        """End the proxy and its servers of definitions, and leave the runs alone."""
        assert self._process is not None
        servers = _definition_servers(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(self._patience.stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for server in servers:
            with suppress(psutil.NoSuchProcess):
                server.kill()


def _definition_servers(pid: int) -> list[psutil.Process]:
    """The inner servers below a proxy; not the runs below them, which are processes of Python's multiprocessing."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.Error):
                if "grpc" in child.cmdline():
                    found.append(child)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Supervise until SIGTERM or SIGINT; exit code 1 when the code server is given up."""
    parser = argparse.ArgumentParser(
        prog="python -m sync_pipelines.supervise.code_server", description=__doc__
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="port to listen on")
    where.add_argument("--socket", help="socket to listen on")
    parser.add_argument(
        "--host",
        default="localhost",
        help="address to listen on (localhost)",
    )
    parser.add_argument(
        "--location-name", default=LOCATION, help=f"name of the code location ({LOCATION})"
    )
    chosen = parser.parse_args(arguments)
    keep_new_files_private()
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO
    )
    patience = USUAL
    target = target_of(port=chosen.port, socket=chosen.socket)
    server = CodeServer(
        code_server_command(chosen), lambda: ping(target, patience.ping_seconds), patience
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        return max(0, server.run())
    except GivenUpError as error:
        logger.critical("%s", error)
        return 1


def code_server_command(chosen: argparse.Namespace) -> list[str]:
    """The command of Dagster's own code server."""
    listening = (
        ["--socket", chosen.socket]
        if chosen.socket
        else ["--host", chosen.host, "--port", str(chosen.port)]
    )
    dagster = [sys.executable, "-m", "dagster", "code-server", "start"]
    definitions = [
        "-m",
        "sync_pipelines.definitions",
        "--location-name",
        chosen.location_name,
    ]
    return [
        *dagster,
        *definitions,
        "--use-python-environment-entry-point",
        *listening,
    ]


if __name__ == "__main__":
    sys.exit(main())
