"""The publish step in PostgreSQL: one connection, one transaction, and nothing on disk that nobody reads."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import sync_pipelines
from sync_pipelines.catalog.pool import Session
from sync_pipelines.demo.twin import IntegerRowversions
from sync_pipelines.destinations import spool as spooling
from sync_pipelines.destinations import spools
from sync_pipelines.destinations.postgres import adapter
from sync_pipelines.errors import SupersededRunError
from sync_pipelines_tests.world import World, item

PRODUCT = Path(sync_pipelines.__file__).parent


def imports_of(path: Path) -> set[str]:
    """First names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_one_driver_reaches_postgresql_and_no_destination_loads_through_dlt() -> None:
    files = list(PRODUCT.rglob("*.py"))
    assert [path for path in files if "psycopg2" in imports_of(path)] == []
    ours = [
        path
        for folder in ("destinations/postgres", "destinations/trino", "books")
        for path in (PRODUCT / folder).rglob("*.py")
    ]
    assert len(ours) > 30
    assert [path for path in ours if "dlt" in imports_of(path)] == []


def test_nobody_sees_rows_ledger_or_cursor_before_all_of_them_are_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    world.sync()
    for number in range(25, 30):
        table.put(item(number))
    before, seen, publish = world.state(), [], adapter.publish

    def looked_at(*arguments: Any, **options: Any) -> Any:
        publication = publish(*arguments, **options)
        seen.append(world.state())
        return publication

    monkeypatch.setattr(adapter, "publish", looked_at)
    assert world.sync().ledger.inserted == 5
    assert seen == [before]
    assert world.state() != before


def test_a_new_staging_schema_holds_our_two_unlogged_tables_and_nothing_else(world: World) -> None:
    world.add_items(3)
    world.sync()
    world.sync(full_refresh=True)
    tables = world.sql(
        "SELECT relname, relpersistence::text FROM pg_class"
        " WHERE relnamespace = 'erp_staging'::regnamespace AND relkind = 'r' ORDER BY relname"
    )
    assert tables == [("items__records", "u"), ("items__rejects", "u")]
    columns = world.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'erp_staging.items__records'::regclass"
        " AND attnum > 0 ORDER BY attnum"
    )
    assert [name for (name,) in columns] == [
        "arrival",
        "rowversion",
        "hash",
        "c0",
        "c1",
        "c2",
        "c3",
    ]


def test_tables_that_dlt_left_in_a_staging_schema_are_left_alone(world: World) -> None:
    world.add_items(3)
    world.sql("CREATE SCHEMA erp_staging; CREATE TABLE erp_staging._dlt_loads (load_id text)")
    world.sync()
    assert world.sql("SELECT count(*) FROM erp_staging._dlt_loads") == [(0,)]


def test_a_run_that_is_published_cannot_be_published_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(3)
    publish = adapter.PostgresDestination.publish
    again: list[BaseException] = []

    def twice(self: Any, *arguments: Any) -> Any:
        publication = publish(self, *arguments)
        with pytest.raises(SupersededRunError) as caught:
            publish(self, *arguments)
        again.append(caught.value)
        return publication

    monkeypatch.setattr(adapter.PostgresDestination, "publish", twice)
    assert world.sync().ledger.inserted == 3
    assert len(again) == 1
    assert len(world.rows()) == 3
    world.assert_equal_to_truth()


@pytest.mark.parametrize(("memory_bytes", "folders"), [(spooling.MEMORY_BYTES, 0), (0, 1)])
def test_a_working_folder_is_made_only_for_what_does_not_fit_into_memory(
    world: World, monkeypatch: pytest.MonkeyPatch, memory_bytes: int, folders: int
) -> None:
    made: list[Path] = []
    working_folder = spools.working_folder

    def noted(home: Path) -> Any:
        made.append(home)
        return working_folder(home)

    monkeypatch.setattr(spools, "working_folder", noted)
    monkeypatch.setattr(spooling, "MEMORY_BYTES", memory_bytes)
    world.add_items(25)
    assert world.sync().ledger.inserted == 25
    assert len(made) == folders
    assert list((world.settings.home / spools.FOLDER).glob("run_*")) == []
    world.assert_equal_to_truth()


def test_a_run_that_changes_rows_opens_a_connection_for_its_lock_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    world.sync()
    table.put(item(3, base_uom="KG"))
    opened: list[str] = []
    connect = Session.connect

    def noted(conninfo: str = "", **options: Any) -> Any:
        opened.append(conninfo)
        return connect(conninfo, **options)

    monkeypatch.setattr(Session, "connect", noted)
    assert world.sync().ledger.updated == 1
    assert len(opened) == 1
