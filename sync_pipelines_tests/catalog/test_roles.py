"""Owner, loader and reader may do what their names say, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.roles import PURPOSES, ensure_roles, role_name
from sync_pipelines.demo.twin import TwinColumn
from sync_pipelines.destinations.postgres.ahead import add_columns_ahead
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines_tests.world import World, item


@pytest.fixture
def logins(world: World) -> Iterator[dict[str, Database]]:
    """A login in each role, once a table is there."""
    owner = world.database
    world.add_items(3)
    world.sync()
    assert (
        ensure_roles(world.database)
        == ensure_roles(world.database)
        == tuple(role_name("bridge", purpose) for purpose in PURPOSES)
    )
    names = {purpose: f"{purpose}_{world.database.name}" for purpose in PURPOSES}
    for purpose, name in names.items():
        world.sql(f"CREATE ROLE {name} LOGIN; GRANT {role_name('bridge', purpose)} TO {name}")
    yield {
        purpose: Database(psycopg.conninfo.make_conninfo(world.database.url, user=name))
        for purpose, name in names.items()
    }
    world.database = owner
    for name in names.values():
        world.sql(
            f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
        )


def refuses(database: Database, statement: str) -> bool:
    """Whether the role may not."""
    with psycopg.connect(database.url) as connection:
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def test_the_loader_syncs_into_tables_that_are_there_and_makes_none(
    world: World, logins: dict[str, Database]
) -> None:
    owner, world.database = world.database, logins["loader"]
    world.store["items"].put(item(3))
    world.store["items"].put(item(0, base_uom="KG"))
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.updated) == (1, 1)
    assert world.sync(full_refresh=True).ledger.unchanged == 4
    world.assert_equal_to_truth()
    world.database = owner
    assert refuses(logins["loader"], "CREATE TABLE erp.other (x int)")
    assert refuses(logins["loader"], "ALTER TABLE erp.items ADD x int")
    assert refuses(logins["loader"], "DROP TABLE erp.items")


def test_the_reader_reads_tables_and_neither_writes_nor_sees_the_catalog(
    world: World, logins: dict[str, Database]
) -> None:
    reader = logins["reader"]
    assert not refuses(reader, "SELECT count(*) FROM erp.items")
    assert refuses(reader, "DELETE FROM erp.items")
    assert refuses(reader, "SELECT * FROM bridge.quarantine")
    world.add_items(1, slug="later")
    world.sync("later")
    assert not refuses(reader, "SELECT count(*) FROM erp.later"), "tables to come, too"


def test_the_loader_reads_who_may_change_a_table_and_the_rest_of_its_life_goes_on(
    world: World, logins: dict[str, Database]
) -> None:
    owner, loader, table = world.database, logins["loader"], world.store["items"]
    user = f"loader_{owner.name}"
    world.database = loader
    table.put_raw(("A00000",), b'{"item_number": "A00000", "base_uom": 7}')
    result = world.sync()
    assert result.ledger.quarantined == 1
    assert any(
        f"the role {user} may not add the column to erp.items; next: sync-pipelines migrate"
        in warning
        for warning in result.warnings
    )
    world.database = owner
    assert add_columns_ahead(owner) == ["erp.items"]
    assert add_columns_ahead(owner) == []
    assert world.sql("SELECT count(*) FROM erp.items WHERE _bridge_rejected_at IS NOT NULL") == [
        (1,)
    ], "what was rejected before, too"
    world.database = loader
    table.put_raw(("A00001",), b'{"item_number": "A00001", "base_uom": 7}')
    table.put(item(0))
    result = world.sync()
    assert (result.ledger.quarantined, result.warnings) == (1, ())
    assert world.sql("SELECT item_number FROM erp.items WHERE _bridge_rejected_at IS NOT NULL") == [
        ("A00001",)
    ]
    table.delete(("A00002",))
    assert world.sync(full_refresh=True, accept_vanished=True).ledger.deleted == 1


def test_the_loader_names_the_owner_where_a_column_is_added_or_widened_and_follows_what_the_owner_did(
    world: World, logins: dict[str, Database]
) -> None:
    owner, loader, table = world.database, logins["loader"], world.store["items"]
    table.columns.append(TwinColumn("colour", "TEXT"))
    table.put(item(3, colour="red"))
    world.database = loader
    world.discover()
    error = world.fails(DatabaseRefusedError)
    assert f"loader_{owner.name} may not change erp.items" in error.what
    assert "add colour text" in error.what
    assert "sync-pipelines sync erp/items with POSTGRES_USER=" in error.next_command
    world.database = owner
    assert world.sync().ledger.fetched >= 1
    world.database = loader
    table.put(item(4, colour="blue"))
    assert world.sync().ledger.inserted == 1
    world.database = owner
    assert world.sync(full_refresh=True).ledger.unchanged == 5, (
        "in staging tables that the loader made"
    )
    world.assert_equal_to_truth()
