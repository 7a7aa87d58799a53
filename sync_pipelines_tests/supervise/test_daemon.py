"""The health check of the daemon's container, against real heartbeats in a real storage."""

from __future__ import annotations

import psycopg
import pytest

from sync_pipelines.catalog.dagster_storage import create_storage_schema, storage_url
from sync_pipelines.settings import load_settings
from sync_pipelines.supervise.daemon import main, silent_seconds


@pytest.fixture
def storage(world, monkeypatch):
    """Dagster's storage with the table of heartbeats, as the environment names it."""
    create_storage_schema(world.database)
    url = storage_url(world.database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE daemon_heartbeats (daemon_type text, timestamp timestamp NOT NULL)"
        )
    monkeypatch.setenv("POSTGRES_URL", world.database.url)
    monkeypatch.setenv("SYNC_PIPELINES_DAGSTER_URL", "catalog")
    load_settings.cache_clear()
    yield url
    load_settings.cache_clear()


def test_a_daemon_is_healthy_while_it_is_heard_of(storage, capsys):
    assert main([]) == 1
    assert "never heard of" in capsys.readouterr().err
    with psycopg.connect(storage, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO daemon_heartbeats VALUES ('SENSOR', now() AT TIME ZONE 'utc' - interval '100 seconds')"
        )
        assert main([]) == 0
        assert silent_seconds(storage) >= 100
        assert main(["--seconds", "99"]) == 1
        assert "last heard of 100 s ago" in capsys.readouterr().err


def test_a_storage_that_does_not_answer_is_unhealthy_and_shows_no_password(monkeypatch, capsys):
    monkeypatch.setenv(
        "SYNC_PIPELINES_DAGSTER_URL", "postgresql://me:canary-password@127.0.0.1:9/x"
    )
    load_settings.cache_clear()
    assert main([]) == 1
    assert "canary" not in capsys.readouterr().err
    load_settings.cache_clear()
