"""duckdb by way of dlt: what is refused beforehand, and what is left when a load or the books fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.declare.connector_file import validate
from sync_pipelines.declare.register import register_connector
from sync_pipelines.declare.source_file import parse_yaml
from sync_pipelines.destinations import publish
from sync_pipelines.destinations.anydlt.kind import DUCKDB
from sync_pipelines.destinations.registry import kind_of, open_destination
from sync_pipelines.errors import DatabaseUnavailableError, SchemaDriftError, SettingsError
from sync_pipelines.model.types import parse_type
from sync_pipelines_tests.duckdb_world import DuckdbWorld
from sync_pipelines_tests.world import item

FILE = """
name: shop
kind: rest
base_url: https://shop.example.com
destination: duckdb
destination_options: {OPTIONS}
endpoints:
  orders:
    path: /orders
    columns: [{name: id, type: text, key: true}]
"""
HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    "options",
    [{"path": "x.duckdb"}, {"credentials": 7}, {"credentials": "md:shop?motherduck_token=abc"}],
)
def test_options_that_cannot_be_used_are_refused_before_they_are_stored(
    database: Database, options: dict[str, object]
) -> None:
    with pytest.raises(SettingsError, match="credentials"):
        register_connector(
            database,
            "erp",
            "http://127.0.0.1:1",
            destination="duckdb",
            destination_settings=options,
        )


def test_a_connector_without_credentials_says_what_to_type(database: Database) -> None:
    connector = register_connector(database, "erp", "http://127.0.0.1:1", destination="duckdb")
    with pytest.raises(SettingsError, match="no credentials"):
        kind_of("duckdb").open(database, connector)


def test_credentials_may_be_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE", "/data/warehouse.duckdb")
    assert DUCKDB.credentials({"credentials": "env:WAREHOUSE"}) == "/data/warehouse.duckdb"
    assert [address.name for address in DUCKDB.addresses({"credentials": "env:WAREHOUSE"}, [])] == [
        "env:WAREHOUSE"
    ]


def test_a_connector_file_names_destination_and_options() -> None:
    def read(options: str) -> object:
        file = parse_yaml(FILE.replace("OPTIONS", options).encode(), "shop.yaml")
        return validate(file.data, file).reach

    assert read("credentials: warehouse.duckdb") == {"credentials": "warehouse.duckdb"}
    with pytest.raises(
        SettingsError, match=r"shop.yaml:6: destination_options.credential.*credentials"
    ):
        read("credential: warehouse.duckdb")


@pytest.mark.parametrize(
    ("declared", "stored"),
    [
        ("NUMERIC(10, 3)", "numeric(10,3)"),
        ("NUMERIC", "varchar"),
        ("VARCHAR(5)", "varchar"),
        ("JSON", "varchar"),
    ],
)
def test_types_are_those_that_dlt_makes(declared: str, stored: str) -> None:
    assert kind_of("duckdb").column_type(parse_type(declared)) == stored


def test_rows_without_their_books_are_found_unchanged_by_the_next_run(
    duckdb_world: DuckdbWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = duckdb_world.add_items(12)
    duckdb_world.sync()
    table.put(item(3, base_uom="KG"))
    before = duckdb_world.entity()
    with monkeypatch.context() as patch:
        patch.setattr(
            publish,
            "close_books",
            lambda *_: (_ for _ in ()).throw(DatabaseUnavailableError("it is gone")),
        )
        with pytest.raises(DatabaseUnavailableError):
            duckdb_world.sync()
    assert duckdb_world.rows()[("A00003",)]["base_uom"] == "KG"
    assert (duckdb_world.entity().position.cursor, duckdb_world.entity().position.row_count) == (
        before.position.cursor,
        before.position.row_count,
    )
    assert duckdb_world.sync().ledger.written == 0
    duckdb_world.assert_equal_to_truth()


def test_a_file_that_another_process_has_open_is_a_passing_trouble(
    duckdb_world: DuckdbWorld,
) -> None:
    duckdb_world.add_items(2)
    duckdb_world.sync()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(duckdb_world.file)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(DatabaseUnavailableError):
            duckdb_world.sync()
        holder.kill()
    assert duckdb_world.sync().ledger.written == 0


def test_a_table_that_somebody_else_made_is_left_alone(
    duckdb_world: DuckdbWorld, tmp_path: Path
) -> None:
    duckdb_world.add_items(2)
    with duckdb.connect(str(duckdb_world.file)) as connection:
        connection.execute("CREATE SCHEMA erp; CREATE TABLE erp.items (item_number varchar)")
    with pytest.raises(SchemaDriftError, match="not ours"):
        duckdb_world.sync()


def test_a_table_that_is_set_aside_twice_a_day_gets_a_number(duckdb_world: DuckdbWorld) -> None:
    duckdb_world.add_items(2)
    names = []
    for _ in range(2):
        duckdb_world.sync(full_refresh=True)
        entity = duckdb_world.entity()
        connector = get_connector(duckdb_world.database, entity.connector)
        destination = open_destination(duckdb_world.database, connector, entity)
        names.append(destination.set_aside(entity, "today"))
    assert names == ["erp.items__today", "erp.items__today_2"]
