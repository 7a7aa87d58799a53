"""Names: Trino folds case, which must not mix two tables; odd ones come through or are refused."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin import TwinColumn, TwinTable
from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines_tests.trino import TrinoWorld

KEY = TwinColumn("id", "INTEGER", is_nullable=False, is_business_key=True)


def test_a_table_name_that_trino_cannot_hold_is_refused(trino_world: TrinoWorld) -> None:
    trino_world.add(TwinTable("odd", columns=(KEY,))).put({"id": 1})
    trino_world.set("odd", target_table="odd$snapshots")
    with pytest.raises(EntityDefinitionError, match="cannot hold"):
        trino_world.sync("odd")


def test_two_entities_never_share_a_folded_table(trino_world: TrinoWorld) -> None:
    for slug in ("odd", "other"):
        trino_world.add(TwinTable(slug, columns=(KEY,))).put({"id": 1})
    trino_world.set("other", target_table="ODD")
    trino_world.sync("odd")
    with pytest.raises(EntityDefinitionError, match="erp/odd"):
        trino_world.sync("other")


def test_odd_column_names_and_values_come_through(trino_world: TrinoWorld) -> None:
    names = ["order", "Größe (mm)", 'quo"te', "it's", "100%", "select", "a b", "?"]
    table = trino_world.add(
        TwinTable("odd", columns=(KEY, *(TwinColumn(name, "TEXT") for name in names)))
    )
    for number in range(60):
        table.put({"id": number, **{name: f"{name} ' \" \\ % ? -- {number}" for name in names}})
    trino_world.sync("odd")
    table.put({"id": 3, **dict.fromkeys(names, "'); DROP TABLE x; --")})
    assert trino_world.sync("odd").ledger.updated == 1
    trino_world.assert_equal_to_truth("odd")
