"""Is Dagster's daemon heard of? `python -m sync_pipelines.supervise.daemon` is the health check of its container.

It reads the heartbeats that the daemon writes every 30 s with one query. Dagster's own check imports all of Dagster,
which is three CPU seconds each time, and bears half an hour of silence.
"""

from __future__ import annotations

import argparse
import os
import sys

import psycopg

from sync_pipelines.catalog.dagster_storage import storage_url
from sync_pipelines.catalog.database import open_database
from sync_pipelines.errors import SyncError
from sync_pipelines.secrets import printable, register_secret
from sync_pipelines.settings import load_settings

SILENCE_SECONDS = 180
_CATALOG = "catalog"
_NEWEST = (
    "SELECT extract(epoch FROM (now() AT TIME ZONE 'utc') - max(timestamp)) FROM daemon_heartbeats"
)


def silent_seconds(url: str) -> float | None:
    """How long ago the newest heartbeat of any daemon is; None when there was none yet.

    Raises:
        psycopg.Error: the storage does not answer, or has no tables yet.
    """
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute(_NEWEST).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def storage_address() -> str:
    """The URL of Dagster's storage in PostgreSQL, with its password.

    Raises:
        SyncError: the settings are wrong, or the catalog's database does not answer.
    """
    settings = load_settings()
    url = settings.ui.dagster_url.get_secret_value() if settings.ui.dagster_url else _CATALOG
    if url != _CATALOG:
        return url
    address = storage_url(open_database(settings))
    password = psycopg.conninfo.conninfo_to_dict(address).get("password")
    register_secret(None if password is None else str(password))
    return address


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the daemon is heard of, 1 with the reason on stderr when it is not."""
    parser = argparse.ArgumentParser(
        prog="python -m sync_pipelines.supervise.daemon",
        description="Is Dagster's daemon heard of?",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SILENCE_SECONDS,
        help=f"how long it may be silent ({SILENCE_SECONDS})",
    )
    allowed = parser.parse_args(arguments).seconds
    os.environ.setdefault("PGAPPNAME", "sync_pipelines_health")
    try:
        silent = silent_seconds(storage_address())
    except (SyncError, psycopg.Error) as error:
        sys.stderr.write(f"{printable(str(error), 500)}\n")
        return 1
    if silent is not None and silent <= allowed:
        return 0
    sys.stderr.write(
        "The daemon was never heard of.\n"
        if silent is None
        else f"The daemon was last heard of {silent:.0f} s ago.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
