"""What definitions are built from: its fingerprint, its restriction to some connectors, its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import DatabaseUnavailableError
from sync_pipelines.orchestrate.snapshot import (
    DEFINITION_SETTINGS,
    catalog_fingerprint,
    load_catalog,
)
from sync_pipelines_tests.world import World


def test_fingerprint_follows_what_definitions_show_and_nothing_else(world: World) -> None:
    world.add_items(2)
    first = catalog_fingerprint(world.database)
    world.sync()
    world.discover()
    assert catalog_fingerprint(world.database) == first
    seen = {first}
    for change in (
        {"sync_interval_seconds": 77},
        {"sync_enabled": False},
        {"status": "vanished"},
        {"description": "other words"},
    ):
        world.set(**change)
        seen.add(catalog_fingerprint(world.database))
    assert len(seen) == 5


def test_the_fingerprint_follows_the_settings_that_definitions_take_from_their_file(
    world: World, tmp_path: Path
) -> None:
    first = catalog_fingerprint(world.database, (), tmp_path / ".env")
    (tmp_path / ".env").write_text("BATCH_ROWS=7\n")
    assert catalog_fingerprint(world.database, (), tmp_path / ".env") == first, (
        "every run reads this by itself"
    )
    seen = {first}
    for name in DEFINITION_SETTINGS:
        (tmp_path / ".env").write_text(f"{name}=77\n")
        seen.add(catalog_fingerprint(world.database, (), tmp_path / ".env"))
    assert len(seen) == 1 + len(DEFINITION_SETTINGS)


def test_a_restricted_location_sees_its_connectors_only_and_keeps_its_own_file(
    world: World, tmp_path
) -> None:
    world.add_items(1)
    add_connector(world.database, "crm", world.server.url, "env:TWIN_TOKEN")
    discover(world.database, "crm", settings=world.settings)
    everything = load_catalog(lambda: world.database, tmp_path)
    crm = load_catalog(lambda: world.database, tmp_path, ("crm",))
    nothing = load_catalog(lambda: world.database, tmp_path, ("unknown",))
    assert {entity.connector for entity in everything.entities} == {"erp", "crm"}
    assert {entity.connector for entity in crm.entities} == {"crm"}
    assert list(crm.base_urls or {}) == ["crm"]
    assert (nothing.entities, nothing.base_urls) == ((), {})
    before = crm.fingerprint
    world.set(sync_interval_seconds=99)
    with world.database.connect() as connection:
        connection.execute(
            "UPDATE entities SET sync_interval_seconds = 300 WHERE connector_uid = (SELECT uid FROM"
            " connectors WHERE name = 'crm')"
        )
    assert catalog_fingerprint(world.database, ("crm",)) == before
    assert catalog_fingerprint(world.database) != everything.fingerprint

    def gone() -> Database:
        raise DatabaseUnavailableError("away")

    assert {entity.connector for entity in load_catalog(gone, tmp_path, ("crm",)).entities} == {
        "crm"
    }
    assert load_catalog(gone, tmp_path).fingerprint == "", (
        "a last known catalog is to be loaded again"
    )


@pytest.mark.parametrize("damaged", ["[null]", "[1]", '["x"]', "[{}]", "{", "null"])
def test_a_damaged_file_of_the_catalog_counts_as_none(tmp_path: Path, damaged: str) -> None:
    def gone() -> Database:
        raise DatabaseUnavailableError("away")

    content = f'{{"database": "d", "connectors": [], "entities": {damaged}}}'
    (tmp_path / "catalog.json").write_text(content)
    view = load_catalog(gone, tmp_path)
    assert view.entities == ()
    assert view.stale_because is not None
