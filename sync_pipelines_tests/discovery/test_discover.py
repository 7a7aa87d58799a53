"""Discovery through a real twin: what comes, changes, goes and comes back; nothing is ever dropped."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.demo.twin import Fault, TwinColumn, TwinTable
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    ConfigurationError,
    NotFoundError,
    SchemaDriftError,
    SourceContractError,
    SourceUnreachableError,
    SyncError,
)
from sync_pipelines.model.entity import Entity, EntityStatus
from sync_pipelines_tests.world import World, item


def other_table(slug: str = "other", data_type: str = "INTEGER") -> TwinTable:
    return TwinTable(slug, columns=(TwinColumn("id", data_type, is_business_key=True),))


def catalog(world: World) -> dict[str, Entity]:
    return {entity.slug: entity for entity in list_entities(world.database, "erp")}


def test_what_is_new_is_added_once(world: World) -> None:
    world.add_items()
    world.store.add(other_table())
    report = world.discover()
    assert (report.added, report.unchanged) == (["other"], ["items"])
    again = world.discover()
    assert (again.added, sorted(again.unchanged), again.needs_action) == (
        [],
        ["items", "other"],
        False,
    )


def test_a_harmless_change_is_followed_and_reads_everything_again(world: World) -> None:
    table = world.add_items(3)
    world.sync()
    cursor = world.entity().position.cursor
    table.add_column(TwinColumn("colour", "TEXT"), "red")
    assert world.discover().changed == {"items": "column colour text is added"}
    assert world.entity().position.full_refresh_pending
    assert world.entity().position.cursor == cursor
    world.sync()
    world.assert_equal_to_truth()


def test_a_breaking_change_stops_the_entity_until_it_is_accepted(world: World) -> None:
    table = world.add_items(3)
    world.sync()
    table.change_column("item_description", "VARCHAR(5)", convert=lambda text: text[:5])
    report = world.discover()
    assert report.needs_action
    assert "text to character varying(5) (not wider)" in report.stopped["items"]
    assert world.entity().status is EntityStatus.ACTION_REQUIRED
    with pytest.raises(SchemaDriftError, match="--accept items"):
        world.sync()
    assert len(world.rows()) == 3

    report = world.discover("items")
    kept = report.set_aside["items"]
    assert world.entity().status is EntityStatus.ACTIVE
    assert world.sql(f"SELECT count(*) FROM {kept}") == [(3,)]
    world.sync()
    world.assert_equal_to_truth()


def test_a_breaking_change_that_is_taken_back_is_forgotten(world: World) -> None:
    table = world.add_items(3)
    world.sync()
    table.change_column("item_description", "DATE")
    world.discover()
    table.change_column("item_description", "TEXT")
    assert world.discover().stopped == {}
    assert world.entity().status is EntityStatus.ACTIVE
    world.sync()
    world.assert_equal_to_truth()


def test_what_vanishes_is_kept_and_what_returns_goes_on(world: World) -> None:
    table = world.add_items(3)
    world.store.add(other_table())
    world.discover()
    world.sync()
    world.store.remove("items")
    assert world.discover().vanished == ["items"]
    assert world.discover().vanished == []
    assert len(world.rows()) == 3
    with pytest.raises(ConfigurationError, match="does not list items any more"):
        world.sync()
    world.store.add(table)
    assert world.discover().returned == ["items"]
    table.put(item(99))
    world.sync()
    world.assert_equal_to_truth()


def test_an_empty_list_is_taken_for_a_fault(world: World) -> None:
    table = world.add_items(3)
    before = catalog(world)
    world.store.remove("items")
    with pytest.raises(
        SourceContractError, match="lists no usable API at all, but the catalog has 1"
    ):
        world.discover()
    assert catalog(world) == before
    world.store.add(table)
    assert world.discover().unchanged == ["items"]


def test_an_empty_list_of_a_new_connector_is_just_empty(world: World) -> None:
    assert world.discover().as_dict()["added"] == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=503, times=None), SyncError),
        (Fault(status=401, times=None), AuthenticationError),
        (Fault(drop_connection=True, times=None), SourceUnreachableError),
        (Fault(body=b"<html>down for maintenance</html>", times=None), BrokenPageError),
        (Fault(body=b'{"detail": "moved"}', times=None), SourceContractError),
        (Fault(truncate_at_byte=30, times=None), BrokenPageError),
    ],
)
def test_a_source_that_cannot_be_asked_leaves_the_catalog_as_it_is(
    world: World, fault: Fault, error: type[SyncError]
) -> None:
    world.add_items(3)
    before = catalog(world)
    world.faults.add(fault)
    with pytest.raises(error) as caught:
        world.discover()
    assert caught.value.where["connector"] == "erp"
    assert catalog(world) == before
    known = get_connector(world.database, "erp").last_discovery_error
    assert known
    assert caught.value.what.removesuffix(" (2 tries)") in known
    world.faults.clear()
    world.discover()
    assert get_connector(world.database, "erp").last_discovery_error is None


def test_a_source_that_is_down_leaves_the_catalog_as_it_is(world: World) -> None:
    world.add_items(3)
    before = catalog(world)
    world.server.stop()
    with pytest.raises(SourceUnreachableError):
        world.discover()
    assert catalog(world) == before


def test_a_description_that_became_unusable_stops_its_entity_and_no_other(world: World) -> None:
    table = world.add_items(3)
    world.store.add(other_table())
    world.discover()
    table.columns.append(TwinColumn("doc", "XMLTYPE"))
    report = world.discover()
    assert set(report.invalid) == {"items"}
    assert report.unchanged == ["other"]
    assert world.entity().status is EntityStatus.ACTION_REQUIRED
    assert "XMLTYPE" in str(world.entity().status_reason)
    table.columns.pop()
    world.discover()
    assert world.entity().status is EntityStatus.ACTIVE


def test_a_clash_with_a_newcomer_stops_the_known_entity_with_the_true_reason(world: World) -> None:
    world.add_items(3)
    world.store.add(other_table("ITEMS"))
    report = world.discover()
    assert set(report.invalid) == {"items", "ITEMS"}
    assert report.vanished == []
    assert world.entity().status is EntityStatus.ACTION_REQUIRED
    assert "same table or asset as 'ITEMS'" in str(world.entity().status_reason)


def test_only_what_is_offered_can_be_accepted(world: World) -> None:
    world.add_items()
    with pytest.raises(NotFoundError, match="does not offer 'nonsense'"):
        world.discover("nonsense")


def test_bytes_in_another_notation_are_read_as_what_they_now_are(world: World) -> None:
    columns = (TwinColumn("id", "INTEGER", is_business_key=True), TwinColumn("b", "LONG RAW"))
    table = world.store.add(TwinTable("files", columns=columns))
    table.put({"id": 1, "b": "abcd"})
    world.discover()
    world.sync("files")
    assert world.rows("files")[(1,)]["b"] == bytes.fromhex("abcd")
    table.change_column("b", "BLOB")
    assert "written as BLOB" in world.discover().changed["files"]
    world.sync("files")
    assert world.rows("files")[(1,)]["b"] == b"i\xb7\x1d"
