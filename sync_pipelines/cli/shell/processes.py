"""Child processes, each in a new process group, so that all of it can be stopped and nothing stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

import psutil

from sync_pipelines.cli.shell.output import say
from sync_pipelines.errors import RetriableError, SettingsError, SyncError
from sync_pipelines.files.private import make_private_folder, private_opener
from sync_pipelines.secrets import printable

GRACE_SECONDS = 12.0
_POLL_SECONDS = 0.05
_DYING_SECONDS = 5.0
_TAIL_BYTES = 64 * 1024
_LINE_CHARACTERS = 500
LOG_BYTES = 20 * 1024 * 1024
LOGS_KEPT = 3
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Child:
    """One process with its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        make_private_folder(log.parent)
        has_lines = log.exists() and log.stat().st_size > 0
        if has_lines:
            rotate(log)
        # To append is what lets the file be emptied under the process that writes it.
        with open(log, "ab", opener=private_opener) as output:
            self.process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._read_to = 0

    @property
    def running(self) -> bool:
        """True until the process ends."""
        return self.process.poll() is None

    def wait(self) -> int:
        """The exit code, once it has ended; signals are noticed meanwhile."""
        while self.running:
            time.sleep(_POLL_SECONDS)
        return int(self.process.returncode)

    def new_lines(self) -> list[str]:
        """Whole lines of output since the last call, printable."""
        try:
            with self.log.open("rb") as output:
                output.seek(self._read_to)
                text = output.read()
        except FileNotFoundError:  # the folder was moved or removed, which others notice
            return []
        end = text.rfind(b"\n") + 1
        self._read_to += end
        lines = text[:end].splitlines()
        return [_readable(line) for line in lines]

    def rotate_log(self, limit_bytes: int = LOG_BYTES) -> None:
        """Put the output aside when it has grown beyond the limit; lines that nobody has read yet were read before."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > limit_bytes:
                rotate(self.log, emptied=True)
                self._read_to = 0

    def last_lines(self, count: int = 30) -> list[str]:
        """The end of the output, printable."""
        try:
            with self.log.open("rb") as output:
                size_bytes = output.seek(0, os.SEEK_END)
                output.seek(max(0, size_bytes - _TAIL_BYTES))
                lines = output.read().splitlines()
        except FileNotFoundError:
            return [f"({self.log} is gone)"]
        return [_readable(line) for line in lines[-count:]]

    def send(self, number: int) -> bool:
        """Signal the whole group; False when nobody of it is left."""
        self.process.poll()
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def has_members(self) -> bool:
        """Somebody of the group still runs; a zombie does not."""
        if not self.send(0):
            return False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                is_member = os.getpgid(process.pid) == self.process.pid
                if is_member and process.status() != psutil.STATUS_ZOMBIE:
                    return True
        return False

    def ask_to_stop(self) -> None:
        """Signal the leader alone, which knows how to stop its own children."""
        if self.running:
            self.process.terminate()


def rotate(log: Path, *, emptied: bool = False) -> None:
    """Put a log aside as `.1`, the one before as `.2`, and so on; the oldest of `LOGS_KEPT` goes.

    Args:
        log: the file.
        emptied: a process writes it: it is copied and emptied, because it cannot be given another one.
    """
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = _numbered(log, number)
        with contextlib.suppress(FileNotFoundError):
            older.replace(_numbered(log, number + 1))
    newest = _numbered(log, 1)
    if emptied:
        shutil.copyfile(log, newest)
        os.truncate(log, 0)
    else:
        log.replace(newest)


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _readable(line: bytes) -> str:
    text = line.decode(errors="backslashreplace")
    plain = _COLOUR.sub("", text)
    return printable(plain, _LINE_CHARACTERS)


class Children:
    """Starts children and stops all of them on leaving, the last one first; a context manager."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = dict(environment)
        self.logs = logs
        self.all: list[Child] = []

    def start(self, name: str, command: Sequence[str], **variables: str) -> Child:
        """Start one more."""
        log = self.logs / f"{name}.log"
        environment = {**self.environment, **variables}
        child = Child(name, command, log, environment)
        self.all.append(child)
        return child

    def check(self) -> None:
        """Are all still there?

        Raises:
            SyncError: one has ended, with its last lines.
        """
        for child in self.all:
            if not child.running:
                raise ended_error(child)

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        last_first = list(reversed(self.all))
        stop_all(last_first)
        self.all.clear()


def ended_error(child: Child) -> SyncError:
    """The error for a child that ended although it should not have; its last lines go to stderr."""
    say(f"The last lines of {child.name}:", "bold", stderr=True)
    for line in child.last_lines():
        say(f"    {line}", stderr=True)
    return SyncError(
        f"{child.name} ended with code {child.wait()}.",
        where={"log": child.log},
        state="Everything that was started with it is stopped.",
        next_command=f"read {child.log}",
    )


def stop_all(children: Sequence[Child], grace_seconds: float = GRACE_SECONDS) -> None:
    """Ask all to stop, wait, then stop by force whoever is left in their groups."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(child.running for child in children):
        time.sleep(_POLL_SECONDS)
    for child in children:
        child.send(signal.SIGTERM)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and any([child.send(0) for child in children]):
        time.sleep(_POLL_SECONDS)
    for child in children:
        child.send(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(2)
    # Whoever dies after we looked who still uses the embedded PostgreSQL would leave it running.
    deadline = time.monotonic() + _DYING_SECONDS
    while time.monotonic() < deadline and any(child.has_members() for child in children):
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM both raise KeyboardInterrupt, once; while cleaning up further ones are ignored."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is None:
                handler = signal.SIG_DFL
            signal.signal(number, handler)


@contextlib.contextmanager
def sole_user(lock: Path, what: str) -> Iterator[None]:
    """Hold a file lock, which goes away with this process.

    Raises:
        RetriableError: another process holds it.
        SettingsError: the lock file cannot be made.
    """
    try:
        make_private_folder(lock.parent)
        number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"{what} cannot be written: {error.strerror or error} ({lock}).",
            state="Nothing was started.",
            next_command="set SYNC_PIPELINES_HOME to a folder that this user may write",
        ) from None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.read(number, 20)
            holder = content.decode(errors="replace").strip()
            raise RetriableError(
                f"{what} is in use by process {holder}.",
                state="Nothing was changed.",
                next_command=f"stop it (Ctrl-C there, or kill {holder}) and try again",
            ) from None
        os.ftruncate(number, 0)
        process_id = str(os.getpid())
        os.pwrite(number, process_id.encode(), 0)
        yield
    finally:
        os.close(number)
