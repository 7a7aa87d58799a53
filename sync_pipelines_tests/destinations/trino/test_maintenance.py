"""Maintenance: what is due is decided by counts, and fifty merges leave no more behind than one."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.runs import hold_entity
from sync_pipelines.demo.twin import IntegerRowversions
from sync_pipelines.destinations.kind import Condition
from sync_pipelines.destinations.trino.maintenance import (
    maintain_entity,
    plan_steps,
    read_condition,
)
from sync_pipelines.destinations.trino.options import TrinoSettings
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.errors import EntityBusyError
from sync_pipelines_tests.trino import TrinoWorld
from sync_pipelines_tests.world import item

SETTINGS = TrinoSettings(
    _env_file=None,
    maintenance_max_small_files=6,
    maintenance_max_snapshots=8,
    maintenance_retention="0s",
)


@pytest.mark.parametrize(
    ("condition", "steps"),
    [
        (Condition(6, 6, 7), ()),
        (Condition(7, 0, 1), ("optimize",)),
        (Condition(0, 7, 1), ("optimize",)),
        (Condition(0, 0, 9), ("expire_snapshots", "remove_orphan_files")),
        (Condition(7, 7, 8), ("optimize", "expire_snapshots", "remove_orphan_files")),
    ],
)
def test_only_what_is_due_is_done(condition: Condition, steps: tuple[str, ...]) -> None:
    assert plan_steps(condition, SETTINGS) == steps


@pytest.mark.timeout(900)
def test_fifty_merges_do_not_make_the_table_grow_in_files_or_snapshots(
    trino_world: TrinoWorld,
) -> None:
    table = trino_world.add_items(60, rowversions=IntegerRowversions(1), comparator="integer")
    trino_world.set(lookback_seconds=0)
    trino_world.sync()
    place = Place(trino_world.trino, "iceberg", trino_world.entity())
    worst = 0
    for number in range(50):
        table.put(item(number, base_uom="KG"))
        assert trino_world.sync().ledger.updated == 1
        if number % 5 == 4:
            condition = read_condition(place, SETTINGS)
            worst = max(worst, condition.small_files + condition.delete_files)
            upkeep = maintain_entity(trino_world.database, "erp", "items", settings=SETTINGS)
            assert upkeep is not None
    assert worst <= 2 * (SETTINGS.maintenance_max_small_files + 5)
    after = read_condition(place, SETTINGS)
    assert after.small_files <= SETTINGS.maintenance_max_small_files
    assert after.delete_files <= SETTINGS.maintenance_max_small_files
    assert after.snapshots <= SETTINGS.maintenance_max_snapshots
    trino_world.assert_equal_to_truth()
    table.put(item(3, base_uom="L"))
    assert trino_world.sync().ledger.updated == 1
    trino_world.assert_equal_to_truth()


def test_a_table_that_is_being_synced_is_left_alone(trino_world: TrinoWorld) -> None:
    trino_world.add_items(3)
    trino_world.sync()
    with hold_entity(trino_world.database, trino_world.entity(), 1), pytest.raises(EntityBusyError):
        maintain_entity(trino_world.database, "erp", "items", wait_seconds=0.1, settings=SETTINGS)


def test_an_entity_without_a_table_yet_has_nothing_to_maintain(trino_world: TrinoWorld) -> None:
    trino_world.add_items(3)
    assert maintain_entity(trino_world.database, "erp", "items", settings=SETTINGS) is None
