"""The command line and Trino: choosing the destination, checking the connection, looking after the tables."""

from __future__ import annotations

import pytest


@pytest.fixture
def world(trino_world):
    """What the fixtures of this folder take for the world."""
    return trino_world


def test_a_connector_is_registered_for_trino_and_checked(cli, world):
    reach = [
        f"--trino={name}={value}"
        for name, value in world.trino.options.model_dump().items()
        if name in ("host", "port")
    ]
    added = cli(
        "connector",
        "add",
        "wms",
        world.server.url,
        "--token",
        "env:TWIN_TOKEN",
        "--destination",
        "trino",
        *reach,
        "--json",
    )
    assert (added.json["destination"], added.json["destination_settings"]["host"]) == (
        "trino",
        "127.0.0.1",
    )
    world.add_items(1)
    checks = {
        check["name"]: check for check in cli("connector", "test", "wms", "--json").json["checks"]
    }
    assert checks["trino"]["verdict"] == "PASSED"
    assert "Iceberg" in checks["trino"]["detail"]
    cli(
        "connector",
        "add",
        "away",
        world.server.url,
        "--destination",
        "trino",
        "--trino",
        "host=127.0.0.1",
        "--trino",
        "port=1",
    )
    assert "cannot be reached" in cli("connector", "test", "away").text


def test_a_bare_password_is_refused_and_not_repeated(cli):
    answer = cli(
        "connector",
        "add",
        "wms",
        "http://127.0.0.1:9",
        "--destination",
        "trino",
        "--trino",
        "password=hunter2",
    )
    assert answer.code == 2
    assert "hunter2" not in answer.text
    assert cli("connector", "add", "wms", "http://127.0.0.1:9", "--destination", "oracle").code == 2
    assert (
        "hunter2"
        not in cli("connector", "add", "wms", "http://127.0.0.1:9", "--trino", "hunter2").text
    )


def test_an_entity_moves_by_command_and_is_read_whole(cli, world):
    world.add_items(5)
    world.sync()
    assert (
        cli("entity", "set", "erp/items", "--destination", "postgres", "--json").json["destination"]
        == "postgres"
    )
    assert cli("entity", "set", "erp/items", "--destination", "nowhere").code == 2
    assert cli("sync", "erp/items").code == 0
    assert world.sql(f"SELECT count(*) FROM {world.entity().target_schema}.items") == [(5,)]
    assert cli("entity", "show", "erp/items", "--json").json["destination"] == "postgres"


def test_maintain_shows_what_was_due(cli, world, monkeypatch):
    world.add_items(5)
    assert cli("maintain", "--json").json == []
    world.sync()
    (first,) = cli("maintain", "erp/items", "--json").json
    assert (first["entity"], first["steps"], first["before"]["small_files"]) == ("erp/items", [], 1)
    monkeypatch.setenv("TRINO_MAINTENANCE_MAX_SNAPSHOTS", "1")
    assert "expire_snapshots" in cli("maintain", "erp").stdout
    with monkeypatch.context() as patch:
        patch.setenv("TRINO_MAINTENANCE_RETENTION", "soon")
        assert "TRINO_MAINTENANCE_RETENTION" in cli("maintain").text


def test_an_audit_by_command_reads_trino(cli, world):
    world.add_items(5)
    world.sync()
    assert cli("audit", "erp/items", "--all").code == 0
