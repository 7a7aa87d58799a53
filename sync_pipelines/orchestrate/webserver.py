"""Dagster's web server behind the guard: `python -m sync_pipelines.orchestrate.webserver -w workspace.yaml`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.interrupts import setup_interrupt_handlers
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from sync_pipelines.errors import SyncError
from sync_pipelines.orchestrate.guard import Guard
from sync_pipelines.orchestrate.guard_hosts import AllowedHosts
from sync_pipelines.settings import load_settings

logger = logging.getLogger(__name__)

# Those of `dagster-webserver`.
STATEMENT_TIMEOUT_MILLISECONDS = 15_000
POOL_RECYCLE_SECONDS = 3_600
POOL_MAX_OVERFLOW = 20
POLL_MILLISECONDS = 2_000


def serve(
    host: str,
    port: int,
    workspace: str,
    allowed_hosts: Sequence[str] = (),
    *,
    read_only: bool = False,
) -> None:
    """Serve the UI of the instance in DAGSTER_HOME until this process is ended.

    Raises:
        SettingsError: a name in `allowed_hosts`, or in the settings, is no name of a host.
    """
    hosts = AllowedHosts(host, [*load_settings().ui.ui_host_names, *allowed_hosts])
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            STATEMENT_TIMEOUT_MILLISECONDS, POOL_RECYCLE_SECONDS, POOL_MAX_OVERFLOW
        )
        target = WorkspaceFileTarget(paths=[workspace])
        with WorkspaceProcessContext(
            instance,
            target,
            version=__version__,
            read_only=read_only,
        ) as context:
            application: Any = create_app_from_workspace_process_context(
                context,
                "",
                POLL_MILLISECONDS,
                lifespan=_lifespan,
            )
            logger.info(
                "Serving on http://%s:%s%s",
                host,
                port,
                ", read-only" if read_only else "",
            )
            uvicorn.run(
                Guard(application, hosts, read_only=read_only),
                host=host,
                port=port,
                log_level="warning",
            )


@contextlib.asynccontextmanager
async def _lifespan(_: Any) -> AsyncIterator[None]:
    # Ended by a signal, uvicorn cancels this; it is no error.
    with contextlib.suppress(asyncio.exceptions.CancelledError):
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "-w",
        "--workspace",
        required=True,
        help="The file that names the code locations.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="Address to listen on.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=3000,
        help="Port to listen on.",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        help="A further NAME or NAME:PORT by which browsers ask.",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="Show everything and change nothing."
    )
    chosen = parser.parse_args(arguments)
    configure_loggers(log_level="INFO")
    setup_interrupt_handlers()
    try:
        serve(
            chosen.host,
            chosen.port,
            chosen.workspace,
            chosen.allowed_host,
            read_only=chosen.read_only,
        )
    except SyncError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
