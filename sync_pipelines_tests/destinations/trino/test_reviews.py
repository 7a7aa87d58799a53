"""Reviews of a table in Trino: the flag is a column there, the list is in the control database, and both agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.twin import TwinColumn, TwinTable
from sync_pipelines.errors import NotFoundError, SchemaDriftError
from sync_pipelines.gate.files import build_gate
from sync_pipelines.gate.opened import OpenedGate, open_gate
from sync_pipelines.runs.gate_report import explain_record, find_record, shadow
from sync_pipelines.runs.reviews import accept_review, list_reviews
from sync_pipelines.settings import Settings
from sync_pipelines_tests.test_gate_route import RULES, WHO, flags, put_gate
from sync_pipelines_tests.test_types import typed_table
from sync_pipelines_tests.trino import TrinoPlace, TrinoWorld
from sync_pipelines_tests.world import World, item

WHY = "Rule known_unit: base_uom: isin(allowed_values=['PCS', 'KG'])."


@pytest.fixture
def hive_world(
    database: Database, settings: Settings, trino_place: TrinoPlace
) -> Iterator[TrinoWorld]:
    with TrinoWorld.open_in(database, settings, trino_place, catalog="hive") as opened:
        yield opened


def open_keys(world: TrinoWorld) -> set[str]:
    return {row["business_key"][0] for row in list_reviews(world.database, limit=1000)}


def flagged(world: TrinoWorld) -> set[str]:
    return {key for key, flag in flags(world).items() if flag}


@pytest.mark.parametrize("kind", ["trino_world", "hive_world"])
def test_a_load_by_files_flags_lists_accepts_and_settles(
    request: pytest.FixtureRequest, kind: str
) -> None:
    world: TrinoWorld = request.getfixturevalue(kind)
    table = world.add_items(0)
    put_gate(world)
    for number in range(120):
        table.put(item(number, weight_per_unit=2, base_uom="BOX" if number % 3 == 0 else "KG"))
    result = world.sync()
    assert (result.gate["reviewed"], result.ledger.inserted) == (40, 120)
    assert flagged(world) == open_keys(world) == {f"A{number:05d}" for number in range(0, 120, 3)}
    for row in list_reviews(world.database, limit=1000)[:2]:
        accept_review(world.database, row["uid"], **WHO)
    assert len(open_keys(world)) == 38
    assert flagged(world) == open_keys(world)
    for number in (0, 3):
        table.put(item(number, weight_per_unit=2, base_uom="KG"))
    table.put(item(1, weight_per_unit=2, base_uom="BOX"))
    again = world.sync(full_refresh=True)
    assert again.ledger.unchanged == 117
    assert flagged(world) == open_keys(world)
    assert {"A00000", "A00003"}.isdisjoint(open_keys(world))
    assert "A00001" in open_keys(world)
    assert world.sync(full_refresh=True).ledger.written == 0
    assert world.runs()[0]["details"]["reviewed"] == len(open_keys(world))
    world.assert_equal_to_truth()
    world.assert_nothing_left_behind()


def test_a_small_delta_of_flagged_rows_that_stand_already_makes_no_snapshot(
    trino_world: TrinoWorld,
) -> None:
    table = trino_world.add_items(0)
    put_gate(trino_world)
    for number in range(3):
        table.put(item(number, weight_per_unit=2, base_uom="BOX"))
    trino_world.sync()
    before = trino_world.snapshots()
    accept_review(trino_world.database, list_reviews(trino_world.database)[0]["uid"], **WHO)
    assert trino_world.snapshots() == before + 1
    assert trino_world.sync().ledger.written == 0
    assert trino_world.snapshots() == before + 1


def test_a_list_that_was_lost_between_commit_and_books_is_made_good_by_the_next_run(
    trino_world: TrinoWorld,
) -> None:
    table = trino_world.add_items(0)
    put_gate(trino_world)
    for number in range(3):
        table.put(item(number, weight_per_unit=2, base_uom="BOX"))
    trino_world.sync()
    before, keys = trino_world.snapshots(), open_keys(trino_world)
    trino_world.sql("DELETE FROM bridge.reviews")
    trino_world.set(last_rowversion=None, full_refresh_pending=False)
    assert trino_world.sync().ledger.written == 0
    assert (open_keys(trino_world), trino_world.snapshots()) == (keys, before)
    trino_world.sql("DELETE FROM bridge.reviews WHERE business_key = '[\"A00002\"]'")
    assert trino_world.sync().mode == "delta"
    assert (open_keys(trino_world), trino_world.snapshots()) == (keys, before)


def test_a_gate_that_comes_later_adds_its_column_to_rows_that_are_there(
    hive_world: TrinoWorld,
) -> None:
    table = hive_world.add_items(0)
    for number in range(60):
        table.put(item(number, weight_per_unit=2, base_uom="BOX"))
    hive_world.sync()
    put_gate(hive_world)
    assert "add _bridge_review" in hive_world.sync(full_refresh=True).table_changes
    assert len(flagged(hive_world)) == 60
    assert flagged(hive_world) == open_keys(hive_world)


def test_a_table_of_the_hive_connector_is_not_masked_afterwards(hive_world: TrinoWorld) -> None:
    hive_world.add_items(2)
    hive_world.sync()
    put_gate(hive_world, "masks: {item_description: redact}")
    assert "cannot be masked" in str(hive_world.fails(SchemaDriftError))
    assert hive_world.entity().position.stored_masks == {}
    (hive_world.settings.gates / "erp" / "items.yaml").unlink()
    assert hive_world.sync().ledger.written == 0


def test_a_moment_as_key_is_found_again(trino_world: TrinoWorld) -> None:
    columns = (
        TwinColumn("at", "TIMESTAMPTZ", is_nullable=False, is_business_key=True),
        TwinColumn("stock", "BIGINT"),
    )
    table = trino_world.add(TwinTable("items", columns=columns))
    table.put({"at": "2024-05-01T10:00:00+02:00", "stock": -1})
    put_gate(
        trino_world,
        "rules: [{name: in_stock, column: stock, check: ge, arguments: {min_value: 0}, severity: review}]",
    )
    trino_world.sync()
    (review,) = list_reviews(trino_world.database)
    accept_review(trino_world.database, review["uid"], **WHO)
    assert [row["_bridge_review"] for row in trino_world.rows().values()] == [None]
    trino_world.sync(full_refresh=True)
    assert list_reviews(trino_world.database) == []


def test_explain_and_shadow_read_a_table_in_trino(trino_world: TrinoWorld) -> None:
    table = trino_world.add_items(0)
    put_gate(trino_world)
    for number in range(60):
        table.put(item(number, weight_per_unit=2, base_uom="BOX" if number < 5 else "KG"))
    table.put(item(99, weight_per_unit=0.5))
    trino_world.sync()
    entity = trino_world.entity()
    opened = open_gate(trino_world.settings.gates, entity)
    assert opened is not None
    explained = explain_record(opened, *find_record(trino_world.database, entity, "A00003"))
    assert (explained.verdict, explained.reason) == ("review", WHY)
    with pytest.raises(NotFoundError):
        find_record(trino_world.database, entity, "nobody")
    put_gate(trino_world, RULES.replace("severity: review", "severity: reject"), slug="other")
    gate, _ = build_gate(trino_world.settings.gates / "erp" / "other.yaml", entity)
    report = shadow(trino_world.database, entity, OpenedGate(entity, gate, None))
    assert dict(report.moved) == {
        ("pass", "pass"): 55,
        ("review", "reject"): 5,
        ("reject", "reject"): 1,
    }


@pytest.mark.parametrize("kind", ["world", "trino_world", "hive_world"])
def test_rows_of_every_type_can_be_judged_again(request: pytest.FixtureRequest, kind: str) -> None:
    world: World = request.getfixturevalue(kind)
    world.add(typed_table())
    world.sync("typed")
    entity = world.entity("typed")
    put_gate(
        world,
        "rules: [{name: any, expression: "
        + " AND ".join(
            f'("{one.name}" IS NULL OR "{one.name}" = "{one.name}")' for one in entity.columns
        )
        + "}]",
        slug="typed",
    )
    opened = open_gate(world.settings.gates, entity)
    assert opened is not None
    assert dict(shadow(world.database, entity, opened).moved) == {("pass", "pass"): 5}
