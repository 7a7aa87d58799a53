"""What a piece of work costs: wall time, and CPU seconds of the client, of the database and of the source."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

CHANGES = {"new": 200, "changed": 490, "same": 310}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Place:
    """Where a task works: the database, the source, and how many records it has.

    Attributes:
        postmaster, source_pid: whose CPU seconds are counted.
        options: of single tasks.
    """

    database_url: str
    postmaster: int
    source_url: str
    source_pid: int
    rows: int
    options: dict[str, Any]

    def control(self, action: str, **query: float) -> Any:
        """Ask the source for a change, or for its counts."""
        with urllib.request.urlopen(
            f"{self.source_url}/control/{action}?{urlencode(query)}"
        ) as answer:
            return json.load(answer)


@contextmanager
def measured(place: Place) -> Iterator[dict[str, Any]]:
    """Measure the body; the yielded dict holds the figures afterwards, and the body may add its own."""
    found: dict[str, Any] = {}
    gc.collect()
    requests = place.control("stats")["requests"]
    before = (
        time.monotonic(),
        own_cpu_seconds(),
        database_cpu_seconds(place),
        tree_cpu_seconds(place.source_pid),
    )
    yield found
    after = (
        time.monotonic(),
        own_cpu_seconds(),
        database_cpu_seconds(place),
        tree_cpu_seconds(place.source_pid),
    )
    names = ("wall_seconds", "client_cpu", "database_cpu", "source_cpu")
    found |= {name: end - start for name, start, end in zip(names, before, after, strict=True)}
    found["requests"] = place.control("stats")["requests"] - requests
    found["peak_mb"] = peak_mb()


def database_cpu_seconds(place: Place) -> float:
    """CPU seconds of PostgreSQL, and of Trino where the task has one."""
    trino = place.options.get("trino_pid")
    return tree_cpu_seconds(place.postmaster) + (tree_cpu_seconds(trino) if trino else 0.0)


def own_cpu_seconds() -> float:
    """User and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tree_cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, of its living children, and of those that ended and were waited for."""
    own = _stat(Path(f"/proc/{pid}"))
    children = (
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    )
    living = [_stat(Path(f"/proc/{child}")) for child in children]
    return (sum(own) + sum(user + system for user, system, *_ in living)) / _TICKS


def _stat(process: Path) -> tuple[int, int, int, int]:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, 0, 0
    utime, stime, cutime, cstime = map(int, fields[11:15])
    return utime, stime, cutime, cstime


def peak_mb() -> float:
    """Most resident memory of this process so far.

    Not `ru_maxrss`: that one survives exec(), so a child would begin with its parent's peak.
    """
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return (
        int(match[1]) / 1024 if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
