"""The bridge schema comes up from nothing, once, whoever asks and however often."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic import command
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database, require_catalog
from sync_pipelines.catalog.migrate import migrate
from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError, DatabaseUnavailableError
from sync_pipelines_tests.conftest import with_database

TABLES = {"absences", "alembic_version", "connectors", "entities", "quarantine", "sync_runs"}


@pytest.fixture
def empty(server_url: str) -> Iterator[Database]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE sync_test_empty")
    yield Database(with_database(server_url, "sync_test_empty"))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE sync_test_empty WITH (FORCE)")


def tables(database: Database, schema: str = "bridge") -> set[str]:
    with psycopg.connect(database.url) as connection:
        return {
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]
            )
        }


def test_an_empty_database_has_no_catalog_and_says_which_command_makes_it(empty: Database) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_catalog(empty)
    assert caught.value.next_command == "sync-pipelines doctor --migrate"


def test_an_empty_database_is_upgraded_and_a_second_time_changes_nothing(empty: Database) -> None:
    migrate(empty)
    assert tables(empty) >= TABLES
    migrate(empty)
    require_catalog(empty)


def test_many_processes_may_migrate_at_once(empty: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: migrate(empty), range(6)))
    assert tables(empty) >= TABLES


def test_the_catalog_can_live_in_a_schema_of_another_name(empty: Database) -> None:
    other = Database(empty.url, "catalog_two")
    migrate(other)
    migrate(empty)
    assert tables(other, "catalog_two") >= TABLES
    assert tables(empty) >= TABLES


def test_connectors_from_before_anybody_was_asked_keep_what_they_had(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0007"))
    migrate(empty)
    auth = {
        "type": "oauth2",
        "token_url": "https://login.intern/t",
        "client_id": "env:ID",
        "client_secret": "env:KEY",
    }
    with empty.connect() as connection:
        connection.execute(
            "INSERT INTO connectors (name, base_url, auth_token, target_schema) VALUES ('erp',"
            " 'http://10.0.0.5/api', 'env:ERP', 'erp')"
        )
        connection.execute(
            "INSERT INTO connectors (name, base_url, target_schema, kind, declaration) VALUES ('crm',"
            " 'https://crm.intern', 'crm', 'rest', %s)",
            [Jsonb({"auth": auth})],
        )
        connection.execute(
            "INSERT INTO webhooks (name, url, secret) VALUES ('ops', 'https://hooks.intern/x', 'env:HOOK')"
        )
    monkeypatch.undo()
    migrate(empty)
    with empty.connect() as connection:
        agreed = {
            row["name"]: row["agreed"]
            for row in connection.execute("SELECT name, agreed FROM connectors")
        }
        [hook] = connection.execute("SELECT private_origins FROM webhooks").fetchall()
    assert agreed["erp"]["secrets"] == [["env:ERP", "http://10.0.0.5:80"]]
    assert agreed["erp"]["private"] == ["http://10.0.0.5:80"]
    assert agreed["crm"]["secrets"] == [
        ["env:ID", "https://login.intern:443"],
        ["env:KEY", "https://login.intern:443"],
    ]
    assert agreed["crm"]["private"] == ["https://crm.intern:443", "https://login.intern:443"]
    assert hook["private_origins"] == ["https://hooks.intern:443"]


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    with psycopg.connect(empty.url) as connection:
        connection.execute("CREATE SCHEMA bridge CREATE TABLE quarantine (x int)")
    with pytest.raises(Exception, match="quarantine"):
        migrate(empty)
    assert tables(empty) == {"quarantine"}


def test_a_server_that_is_not_there_is_a_passing_trouble() -> None:
    database = Database("postgresql://nobody:canary@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailableError) as caught, database.connect():
        pass
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(database)


def test_a_database_that_does_not_exist_is_distinguished_from_trouble(server_url: str) -> None:
    with (
        pytest.raises((DatabaseUnavailableError, DatabaseRefusedError)) as caught,
        Database(with_database(server_url, "no_such")).connect(),
    ):
        pass
    assert "no_such" in str(caught.value)


def test_a_server_that_does_not_answer_is_named_in_words_of_ours_and_may_be_tried_again() -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        migrate(Database("postgresql://me:canary@127.0.0.1:9/x"))
    assert "sqlalche.me" not in str(caught.value)
    assert "canary" not in str(caught.value)


def upgrade_to(database: Database, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _: upgrade(config, version))
        migrate(database)


def test_a_catalog_that_is_older_than_the_program_says_which_command_upgrades_it(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade_to(empty, "0006", monkeypatch)
    with pytest.raises(ConfigurationError, match="older version 0006") as caught:
        require_catalog(empty)
    assert caught.value.next_command == "sync-pipelines doctor --migrate"
    migrate(empty)
    require_catalog(empty)


def test_a_trino_that_never_was_one_stops_no_migration(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade_to(empty, "0007", monkeypatch)
    hosts = {
        "named": "trino.intern",
        "address": "https://trino.intern",
        "nonsense": "trino.intern/x",
    }
    with empty.connect() as connection:
        for name, host in hosts.items():
            connection.execute(
                "INSERT INTO connectors (name, base_url, target_schema, destination_settings) VALUES"
                " (%s, 'https://x.intern', %s, %s)",
                [name, name, Jsonb({"host": host, "password": "env:TRINO_KEY"})],
            )
    migrate(empty)
    with empty.connect() as connection:
        agreed = {
            row["name"]: row["agreed"]["secrets"]
            for row in connection.execute("SELECT name, agreed FROM connectors")
        }
    there = [["env:TRINO_KEY", "trino://trino.intern:8080"]]
    assert agreed == {"named": there, "address": there, "nonsense": []}


def test_runs_of_the_older_version_get_their_words_and_one_that_goes_on_stays_open(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade_to(empty, "0006", monkeypatch)
    ends = [
        ("failed", "InterruptedRunError"),
        ("success", None),
        ("failed", "IncompleteAnswerError"),
        ("failed", "LedgerError"),
    ]
    with empty.connect() as connection:
        connection.execute(
            "INSERT INTO connectors (name, base_url, target_schema) VALUES ('erp', 'https://x.intern', 'erp')"
        )
        for number, last in enumerate([*ends, ("running", None)]):
            connection.execute(
                """
                INSERT INTO entities (uid, connector_uid, slug, api_name, delta_strategy, business_keys, target_schema,
                    target_table, columns,
                    sync_interval_seconds, lookback_seconds, max_vanished_share, last_sync_status)
                SELECT gen_random_uuid(), uid, %s, 'Items', 'full', '["a"]', 'erp', %s, '[]', 300, 60, 0.5, %s
                FROM connectors
                """,
                [f"items{number}", f"items{number}", last[0]],
            )
            for status, error in (("success", None), last):
                connection.execute(
                    """
                    INSERT INTO sync_runs (entity_uid, status, mode, triggered_by, started_at, details, error_details)
                    SELECT uid, %s, 'full', 't', clock_timestamp(), %s, %s FROM entities WHERE slug = %s
                    """,
                    [
                        status,
                        Jsonb({"row_count": 3} if status == "success" else {}),
                        Jsonb({"error": error} if error else None),
                        f"items{number}",
                    ],
                )
    migrate(empty)
    with empty.connect() as connection:
        found = connection.execute(
            "SELECT (SELECT array_agg(r.status ORDER BY r.started_at) FROM sync_runs r WHERE"
            " r.entity_uid = e.uid) AS runs,"
            " e.last_sync_status AS last FROM entities e ORDER BY slug"
        ).fetchall()
    words = ["cancelled", "success", "incomplete", "failed", "running"]
    assert [(row["runs"], row["last"]) for row in found] == [
        (["success", word], word) for word in words
    ]
