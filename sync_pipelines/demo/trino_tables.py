"""What `demo --trino` does beside the demo: a real Trino in a child process, and a look into it."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.cli.shell.homes import Home, python_module
from sync_pipelines.cli.shell.output import say, show_table
from sync_pipelines.cli.shell.processes import Children
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.errors import DatabaseUnavailableError, FatalError

START_SECONDS = 1500  # the first time, Maven fetches it
_LOOK = (
    "SELECT carrier, count(*) AS flights, sum(distance) AS miles FROM {flights}"
    " WHERE NOT _bridge_deleted GROUP BY carrier ORDER BY flights DESC LIMIT 5"
)


def start_trino(children: Children, home: Home) -> dict[str, Any]:
    """Start Trino below the home and wait for it; returns the connector's settings.

    Raises:
        FatalError: it cannot be had or did not start; says why.
    """
    ready = home.root / "trino.json"
    ready.unlink(missing_ok=True)
    arguments = [
        "--root",
        str(home.root / "trino"),
        "--ready-file",
        str(ready),
        "--heap-mb",
        "1024",
        "--until-pid",
        str(os.getpid()),
    ]
    children.start("trino", python_module("sync_pipelines.demo.trino_server", *arguments))
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        children.check()
        if time.monotonic() > deadline:
            raise DatabaseUnavailableError(f"Trino did not start within {START_SECONDS} s.")
        time.sleep(0.1)
    server = json.loads(ready.read_text())
    if "error" in server:
        raise FatalError(server["error"], state="")
    return {
        "host": "127.0.0.1",
        "port": server["port"],
        "staging_url": f"file://{server['lake']}/staging",
        "staging_location": "local:///staging",
    }


def look_into_trino(database: Database, connector: str) -> None:
    """Show rows and commits of every table, and an aggregate, as the trino client gives them."""
    destination = TrinoDestination(database, get_connector(database, connector))
    rows = []
    for entity in list_entities(database, connector):
        table = [destination.catalog, entity.target_schema]
        target = quote(*table, entity.target_table)
        live_rows = f"SELECT count(*) FROM {target} WHERE NOT _bridge_deleted"  # noqa: S608
        live = destination.session.number(live_rows)
        commits = destination.session.query(
            "SELECT count(*), max_by(snapshot_id, committed_at)"  # noqa: S608
            f" FROM {quote(*table, entity.target_table + '$snapshots')}"
        )[0]
        rows.append((destination.table_name(entity), live, commits[0], str(commits[1])))
    show_table(
        "In Trino",
        ("table", "live rows", "snapshots", "newest snapshot"),
        rows,
        right=("live rows", "snapshots"),
    )
    statement = _LOOK.format(flights=quote(destination.catalog, connector, "flights"))
    say(statement, "cyan")
    show_table(
        "Through the trino client",
        ("carrier", "flights", "miles"),
        destination.session.query(statement),
    )
