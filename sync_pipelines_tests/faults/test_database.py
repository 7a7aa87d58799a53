"""Faults 30–34: what the destination does."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import TwinTable
from sync_pipelines.destinations import publish as sequence
from sync_pipelines.destinations.postgres import adapter as destination
from sync_pipelines.destinations.postgres import publish as publishing
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.errors import DatabaseRefusedError, DatabaseUnavailableError, SchemaDriftError
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.faults.helpers import configure, healed, refused, settled, tiny_disk
from sync_pipelines_tests.test_concurrency import attempt
from sync_pipelines_tests.test_lost_connections import (
    changed_items,
    run_at,
    second_session,
    terminate_all,
)
from sync_pipelines_tests.world import World, item


def acknowledged_by_nobody(
    patch: pytest.MonkeyPatch, commit: Callable[[Any], None]
) -> Callable[..., Any]:
    """The publish step, after which the next COMMIT goes through and its answer is lost."""
    publish = destination.publish

    def published(*arguments: Any, **options: Any) -> Any:
        publication = publish(*arguments, **options)
        patch.setattr(psycopg.Connection, "commit", commit)
        return publication

    return published


@contextmanager
def login(world: World, options: str, *grants: str) -> Iterator[Database]:
    """The database as another role sees it."""
    name = f"fault_{os.getpid()}"
    world.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'fault' {options}")
    try:
        for grant in grants:
            world.sql(f"{grant} {name}")
        yield Database(
            psycopg.conninfo.make_conninfo(world.database.url, user=name, password="fault")
        )
    finally:
        world.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_fault_30_connection_killed_around_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(world)
    for owner, name, after in (
        (RecordStream, "feed", False),
        (RecordStream, "finish", False),
        (destination, "publish", False),
        (sequence, "close_books", False),
        (destination, "publish", True),
    ):
        with monkeypatch.context() as patch:
            run_at(patch, owner, name, lambda: terminate_all(world), after=after)
            refused(world, DatabaseUnavailableError)
    commit = psycopg.Connection.commit

    def unacknowledged(self: psycopg.Connection[Any]) -> None:
        patch.setattr(psycopg.Connection, "commit", commit)
        commit(self)
        terminate_all(world)
        self.execute("SELECT 1")

    with monkeypatch.context() as patch:
        patch.setattr(destination, "publish", acknowledged_by_nobody(patch, unacknowledged))
        result = world.sync()
    assert result.ledger.written == 13, "COMMIT went through, so the run succeeded"
    healed(world, 0)


def test_fault_31_deadlock_or_lock_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_items(world)
    name = world.database.name
    with (
        world.session_with("-c lock_timeout=100ms"),
        second_session(world, "LOCK TABLE erp.items IN SHARE MODE"),
    ):
        refused(world, DatabaseUnavailableError, "55P03")
    world.sql(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    with second_session(
        world, "SET deadlock_timeout = '60s'", "UPDATE erp.items SET base_uom = base_uom"
    ) as other:

        def wait_for_the_run() -> None:
            other.execute("UPDATE bridge.sync_runs SET triggered_by = triggered_by")
            other.rollback()

        waiting = threading.Thread(target=wait_for_the_run)
        with monkeypatch.context() as patch:
            run_at(patch, publishing, "fence", waiting.start, after=True)
            refused(world, DatabaseUnavailableError, "40P01")
        waiting.join(30)
    healed(world)


def test_fault_32_no_connection_left(world: World) -> None:
    table = changed_items(world)
    threads = threading.active_count()
    with login(world, "CONNECTION LIMIT 1", "GRANT postgres TO") as database:
        state = world.state()
        with pytest.raises(DatabaseUnavailableError, match="too many connections"):
            sync_entity(database, "erp", "items", settings=world.settings)
        assert world.state() == state
        world.sql(f"ALTER ROLE fault_{os.getpid()} CONNECTION LIMIT 2")
        # One holds the entity, the other one does all that is done.
        assert sync_entity(database, "erp", "items", settings=world.settings).ledger.written == 13
    table.put(item(51))
    assert threading.active_count() <= threads + 1
    configure(world, max_connections=1)
    world.add_items(25, "others")
    world.server.latency_seconds = 0.05
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda slug: attempt(world, slug), ["items", "others"]))
    world.server.latency_seconds = 0
    assert [result.ledger.written for result in results] == [1, 25], (
        "they queue for the one connection"
    )
    settled(world)


def fill_the_disk(world: World, table: TwinTable) -> int:
    """Keep the table on a tiny disk until it is full; returns how many rows wait for a larger one."""
    if "TEST_POSTGRES_URL" in os.environ:
        pytest.skip("FAULT NOT TESTED: a tablespace on a tiny disk needs a server on this machine")
    space = f"tiny_{os.getpid()}"
    with tiny_disk(Path(f"/tmp/sync_pipelines_{space}"), "3m") as folder:
        owner = Path(world.sql("SHOW data_directory")[0][0]).stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        folder.chmod(0o700)
        world.sql(f"CREATE TABLESPACE {space} LOCATION '{folder}'")
        world.sql(f"ALTER TABLE erp.items SET TABLESPACE {space}")
        big = [
            item(number, item_description=os.urandom(20_000).hex()) for number in range(100, 200)
        ]
        table.put_many(big)
        refused(world, DatabaseUnavailableError, "53100")
        world.sql("ALTER TABLE erp.items SET TABLESPACE pg_default")
        world.sql(f"DROP TABLESPACE {space}")
    return len(big)


def test_fault_33_disk_full_read_only_or_missing_privilege(world: World) -> None:
    table = changed_items(world)
    state = world.state()
    with (
        world.session_with("-c default_transaction_read_only=on"),
        pytest.raises(DatabaseRefusedError, match="25006"),
    ):
        sync_entity(world.database, "erp", "items", settings=world.settings)
    assert world.state() == state
    grants = (
        "GRANT ALL ON SCHEMA bridge TO",
        "GRANT ALL ON ALL TABLES IN SCHEMA bridge TO",
        "GRANT pg_read_all_data TO",
    )
    with login(world, "", *grants) as database:
        refused(
            world,
            DatabaseRefusedError,
            "may not change erp_staging.items__records",
            "GRANT",
            database=database,
        )
    healed(world, 13 + fill_the_disk(world, table))


def test_fault_34_table_altered_or_dropped_under_a_view(world: World) -> None:
    table = changed_items(world)
    world.sql("ALTER TABLE erp.items ALTER COLUMN base_uom TYPE bytea USING base_uom::bytea")
    refused(world, SchemaDriftError, "base_uom: bytea in the table", "--accept items")
    world.sql(
        "ALTER TABLE erp.items ALTER COLUMN base_uom TYPE varchar(10) USING convert_from(base_uom, 'UTF8')"
    )
    world.sql("CREATE VIEW erp.seen AS SELECT item_number, weight_per_unit FROM erp.items")
    table.change_column("weight_per_unit", "NUMERIC(12, 4)")
    world.discover()
    world.sql(
        "ALTER TABLE erp.items ADD eighth numeric GENERATED ALWAYS AS (weight_per_unit / 8) STORED"
    )
    refused(world, DatabaseRefusedError, "generated column", "eighth")
    world.sql("ALTER TABLE erp.items DROP COLUMN eighth")
    healed(world)
    assert world.sql("SELECT count(*) FROM erp.seen") == [(26,)], "never DROP CASCADE"
    world.sql("DROP VIEW erp.seen")
    world.sql("DROP TABLE erp.items")
    refused(world, SchemaDriftError, "is gone", "--full-refresh")
    healed(world, 26, full_refresh=True)
