"""The Trino of a test session, shared by its workers, and a world whose tables are in it."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psutil
import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import STAGING_SCHEMA
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import World, by_business_key

_FOLDER = "SYNC_PIPELINES_TEST_TRINO"
START_SECONDS = 1500  # the first time, Maven fetches a gigabyte
_numbers = itertools.count(1)


@dataclass(frozen=True)
class TrinoPlace:
    """Where the session's Trino answers and keeps its files."""

    port: int
    lake: Path

    @property
    def options(self) -> dict[str, Any]:
        """Connection settings of a connector, with staging by Parquet files."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "staging_url": f"file://{self.lake}/staging",
            "staging_location": "local:///staging",
            "inline_rows": 50,
        }


def provide_trino() -> None:
    """Name the folder in which the session's Trino will be, before the workers start."""
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="sync_pipelines_trino_")
    os.environ[f"{_FOLDER}_OWNER"] = str(os.getpid())


def forget_trino() -> None:
    """Stop it, if anybody started it."""
    folder = Path(os.environ.pop(_FOLDER))
    pid_file = folder / "pid"
    if pid_file.exists() and psutil.pid_exists(pid := int(pid_file.read_text())):
        supervisor = psutil.Process(pid)
        supervisor.terminate()
        psutil.wait_procs([supervisor], timeout=40)
    shutil.rmtree(folder, ignore_errors=True)


def trino_of_session() -> TrinoPlace:
    """Start the session's Trino, or join it; TEST_TRINO=port:/lake names one that runs (`make trino`)."""
    if named := os.environ.get("TEST_TRINO"):
        port, _, lake = named.partition(":")
        return TrinoPlace(int(port), Path(lake))
    folder = Path(os.environ[_FOLDER])
    ready = folder / "ready.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _start(folder, ready)
    answer = json.loads(ready.read_text())
    if "error" in answer:
        message = f"TRINO IS NOT TESTED HERE: {answer['error']}"
        if os.environ.get("REQUIRE_TRINO"):
            pytest.fail(message)
        pytest.skip(message)
    return TrinoPlace(answer["port"], Path(answer["lake"]))


def _start(folder: Path, ready: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sync_pipelines.demo.trino_server",
        "--root",
        str(folder / "server"),
        "--quick-start",
    ]
    command += [
        "--heap-mb",
        "1024",
        "--ready-file",
        str(ready),
        "--until-pid",
        os.environ[f"{_FOLDER}_OWNER"],
    ]
    with (folder / "supervisor.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    (folder / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            ready.write_text(
                json.dumps(
                    {"error": (folder / "supervisor.log").read_text()[-2000:] or "it did not start"}
                )
            )
        time.sleep(0.1)


@dataclass
class TrinoWorld(World):
    """The same world, whose tables are in a schema of their own in Trino."""

    @classmethod
    @contextmanager
    def open_in(
        cls, database: Database, settings: Settings, place: TrinoPlace, **options: Any
    ) -> Iterator[Self]:
        """Start an empty twin and register it for Trino."""
        schema = f"erp_{os.getpid()}_{next(_numbers)}"
        reach = {**place.options, **options}
        with cls.open(
            database,
            settings,
            target_schema=schema,
            destination="trino",
            destination_settings=reach,
        ) as world:
            yield world
            world.drop_everything(schema)

    @property
    def destination(self) -> TrinoDestination:
        """The destination of the connector."""
        return TrinoDestination(self.database, get_connector(self.database, self.connector))

    @property
    def trino(self) -> Session:
        """Statements to Trino."""
        return self.destination.session

    def table(self, slug: str = "items", suffix: str = "") -> str:
        """The quoted table of an entity."""
        entity = self.entity(slug)
        return quote(self.destination.catalog, entity.target_schema, entity.target_table + suffix)

    def drop_everything(self, schema: str) -> None:
        catalog = self.destination.catalog
        if self._has(catalog, schema):
            kinds = self.trino.query(
                f"SELECT table_name, table_type FROM {catalog}.information_schema.tables WHERE"
                f" table_schema = '{schema}' ORDER BY 2 DESC"
            )
            for name, kind in kinds:
                self.trino.execute(
                    f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} {quote(catalog, schema, name)}"
                )

    def _has(self, catalog: str, schema: str) -> bool:
        return [schema] in self.trino.query(f"SHOW SCHEMAS FROM {quote(catalog)}")

    def all_rows(self, slug: str = "items", where: str = "true") -> list[dict[str, Any]]:
        """Rows as dictionaries, named and typed as PostgreSQL would show them."""
        entity = self.entity(slug)
        columns = {column.target_name.lower(): column.target_name for column in entity.columns}
        cursor = self.trino.connection().cursor()
        cursor.execute(f"SELECT * FROM {self.table(slug)} WHERE {where}")
        found = cursor.fetchall()
        names = [columns.get(one.name, one.name) for one in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in found]
        return [{**row, "_bridge_id": UUID(str(row["_bridge_id"]))} for row in rows]

    def rows(
        self, slug: str = "items", *, deleted: bool = False
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows of the target by business key; live ones unless `deleted`."""
        return by_business_key(
            self.entity(slug), self.all_rows(slug, f"_bridge_deleted = {deleted}")
        )

    def change_row(self, key: str, **values: str) -> None:
        changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
        self.trino.execute(f"UPDATE {self.table()} SET {changes} WHERE item_number = '{key}'")

    def has_table(self, slug: str = "items") -> bool:
        entity = self.entity(slug)
        catalog = self.destination.catalog
        return self._has(catalog, entity.target_schema.lower()) and [
            entity.target_table.lower()
        ] in self.trino.query(f"SHOW TABLES FROM {quote(catalog, entity.target_schema)}")

    def state(self, slug: str = "items") -> Any:
        """Everything that a sync may change: cursor, marks, row count and the whole table."""
        entity = self.entity(slug)
        rows = sorted(map(str, self.all_rows(slug))) if self.has_table(slug) else []
        return entity.position.cursor, entity.position.cursor_marks, entity.position.row_count, rows

    def snapshots(self, slug: str = "items") -> int:
        """Commits in the table's history."""
        return self.trino.number(f"SELECT count(*) FROM {self.table(slug, '$snapshots')}")

    def assert_nothing_left_behind(self, slug: str = "items") -> None:
        """As in PostgreSQL, and no staged table or file."""
        super().assert_nothing_left_behind(slug)
        name = f"e{self.entity(slug).uid.hex}"
        options = self.trino.options
        for catalog in (options.catalog, options.staging_catalog):
            if self._has(catalog, STAGING_SCHEMA):
                assert not [
                    one
                    for (one,) in self.trino.query(
                        f"SHOW TABLES FROM {quote(catalog, STAGING_SCHEMA)}"
                    )
                    if name in one
                ]
        if options.staging_url:
            folder = Path(options.staging_url.removeprefix("file://")) / name
            assert not folder.exists() or not list(folder.rglob("*.parquet"))
