"""What automatic syncs cost: a tick of the due-sensor, one run for fifty entities, and the way of a change into its
table.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Place, measured
from benchmarks.ours import CONNECTOR, _settings
from sync_pipelines.catalog.connectors import change_connector, get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.schedule.tick import Situation, tick_due

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
_COPY = """
INSERT INTO bridge.entities (connector_uid, slug, api_name, delta_strategy, business_keys, target_schema,
    target_table, columns,
    cursor_codec, last_rowversion, seen_rowversion, row_count, last_sync_at, last_sync_status, due_reason, next_due_at)
SELECT connector_uid, slug || '_' || n, api_name, delta_strategy, business_keys, target_schema,
    target_table || '_' || n, columns,
    'digits', '20260101000000', '20260101000000', 1000, now(), 'success', 'interval', now() + interval '1 hour' + n *
        interval '1 millisecond'
FROM bridge.entities, generate_series(1, %s) n
"""


def tick(place: Place) -> dict[str, Any]:
    """One tick without probes over `entities` entities, of which `due` are due.

    What it takes to build the run is included.
    """
    database, settings = Database(place.database_url), _settings()
    change_connector(database, get_connector(database, CONNECTOR), probe_changes=False)
    entities, due = place.options["entities"], place.options["due"]
    with database.connect() as connection:
        connection.execute(_COPY, [entities])
        connection.execute("DELETE FROM entities WHERE slug NOT LIKE '%%\\_%%'")
        connection.execute(
            "UPDATE entities SET next_due_at = now() WHERE uid IN (SELECT uid FROM entities LIMIT %s)",
            [due],
        )
        slugs = [row["slug"] for row in connection.execute("SELECT slug FROM entities")]
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE entities")
    with measured(place) as found:
        done = tick_due(database, CONNECTOR, settings, Situation(slugs))
    taken = sum(len(run.entities) for _, run in done.runs)
    if taken != min(due, settings.schedule.max_entities_per_run):
        raise RuntimeError(f"{taken} entities were taken, {due} are due")
    return {**found, "fetched": taken}


def fifty(place: Place) -> dict[str, Any]:
    """One Dagster run that syncs every entity, as a process, from its start to its end."""
    place.control("latency", seconds=place.options["latency_seconds"])
    with _dagster_home(place) as environment, measured(place) as found:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [
            sys.executable,
            "-m",
            "dagster",
            "job",
            "execute",
            "-m",
            "sync_pipelines.definitions",
            "-j",
            f"sync_{CONNECTOR}",
        ]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["client_cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with Database(place.database_url).connect() as connection:
        rows = connection.execute(
            "SELECT last_sync_status AS status, count(*) AS n FROM entities GROUP BY 1"
        ).fetchall()
    if [row["status"] for row in rows] != ["success"]:
        raise RuntimeError(f"not every entity was synced: {rows}")
    return {**found, "fetched": rows[0]["n"]}


def latency(place: Place) -> dict[str, Any]:
    """Seconds from a change at the source to its row in the table, with a real daemon and default settings.

    The worst of three.

    The entity's interval is a day, so that only the probe can be the reason.
    """
    database = Database(place.database_url)
    with database.connect() as connection:
        connection.execute(
            "UPDATE entities SET sync_interval_seconds = 86400, lookback_seconds = 3600"
        )
    seconds: list[float] = []
    with _dagster_home(place) as environment, measured(place) as found, _daemon(environment):
        _await(lambda: _live(database) is not None)
        for _ in range(3):
            wanted = (_live(database) or 0) + 10
            place.control("append", new=10, changed=0, same=0)
            changed_at = time.monotonic()
            _await(lambda wanted=wanted: (_live(database) or 0) >= wanted)
            seconds.append(time.monotonic() - changed_at)
    return {**found, "wall_seconds": max(seconds), "fetched": 10, "seconds": seconds}


def _live(database: Database) -> int | None:
    with database.connect() as connection:
        row = connection.execute("SELECT row_count FROM entities LIMIT 1").fetchone()
    return row["row_count"] if row else None


def _await(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not happen within {PATIENCE_SECONDS} s")
        time.sleep(0.1)


@contextmanager
def _dagster_home(place: Place) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_bench_home_") as home:
        shutil.copyfile(ROOT / "dagster.yaml", Path(home) / "dagster.yaml")
        own = {
            "DAGSTER_HOME": home,
            "SYNC_PIPELINES_HOME": home,
            "POSTGRES_URL": place.database_url,
            "SYNC_WORKER_THREADS": "10",
        }
        yield {**os.environ, **own}


@contextmanager
def _daemon(environment: dict[str, str]) -> Iterator[None]:
    from sync_pipelines.cli.shell.processes import Children

    with Children(environment, Path(environment["DAGSTER_HOME"])) as children:
        children.start(
            "daemon",
            [sys.executable, "-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")],
        )
        yield
