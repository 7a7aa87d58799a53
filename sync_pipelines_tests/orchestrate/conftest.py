"""Definitions of the test's own catalog."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import dagster as dg
import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.orchestrate.location import build_definitions
from sync_pipelines.settings import Settings
from sync_pipelines_tests.conftest import with_database
from sync_pipelines_tests.orchestrate.processes import RunningDagster, start_dagster
from sync_pipelines_tests.world import TOKEN, World

_modules = itertools.count(1)


@pytest.fixture
def definitions(environment: dict[str, str]) -> Callable[[], dg.Definitions]:
    """Load the definitions afresh, as a new process would."""
    return build_definitions


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in a folder, for all tests of a module."""
    folder = str(tmp_path_factory.mktemp("instance"))
    with dg.DagsterInstance.local_temp(folder) as instance:
        yield instance


@pytest.fixture(scope="module")
def module_world(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A world of its own for all tests of a module, because processes take long to start."""
    name = f"sync_module_{os.getpid()}_{next(_modules)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    settings = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("home"),
        max_page_size=10,
        entity_wait_seconds=0.2,
        api_tries=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIN_TOKEN", TOKEN)
        with World.open(Database(with_database(server_url, name)), settings) as world:
            yield world
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def running_dagster(module_world: World) -> Iterator[RunningDagster]:
    """Code server, web server and daemon as processes on PostgreSQL storage; one for all tests of a module."""
    with start_dagster(module_world) as dagster:
        yield dagster
