"""Incidents of the machine, of Dagster, of the database and of the catalog itself."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr

from sync_pipelines.catalog.database import Database, classify_database_error, clock
from sync_pipelines.catalog.health import read_health
from sync_pipelines.catalog.heartbeats import Looker
from sync_pipelines.errors import (
    ConfigurationError,
    DatabaseConnectionsError,
)
from sync_pipelines.observe.evaluate import evaluate
from sync_pipelines.observe.sign_of_life import sign_file
from sync_pipelines_tests.conftest import with_database
from sync_pipelines_tests.observe.conftest import Watch


def test_a_paused_machine_is_noticed_by_the_gap_and_a_slow_rhythm_is_none(watch: Watch) -> None:
    watch.world.add_items(1)
    age = "UPDATE bridge.heartbeats SET last_at = last_at - make_interval(secs => %s)"
    gaps = "SELECT resumed_at IS NOT NULL FROM bridge.heartbeats WHERE looker = %s"
    watch.look()
    for rhythm_seconds in (30, 30):
        watch.world.sql(age, rhythm_seconds)
        watch.look()
    assert watch.world.sql(gaps, "dagster") == [(False,)]
    watch.world.set(last_success_at=clock(watch.world.database) - timedelta(hours=2))
    watch.world.sql(age, 7200)
    watch.look()
    assert watch.world.sql(gaps, "dagster") == [(True,)]
    assert watch.incidents() == []
    watch.world.sql("UPDATE bridge.heartbeats SET resumed_at = resumed_at - interval '16 minutes'")
    watch.look()
    assert watch.incidents() == [("freshness", "erp/items", "open")]
    for _ in range(3):
        watch.look(looker=Looker.CRON)
        watch.world.sql(
            "UPDATE bridge.heartbeats SET last_at = last_at - interval '5 minutes', resumed_at = NULL"
            " WHERE looker = 'cron'"
        )
    watch.look(looker=Looker.CRON)
    assert watch.world.sql(gaps, "cron") == [(False,)]


def test_a_silent_dagster_is_reported_from_outside_gives_no_sign_of_life_and_explains_what_is_old(
    watch: Watch,
) -> None:
    watch.world.add_items(1)
    sign = sign_file(watch.settings)
    watch.look()
    assert not sign.exists()
    watch.look(looker=Looker.WATCH)
    assert json.loads(sign.read_text())["looker"] == "watch"
    sign.unlink()
    watch.world.set(last_success_at=clock(watch.world.database) - timedelta(hours=2))
    watch.world.sql("UPDATE bridge.heartbeats SET resumed_at = NULL")
    watch.world.sql(
        "UPDATE bridge.heartbeats SET last_at = last_at - interval '4 minutes' WHERE looker = 'dagster'"
    )
    watch.look(looker=Looker.WATCH)
    assert watch.incidents() == [("dagster_silent", "dagster", "open")]
    assert not sign.exists()
    watch.look()
    assert watch.incidents() == [("dagster_silent", "dagster", "over")]


def test_the_address_of_a_monitor_is_called_and_never_shown(
    watch: Watch, monkeypatch, caplog
) -> None:
    monkeypatch.setenv("MONITOR", f"{watch.receiver.url}/canary-of-the-path")
    address = SecretStr("env:MONITOR")
    watch.look(looker=Looker.WATCH, alert_heartbeat_url=address)
    assert watch.receiver.calls == ["/hook/canary-of-the-path"]
    assert "ALERT_HEARTBEAT_URL" not in caplog.text
    watch.receiver.answers = [500]
    watch.look(looker=Looker.WATCH, alert_heartbeat_url=address)
    assert "ALERT_HEARTBEAT_URL was not called: The receiver answered 500." in caplog.text
    watch.look(looker=Looker.WATCH, alert_heartbeat_url=SecretStr("env:NO_SUCH_MONITOR"))
    assert "canary-of-the-path" not in caplog.text


def test_connections_of_the_server_are_counted(watch: Watch) -> None:
    with watch.world.database.connect() as connection:
        health = read_health(connection, watch.world.database, window_seconds=3600, min_records=10)
    assert 1 <= health.connections_used < health.connections_usable
    watch.look(alert_connection_share=0.001)
    assert watch.incidents() == [("database_connections", "database", "open")]


def test_a_role_without_connections_left_is_distinguished_from_a_server_that_is_down(
    database: Database,
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database.url)["dbname"]
    role = f"narrow_{name}"
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
        try:
            narrow = Database(psycopg.conninfo.make_conninfo(database.url, user=role, password="x"))
            with (
                pytest.raises(DatabaseConnectionsError, match="too many connections"),
                narrow.connect(),
            ):
                pass
        finally:
            connection.execute(f"DROP ROLE {role}")
    assert isinstance(
        classify_database_error(
            psycopg.OperationalError("FATAL:  sorry, too many clients already")
        ),
        DatabaseConnectionsError,
    )
    assert isinstance(
        classify_database_error(psycopg.errors.TooManyConnections("x")), DatabaseConnectionsError
    )
    assert not isinstance(
        classify_database_error(psycopg.OperationalError("connection refused")),
        DatabaseConnectionsError,
    )


def test_a_catalog_that_is_older_than_the_program_is_reported_with_the_command(
    server_url: str, watch: Watch
) -> None:
    with pytest.raises(ConfigurationError, match="doctor --migrate"):
        evaluate(Database(with_database(server_url, "postgres")), watch.settings)
