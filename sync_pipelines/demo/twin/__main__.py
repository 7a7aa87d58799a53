"""Run a twin as a process: `python -m sync_pipelines.demo.twin`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sync_pipelines.demo.twin.flights import load_flights
from sync_pipelines.demo.twin.flights_schema import SOURCES
from sync_pipelines.demo.twin.server import TwinServer
from sync_pipelines.demo.twin.store import TwinStore


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="sync_pipelines.demo.twin", description="A source API with known truth."
    )
    parser.add_argument("--dataset", choices=("flights", "empty"), default="flights")
    parser.add_argument("--tables", help=f"comma separated, of {','.join(SOURCES)}; all by default")
    parser.add_argument("--limit", type=int, help="at most so many rows per table")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--port-file", type=Path, help="write the port here when ready")
    parser.add_argument(
        "--token-env", default="TWIN_TOKEN", help="environment variable with the bearer token"
    )
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument(
        "--gzip", action="store_true", help="compress answers for callers that accept it"
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="stop when the parent process dies"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT, SIGTERM or, with --with-parent, the parent's death."""
    options = arguments(argv)
    parent = os.getppid()
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    token = os.environ.get(options.token_env)
    if not token:
        sys.stderr.write(
            f"twin: set the bearer token in the environment variable {options.token_env}\n"
        )
        return 2
    store = TwinStore()
    if options.dataset == "flights":
        tables = options.tables.split(",") if options.tables else None
        load_flights(store, options.limit, tables)
    server = TwinServer(
        store,
        token,
        options.host,
        options.port,
        latency_seconds=options.latency_ms / 1000,
        gzip=options.gzip,
    )
    with server as twin:
        if options.port_file:
            _write_whole(options.port_file, str(twin.port))
        sys.stdout.write(f"twin listening on {twin.url}\n")
        sys.stdout.flush()
        while not done.wait(0.5):
            if options.with_parent and os.getppid() != parent:
                break
    return 0


def _write_whole(path: Path, text: str) -> None:
    """Write and rename, so that a reader never sees half a number."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
