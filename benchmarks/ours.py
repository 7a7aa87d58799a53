"""Our syncs as tasks: `sync_entity` with default settings, the way assets and the command line call it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.measure import CHANGES, Place, measured
from sync_pipelines.catalog.database import Database
from sync_pipelines.model.run import RunResult
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings

CONNECTOR = "bench"
SLUG = "items00"


def _settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


def _sync(place: Place, slug: str = SLUG, *, full_refresh: bool = False) -> RunResult:
    return sync_entity(
        Database(place.database_url),
        CONNECTOR,
        slug,
        full_refresh=full_refresh,
        triggered_by="benchmark",
        settings=_settings(),
    )


def _warm_imports() -> float:
    """Import what the first run of a process would, and return the seconds."""
    started = time.monotonic()
    import pandas  # noqa: F401 - Arrow imports it when it first sees a list

    import sync_pipelines.destinations.postgres.adapter  # noqa: F401

    return time.monotonic() - started


def _told(result: RunResult) -> dict[str, Any]:
    return {
        **result.ledger.as_dict(),
        "live": result.row_count,
        "stage_seconds": {
            name: round(seconds, 3) for name, seconds in result.stage_seconds.items()
        },
    }


def prepare(place: Place) -> dict[str, Any]:
    """Create the catalog, register the source and discover it."""
    from sync_pipelines.catalog.connectors import add_connector
    from sync_pipelines.catalog.entities import change_entity, get_entity
    from sync_pipelines.catalog.migrate import migrate
    from sync_pipelines.discovery.discover import discover

    database = Database(place.database_url)
    migrate(database)
    trino = place.options.get("trino")
    add_connector(
        database,
        CONNECTOR,
        place.source_url,
        destination="trino" if trino else None,
        destination_settings=trino,
    )
    found = discover(database, CONNECTOR, settings=_settings()).added
    if "lookback_seconds" in place.options:
        for slug in found:
            change_entity(
                database,
                get_entity(database, CONNECTOR, slug),
                lookback_seconds=place.options["lookback_seconds"],
            )
    return {"added": found}


def first(place: Place) -> dict[str, Any]:
    """First load."""
    imports = _warm_imports()
    with measured(place) as found:
        found |= _told(_sync(place))
    return {**found, "import_seconds": imports}


def gated(place: Place) -> dict[str, Any]:
    """First load through a gate."""
    import os
    import tempfile
    from pathlib import Path

    from benchmarks.gate import write_gate

    _warm_imports()
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_gates_") as folder:
        write_gate(Path(folder), CONNECTOR, SLUG)
        os.environ["SYNC_PIPELINES_GATES"] = folder
        with measured(place) as found:
            found |= _told(_sync(place))
    return found


def profile(place: Place) -> dict[str, Any]:
    """First load under cProfile; prints its forty dearest functions by own time."""
    import cProfile
    import pstats

    _warm_imports()
    profiler = cProfile.Profile()
    profiler.runcall(_sync, place)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(40)
    return {}


def refresh(place: Place) -> dict[str, Any]:
    """Read everything again and compare."""
    _warm_imports()
    with measured(place) as found:
        found |= _told(_sync(place, full_refresh=True))
    return found


def delta(place: Place) -> dict[str, Any]:
    """Read what is new; with `warm`, once before as well, unmeasured."""
    if place.options.get("warm"):
        place.control("append", **CHANGES)
        _sync(place)
        place.control("append", **CHANGES)
    with measured(place) as found:
        found |= _told(_sync(place))
    return found


def nothing(place: Place) -> dict[str, Any]:
    """Read what is new when nothing is, in a warm process.

    Option `rested`: first wait until the lookback is over and sync once more, so that the cursor is at the end.
    """
    _sync(place)
    if seconds := place.options.get("rested"):
        time.sleep(seconds)
        _sync(place)
    with measured(place) as found:
        found |= _told(_sync(place))
    return found


def concurrent(place: Place) -> dict[str, Any]:
    """First loads of all entities at once, with as many threads as SYNC_WORKER_THREADS says."""
    _warm_imports()
    slugs = sorted(place.control("stats")["rows"])
    with measured(place) as found, ThreadPoolExecutor(place.options["threads"]) as pool:
        results = list(pool.map(lambda slug: _sync(place, slug), slugs))
        found["fetched"] = sum(result.ledger.fetched for result in results)
        found["inserted"] = sum(result.ledger.inserted for result in results)
        found["slowest_seconds"] = max(result.duration_seconds for result in results)
    return {**found, "live": sum(result.row_count for result in results)}
