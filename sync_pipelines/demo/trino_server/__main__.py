"""Run a Trino as a process: `python -m sync_pipelines.demo.trino_server`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

from sync_pipelines.demo.trino_server.layout import ServerOptions
from sync_pipelines.demo.trino_server.process import TrinoProcess
from sync_pipelines.errors import SyncError


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="sync_pipelines.demo.trino_server",
        description="Trino with Iceberg and Hive on this disk.",
    )
    parser.add_argument(
        "--root", type=Path, default=Path(".sync_pipelines/trino"), help="folder of its files"
    )
    parser.add_argument("--port", type=int, help="any free one by default")
    parser.add_argument("--heap-mb", type=int, default=ServerOptions.heap_mb)
    parser.add_argument("--quick-start", action="store_true", help="start faster, compute slower")
    parser.add_argument(
        "--ready-file",
        type=Path,
        help="write port, pid and folder here as JSON when queries are answered",
    )
    parser.add_argument("--until-pid", type=int, help="stop when that process ends")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, or until the process of --until-pid ends."""
    options = arguments(argv)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        server = TrinoProcess(
            options.root.resolve(),
            ServerOptions(options.heap_mb, options.quick_start),
            port=options.port,
        )
        with server.serving(wipe=False) as running:
            _write_ready(
                options.ready_file,
                {"port": running.port, "lake": str(running.lake), "pid": os.getpid()},
            )
            sys.stdout.write(_HELP.format(port=running.port, lake=running.lake))
            sys.stdout.flush()
            while not done.wait(0.5) and (
                options.until_pid is None or psutil.pid_exists(options.until_pid)
            ):
                if not server.is_running:
                    sys.stderr.write(f"Trino ended by itself; see {server.log}\n")
                    return 1
    except SyncError as error:
        _write_ready(options.ready_file, {"error": str(error)})
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


_HELP = """Trino answers on http://127.0.0.1:{port}. To sync into it:
  export TRINO_HOST=127.0.0.1 TRINO_PORT={port} TRINO_STAGING_URL=file://{lake}/staging \
TRINO_STAGING_LOCATION=local:///staging
  sync-pipelines connector add … --destination trino
Ctrl-C stops it; its tables stay in {lake}.
"""


def _write_ready(path: Path | None, content: dict[str, object]) -> None:
    if path is not None:
        whole = path.with_suffix(".part")
        whole.write_text(json.dumps(content))
        whole.rename(path)


if __name__ == "__main__":
    sys.exit(main())
