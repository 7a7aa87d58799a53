"""Every declared type in Iceberg holds the value that PostgreSQL holds, whichever way it came into Trino."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import change_destination
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.model.types import Kind
from sync_pipelines.settings import Settings
from sync_pipelines_tests.test_types import CASES, typed_table
from sync_pipelines_tests.trino import TrinoPlace, TrinoWorld
from sync_pipelines_tests.world import World

WAYS = {
    "inside the statement": {"inline_rows": 100},
    "as Parquet files": {"inline_rows": 0},
    "by statements, without a place for files": {"inline_rows": 0, "staging_url": None},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_type_holds_what_postgresql_holds(
    database: Database, settings: Settings, trino_place: TrinoPlace, way: str
) -> None:
    with TrinoWorld.open_in(database, settings, trino_place, **WAYS[way]) as world:
        world.add(typed_table())
        assert world.sync("typed").ledger.inserted == 5
        stored = world.rows("typed")
        again = world.sync("typed", full_refresh=True)
        assert (again.ledger.unchanged, again.ledger.written) == (5, 0)
        world.assert_nothing_left_behind("typed")
        change_destination(world.database, world.entity("typed"), "postgres")
        world.sync("typed")
        expected = World.rows(world, "typed")
        kinds = {column.target_name: column.type for column in world.entity("typed").columns}
    for key, row in expected.items():
        for name, kind in kinds.items():
            assert image(stored[key][name], kind) == row[name], (key, name, kind)


def image(value: Any, column_type: Any) -> Any:
    """A value of Trino as psycopg would give it."""
    if value is None:
        return None
    if column_type.is_number_text:
        return Decimal(value)
    match column_type.kind:
        case Kind.JSON:
            return json.loads(value)
        case Kind.UUID:
            return UUID(str(value))
    return value


def test_columns_have_the_narrowest_exact_type_of_iceberg(trino_world: TrinoWorld) -> None:
    trino_world.add(typed_table())
    trino_world.sync("typed")
    entity = trino_world.entity("typed")
    types = Place(trino_world.trino, "iceberg", entity).columns()
    shown = {CASES[place][0]: types[f"v{place}"] for place in range(len(CASES))}
    assert shown["NUMBER(10,3)"] == "decimal(10,3)"
    assert (
        shown["NUMERIC(60,10)"]
        == shown["NUMBER"]
        == shown["JSONB"]
        == shown["VARCHAR(50)"]
        == "varchar"
    )
    assert (shown["SMALLINT"], shown["BIGINT"], shown["REAL"]) == ("integer", "bigint", "real")
    assert shown["TIMESTAMP WITH TIME ZONE"] == "timestamp(6) with time zone"
    assert (shown["TIME"], shown["UUID"], shown["RAW(4)"], shown["DATE"]) == (
        "time(6)",
        "uuid",
        "varbinary",
        "date",
    )
