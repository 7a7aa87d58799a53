"""A secret that the source echoes is nowhere in the database, the log or an error."""

from __future__ import annotations

import logging

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import Fault, TwinServer, TwinStore
from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import SyncError
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import World

CANARY = "canary-5ee0f3b1-tokens-never-rest"


def every_text_with(world: World, needle: str) -> list[str]:
    """Columns of any table, dlt's own included, that hold the needle."""
    tables = world.sql(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    return [
        name
        for (name,) in tables
        if world.sql(
            f"SELECT count(*) FROM {name} t WHERE t::text LIKE %s OR t::text LIKE %s",
            f"%{needle}%",
            f"%{needle.encode().hex()}%",
        )[0][0]
    ]


@pytest.mark.parametrize("kind", ["data", "apis"])
def test_an_echoed_token_is_nowhere_to_be_found(
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CANARY_TOKEN", CANARY)
    store = TwinStore()
    with TwinServer(store, token=CANARY) as server:
        add_connector(
            database, "erp", server.url, "env:CANARY_TOKEN", settings={"backoff_seconds": 0}
        )
        world = World(database, settings, store, server)
        world.add_items(3)
        world.sync()
        errors = []
        for fault in (
            Fault(kind=kind, times=2, echo_authorization=True),
            Fault(kind=kind, times=2, status=401, body=f"no: Bearer {CANARY}".encode()),
            Fault(kind=kind, times=2, body=f'{{"rows": [{{"data": "{CANARY}'.encode()),
            Fault(kind=kind, times=2, redirect_to=f"{server.url}/?token={CANARY}"),
            Fault(kind=kind, times=2, status=404, body=CANARY.encode()),
        ):
            world.faults.add(fault)
            with pytest.raises(SyncError) as caught:
                if kind == "apis":
                    discover(database, "erp", settings=settings)
                else:
                    sync_entity(database, "erp", "items", settings=settings, full_refresh=True)
            errors.append(f"{caught.value} {caught.value.details()}")
            world.faults.clear()
        assert every_text_with(world, CANARY) == []
        assert CANARY not in " ".join(errors)
        assert CANARY not in caplog.text
        assert every_text_with(world, "CANARY_TOKEN") == ["bridge.connectors"]


def test_the_search_for_canaries_finds_what_is_there(world: World) -> None:
    world.add_items(1)
    assert every_text_with(world, "Product master data") == ["bridge.entities"]
