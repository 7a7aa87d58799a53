"""Definitions of the test's own catalog, in this process and for child processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.orchestrate.location import build_definitions
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.world import World

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def environment(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
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


@pytest.fixture
def definitions(environment: dict[str, str]) -> Callable[[], dg.Definitions]:
    """Load the definitions afresh, as a new process would."""
    return build_definitions
