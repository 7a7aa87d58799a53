"""The seams of dlt that our destination overrides: if one of these fails, dlt has changed under us."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import dlt
import psycopg2
import pytest
from dlt.destinations.impl.postgres.postgres import PostgresClient

from sync_pipelines.books.publish_plan import publishing
from sync_pipelines.destinations.postgres.dlt_client import (
    BridgePostgresClient,
    CopyJob,
    LibpqCredentials,
    bridge_postgres,
)
from sync_pipelines_tests.world import World


def test_dlt_has_the_version_whose_seams_were_studied() -> None:
    assert version("dlt").startswith("1.31.")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("create_load_job", ["self", "table", "file_path", "load_id", "restore"]),
        ("initialize_storage", ["self", "truncate_tables"]),
        ("update_stored_schema", ["self", "only_tables", "expected_update", "force"]),
        ("complete_load", ["self", "load_id"]),
    ],
)
def test_the_overridden_methods_have_the_known_parameters(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(PostgresClient, name)).parameters) == parameters
    assert list(inspect.signature(getattr(BridgePostgresClient, name)).parameters) == parameters
    assert getattr(BridgePostgresClient, name) is not getattr(PostgresClient, name)


def test_a_package_is_published_by_exactly_one_complete_load_after_its_jobs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for owner, name in ((CopyJob, "run"), (BridgePostgresClient, "complete_load")):
        original = getattr(owner, name)

        def noted(self: object, *args: object, _original: object = original, _name: str = name) -> object:
            calls.append(_name)
            return _original(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, noted)
    world.add_items(3)
    world.sync()
    assert calls[-1] == "complete_load"
    assert calls.count("complete_load") == 1
    assert "run" in calls


def test_dlt_writes_its_load_row_inside_our_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = PostgresClient.complete_load

    def looked_at(self: PostgresClient, load_id: str) -> None:
        original(self, load_id)
        connection = self.sql_client.native_connection
        seen.append(connection.status == psycopg2.extensions.STATUS_BEGIN)
        seen.append(world.sql("SELECT count(*) FROM erp_staging._dlt_loads") == [(0,)])

    monkeypatch.setattr(PostgresClient, "complete_load", looked_at)
    world.add_items(3)
    result = world.sync()
    assert seen == [True, True]
    loads = world.sql("SELECT load_id, status FROM erp_staging._dlt_loads")
    assert loads == [(world.runs()[0]["details"]["load_id"], 0)]
    assert result.ledger.inserted == 3


def test_staging_tables_are_ours_and_unlogged_and_dlt_leaves_them_alone(world: World) -> None:
    world.add_items(3)
    world.sync()
    world.sync(full_refresh=True)
    tables = dict(
        world.sql(
            "SELECT relname, relpersistence FROM pg_class WHERE relnamespace = 'erp_staging'::regnamespace AND relkind = 'r'"
        )
    )
    assert {name for name, kind in tables.items() if kind == b"u" or kind == "u"} == {
        "items__records",
        "items__rejects",
    }
    assert all(name.startswith("_dlt") for name in tables.keys() - {"items__records", "items__rejects"})
    columns = world.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'erp_staging.items__records'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert [name for (name,) in columns] == ["arrival", "rowversion", "hash", "c0", "c1", "c2", "c3"]


def test_names_pass_dlt_unchanged() -> None:
    capabilities = bridge_postgres(credentials=LibpqCredentials.of("postgresql://u@h/d")).capabilities()
    assert capabilities.naming_convention == "direct"
    assert capabilities.preferred_loader_file_format == "parquet"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@host:5433/base?sslmode=require",
        "postgresql:///base?host=/var/run/postgresql&user=me",
        "host=a,b port=1,2 dbname=base user=me",
    ],
)
def test_any_libpq_url_reaches_the_driver_as_it_is(url: str) -> None:
    credentials = LibpqCredentials.of(url)
    assert credentials.to_native_representation() == url
    assert credentials.database == "base"


def test_the_password_is_in_no_representation_of_the_credentials() -> None:
    credentials = LibpqCredentials.of("postgresql://user:canary-4711@host/base")
    assert "canary-4711" not in f"{credentials!s} {bridge_postgres(credentials=credentials)!r}"


def test_a_plan_is_known_only_while_its_load_runs(world: World) -> None:
    from sync_pipelines.books import publish_plan as plans

    world.add_items(3)
    world.sync()
    assert plans._plans == {}
    marker: Any = SimpleNamespace(entity=world.entity())
    with publishing("x", marker), pytest.raises(RuntimeError), publishing("x", marker):
        raise AssertionError("never reached")
    assert plans._plans == {}


def test_a_working_folder_never_outlives_its_run(world: World, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    world.add_items(3)
    world.sync()
    assert list(tmp_path.glob("sync_pipelines_*")) == []
    assert dlt.current is not None
