"""Dagster's schema in the catalog's database."""

from __future__ import annotations

import psycopg
import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.dagster_storage import (
    create_storage_schema,
    storage_schema,
    storage_url,
)
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.session_options import session_options
from sync_pipelines.errors import SettingsError


def test_the_url_leads_into_the_schema(database: Database) -> None:
    create_storage_schema(database)
    create_storage_schema(database)
    with psycopg.connect(storage_url(database)) as connection:
        assert connection.execute("SELECT current_schema(), current_database()").fetchone() == (
            "bridge_dagster",
            database.name,
        )


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://me:p%40s%2F@db.example:6543/n%20m?sslmode=require&options=-cstatement_timeout%3D5s",
        "host=db.example port=6543 user=me password=p@s/ dbname='n m' sslmode=require options='-cstatement_timeout=5s'",
    ],
)
def test_a_url_and_a_connection_string_become_the_same_url(given: str) -> None:
    url = storage_url(Database(given))
    assert url.startswith("postgresql://")
    assert psycopg.conninfo.conninfo_to_dict(url) == {
        "user": "me",
        "password": "p@s/",
        "host": "db.example",
        "port": "6543",
        "dbname": "n m",
        "sslmode": "require",
        "options": session_options("-cstatement_timeout=5s", "bridge_dagster"),
    }


def test_two_installations_in_one_database_have_schemas_of_their_own() -> None:
    assert storage_schema("bridge") != storage_schema("bridge_b")
    assert len(storage_schema("b" * 63).encode()) == 63


def test_no_connector_may_write_into_it(database: Database) -> None:
    with pytest.raises(SettingsError, match="reserved"):
        add_connector(database, "erp", "http://127.0.0.1:1", target_schema="bridge_dagster")
