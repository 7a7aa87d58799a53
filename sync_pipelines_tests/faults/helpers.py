"""What every test of the campaign asks: refused without harm, and healed by one clean sync."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SyncError
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.world import TOKEN, World


def configure(world: World, url: str | None = None, **limits: Any) -> None:
    """Give the connector another address or other limits."""
    add_connector(
        world.database,
        "erp",
        url or world.server.url,
        "env:TWIN_TOKEN",
        settings={"backoff_seconds": 0.01, **limits},
    )


def refused(
    world: World,
    error: type[SyncError],
    *words: str,
    slug: str = "items",
    database: Database | None = None,
    **options: Any,
) -> SyncError:
    """A sync fails with the error: nothing published, cursor unmoved, its run row failed, no secret in any message."""
    before, runs = world.state(slug), len(world.runs(slug))
    with pytest.raises(error) as caught:
        sync_entity(database or world.database, "erp", slug, settings=world.settings, **options)
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    assert world.state(slug) == before
    message = str(caught.value)
    for word in words:
        assert word in message
    run = world.runs(slug)[0]
    assert len(world.runs(slug)) == runs + 1
    assert run["status"] == "failed"
    assert run["error_details"]["error"] == error.__name__, run["error_details"]
    assert TOKEN not in message + run["error_message"] + str(run["error_details"])
    return caught.value


def healed(world: World, written: int = 13, slug: str = "items", **options: Any) -> None:
    """One clean sync later: table = truth, every ledger balances, nothing is left, a second sync writes nothing."""
    world.faults.clear()
    world.faults.on_request = None
    assert world.sync(slug, **options).ledger.written == written
    settled(world, slug)


def settled(world: World, slug: str = "items") -> None:
    """The oracle, after the clean sync."""
    world.assert_equal_to_truth(slug)
    world.assert_nothing_left_behind(slug)
    assert world.sync(slug).ledger.written == 0
    kinds = ("inserted", "updated", "unchanged", "superseded", "quarantined")
    for run in world.runs(slug):
        if run["status"] == "success":
            assert run["records_fetched"] == sum(run[f"records_{kind}"] for kind in kinds)
    assert not is_in_database(world, TOKEN)


def is_in_database(world: World, secret: str) -> bool:
    """True when any row of any table holds the secret, as text or as bytes."""
    tables = world.sql(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    found = " OR ".join(
        f"EXISTS (SELECT FROM {name} t WHERE t::text ~ %(forms)s)" for (name,) in tables
    )
    with world.database.connect() as connection:
        row = connection.execute(
            f"SELECT {found} AS found", {"forms": f"{secret}|{secret.encode().hex()}"}
        ).fetchone()
    return bool(row and row["found"])


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk that is soon full; needs root."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(
            f"FAULT NOT TESTED: a disk that is full needs the right to mount a tmpfs ({mounted.stderr.strip()})"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
