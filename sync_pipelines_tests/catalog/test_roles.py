"""Owner, loader and reader may do what their names say, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.roles import PURPOSES, ensure_roles, role_name
from sync_pipelines_tests.world import World, item


@pytest.fixture
def logins(world: World) -> Iterator[dict[str, Database]]:
    """A login in each role, once a table is there."""
    world.add_items(3)
    world.sync()
    assert ensure_roles(world.database) == ensure_roles(world.database) == tuple(role_name("bridge", purpose) for purpose in PURPOSES)
    names = {purpose: f"{purpose}_{world.database.name}" for purpose in PURPOSES}
    for purpose, name in names.items():
        world.sql(f"CREATE ROLE {name} LOGIN; GRANT {role_name('bridge', purpose)} TO {name}")
    yield {purpose: Database(psycopg.conninfo.make_conninfo(world.database.url, user=name)) for purpose, name in names.items()}
    for name in names.values():
        world.sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


def refuses(database: Database, statement: str) -> bool:
    """Whether the role may not."""
    with psycopg.connect(database.url) as connection:
        try:
            connection.execute(statement)  # type: ignore[arg-type]
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def test_the_loader_syncs_into_tables_that_are_there_and_makes_none(world: World, logins: dict[str, Database]) -> None:
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


def test_the_reader_reads_tables_and_neither_writes_nor_sees_the_catalog(world: World, logins: dict[str, Database]) -> None:
    reader = logins["reader"]
    assert not refuses(reader, "SELECT count(*) FROM erp.items")
    assert refuses(reader, "DELETE FROM erp.items")
    assert refuses(reader, "SELECT * FROM bridge.quarantine")
    world.add_items(1, slug="later")
    world.sync("later")
    assert not refuses(reader, "SELECT count(*) FROM erp.later"), "tables to come, too"
