"""What one run may take: rows, bytes, seconds, the memory of its process, and what it leaves free on the disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from sync_pipelines.errors import RunLimitError
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.settings import Settings

MEMORY_SHARE = 0.8
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class RunBounds:
    """The limits of one run; each is checked before every page, and while the destination keeps the run waiting.

    Attributes:
        max_rows: records fetched, those read twice included.
        max_bytes: decoded bytes of all answers.
        max_seconds: since the run began.
        max_memory_bytes: resident memory of the process, all of its runs together.
        min_free_disk_bytes: what has to stay free where `folder` is, in which the run keeps what it has read.
    """

    max_rows: int
    max_bytes: int
    max_seconds: float
    max_memory_bytes: int
    min_free_disk_bytes: int
    folder: Path
    connector: str

    @classmethod
    def of(cls, settings: Settings, connector: Connector) -> RunBounds:
        """The process's limits, those of the connector first.

        Raises:
            SettingsError: a limit of the connector is out of range.
        """
        own = RunLimits.from_settings(connector.settings)
        return cls(
            max_rows=own.max_run_rows or settings.runs.max_run_rows,
            max_bytes=own.max_run_bytes or settings.runs.max_run_bytes,
            max_seconds=own.max_run_seconds or settings.runs.max_run_seconds,
            max_memory_bytes=settings.runs.max_process_memory_bytes
            or int(_machine_memory_bytes() * MEMORY_SHARE),
            min_free_disk_bytes=settings.runs.min_free_disk_bytes,
            folder=settings.home,
            connector=connector.name,
        )

    def check(self, *, rows: int, read_bytes: int, started_monotonic: float) -> None:
        """Make sure that the run may go on.

        Raises:
            RunLimitError: it may not; says which limit, and how to raise it.
        """
        seconds = time.monotonic() - started_monotonic
        if rows > self.max_rows:
            raise self._beyond(
                f"The run has read {rows} records, more than the {self.max_rows} of a run.",
                "max_run_rows",
            )
        if read_bytes > self.max_bytes:
            raise self._beyond(
                f"The run has read {read_bytes} bytes, more than the {self.max_bytes} of a run.",
                "max_run_bytes",
            )
        if seconds > self.max_seconds:
            raise self._beyond(
                f"The run takes longer than the {self.max_seconds:g} s of a run.", "max_run_seconds"
            )
        self._check_machine()

    def _check_machine(self) -> None:
        used = psutil.Process().memory_info().rss
        if used > self.max_memory_bytes:
            raise RunLimitError(
                f"The process takes {used} bytes of memory, more than the {self.max_memory_bytes} that it may.",
                next_command="lower BATCH_ROWS, BATCH_BYTES, MAX_PAGE_SIZE or SYNC_WORKER_THREADS,"
                " or raise MAX_PROCESS_MEMORY_BYTES",
            )
        there = next(
            folder
            for folder in (self.folder.absolute(), *self.folder.absolute().parents)
            if folder.exists()
        )
        free = shutil.disk_usage(there).free
        if free < self.min_free_disk_bytes:
            raise RunLimitError(
                f"The disk of SYNC_PIPELINES_HOME has {free} bytes left, and {self.min_free_disk_bytes} must"
                " stay free.",
                next_command="free some space, move SYNC_PIPELINES_HOME, or lower MIN_FREE_DISK_BYTES",
            )

    def _beyond(self, what: str, name: str) -> RunLimitError:
        command = (
            f"sync-pipelines connector set {self.connector} --set {name}=…, or raise {name.upper()}"
        )
        return RunLimitError(what, next_command=command)


@cache
def _machine_memory_bytes() -> int:
    """What the machine, or the container that the process is in, has."""
    total = psutil.virtual_memory().total
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total  # no container of this kind
    return min(total, int(limit)) if limit.isdecimal() else total
