"""What `import sync_pipelines` promises: these names, cheaply, and callable."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sync_pipelines
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.world import World

PUBLIC = {"Connector", "Entity", "SyncError", "__version__", "discover", "dlt_source", "sync"}


def test_these_names_are_public_and_no_others() -> None:
    assert set(sync_pipelines.__all__) == PUBLIC
    assert sync_pipelines.__all__ == sorted(sync_pipelines.__all__)
    assert set(dir(sync_pipelines)) >= PUBLIC


def test_no_room_of_the_package_hides_a_public_name() -> None:
    code = (
        "import pkgutil, sync_pipelines, sync_pipelines.cli.main\n"
        "rooms = {room.name for room in pkgutil.iter_modules(sync_pipelines.__path__)}\n"
        "assert not rooms & set(sync_pipelines.__all__), rooms & set(sync_pipelines.__all__)\n"
        "assert callable(sync_pipelines.sync) and callable(sync_pipelines.discover)\n"
        "assert callable(sync_pipelines.sync) and callable(sync_pipelines.discover)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    code = (
        "import sys; before = set(sys.modules); import sync_pipelines\n"
        "more = {name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names}\n"
        "assert more == {'sync_pipelines'}, more"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        sync_pipelines.nonsense  # noqa: B018


def test_a_program_discovers_and_syncs(world: World, environment: dict[str, str]) -> None:
    world.add_items(12)
    assert "items" in sync_pipelines.discover("erp").unchanged
    run = sync_pipelines.sync("erp", "items")
    assert (run.status, run.ledger.inserted) == (RunStatus.SUCCESS, 12)
    world.assert_equal_to_truth()
    with pytest.raises(sync_pipelines.SyncError):
        sync_pipelines.sync("erp", "nothing_of_that_name")
