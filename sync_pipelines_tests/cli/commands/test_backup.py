"""A backup is worth its restore: a real dump, restored into another database, on which syncs go on."""

from __future__ import annotations

import os
import stat

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines_tests.conftest import with_database
from sync_pipelines_tests.world import item


@pytest.fixture
def elsewhere(world, server_url):
    """An empty database of its own."""
    name = f"restored_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield Database(with_database(server_url, name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def rows(database):
    with psycopg.connect(database.url) as connection:
        return connection.execute(
            "SELECT item_number, base_uom FROM erp.items ORDER BY 1"
        ).fetchall()


def test_a_restored_backup_has_every_row_and_syncs_go_on_from_its_cursor(
    cli, process, world, elsewhere, tmp_path
):
    table = world.add_items(25)
    world.sync()
    file = tmp_path / "bridge.dump"
    assert cli("backup", str(file), "--json").json["bytes"] == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    variables = {"POSTGRES_URL": elsewhere.url, "TWIN_TOKEN": world.server.token}
    restored = process("restore", str(file), **variables)
    assert restored.code == 0, restored.text
    assert rows(elsewhere) == rows(world.database)
    table.put(item(1, base_uom="NEW"))
    synced = process("sync", "erp", "--json", **variables)
    assert synced.json["results"][0]["updated"] == 1, synced.text
    assert synced.json["results"][0]["mode"] == "delta"
    assert dict(rows(elsewhere))[item(1)["item_number"]] == "NEW"


def test_a_database_in_use_is_replaced_only_when_asked(cli, process, world, tmp_path):
    world.add_items(3)
    world.sync()
    file = tmp_path / "bridge.dump"
    assert cli("backup", str(file)).code == 0
    before = rows(world.database)
    world.sql("UPDATE erp.items SET base_uom = 'XX'")
    variables = {"POSTGRES_URL": world.database.url}
    refused = process("restore", str(file), **variables)
    assert refused.code == 3
    assert "--replace" in refused.stderr
    assert rows(world.database) != before
    assert process("restore", str(file), "--replace", **variables).code == 0
    assert rows(world.database) == before


def test_a_backup_never_overwrites_and_a_broken_file_changes_nothing(cli, process, world, tmp_path):
    world.add_items(3)
    world.sync()
    file = tmp_path / "bridge.dump"
    file.write_bytes(b"no dump")
    assert cli("backup", str(file)).code == 2
    assert file.read_bytes() == b"no dump"
    broken = process("restore", str(file), "--replace", POSTGRES_URL=world.database.url)
    assert broken.code == 3
    assert "pg_restore failed" in broken.stderr
    assert "Traceback" not in broken.text
    assert len(rows(world.database)) == 3
