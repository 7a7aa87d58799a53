"""Connectors, entities, runs and quarantine as rows: what is found, changed, refused and kept."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest

from sync_pipelines.catalog.connectors import (
    add_connector,
    get_connector,
    list_connectors,
    remove_connector,
)
from sync_pipelines.catalog.entities import (
    change_entity,
    get_entity,
    list_entities,
    list_entity_rows,
    set_cursor,
)
from sync_pipelines.catalog.quarantine import get_quarantined, list_quarantine
from sync_pipelines.catalog.runs import fail_run, get_run, list_runs, start_run
from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import (
    ConfigurationError,
    EntityDefinitionError,
    NotFoundError,
    SettingsError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import EntityDefinition, Position, SyncPolicy, Timeline
from sync_pipelines.model.run import Mode
from sync_pipelines_tests.world import World, item


def test_a_connector_added_again_changes_address_and_keeps_entities_and_cursors(
    world: World,
) -> None:
    world.add_items(3)
    world.sync()
    before = world.entity()
    changed = add_connector(
        world.database, "erp", world.server.url + "/", "env:TWIN_TOKEN", settings={"tries": 2}
    )
    assert (changed.base_url, changed.settings) == (world.server.url, {"tries": 2})
    assert world.entity() == before
    assert [connector.name for connector in list_connectors(world.database)] == ["erp"]


UNUSABLE: list[tuple[str, str, str | None, dict[str, Any]]] = [
    ("Erp", "http://h", None, {}),
    ("e-rp", "http://h", None, {}),
    ("nul", "ftp://h", None, {}),
    ("x", "http://u:p@h", None, {}),
    ("x", "http://h?a=1", None, {}),
    ("x", "http://h:99999", None, {}),
    ("x", "http://h\n", None, {}),
    ("x", "http://h", "plain-secret", {}),
    ("bridge", "http://h", None, {}),
    ("x", "http://h", None, {"target_schema": "pg_catalog"}),
    ("x", "http://h", None, {"target_schema": "y_staging"}),
    ("x", "http://h", None, {"target_schema": "é" * 28}),
    ("x", "http://h", None, {"settings": {"no_such_limit": 1}}),
    ("x", "http://h", None, {"settings": {"tries": 0}}),
]


def test_a_connector_that_cannot_be_used_is_refused_and_not_stored(world: World) -> None:
    for name, url, token, options in UNUSABLE:
        with pytest.raises(SettingsError) as caught:
            add_connector(world.database, name, url, token, **options)
        assert "plain-secret" not in str(caught.value)
    assert len(list_connectors(world.database)) == 1


def test_a_connector_cannot_move_to_another_schema(world: World) -> None:
    with pytest.raises(SettingsError):
        add_connector(
            world.database, "erp", world.server.url, "env:TWIN_TOKEN", target_schema="elsewhere"
        )
    assert get_connector(world.database, "erp").target_schema == "erp"


def test_what_is_not_there_is_told_with_what_is(world: World) -> None:
    world.add_items(1)
    with pytest.raises(NotFoundError, match="known: erp"):
        get_connector(world.database, "crm")
    with pytest.raises(NotFoundError, match="the connector has: items"):
        get_entity(world.database, "erp", "orders")
    for look_up in (get_run, get_quarantined):
        with pytest.raises(NotFoundError):
            look_up(world.database, uuid4())


def test_a_removed_connector_forgets_its_books_and_keeps_its_tables(world: World) -> None:
    table = world.add_items(3)
    table.put_raw(("BAD",), b"{}")
    world.sync()
    assert remove_connector(world.database, "erp") == 1
    for name in ("entities", "sync_runs", "quarantine", "absences"):
        assert world.sql(f"SELECT count(*) FROM bridge.{name}") == [(0,)]
    assert world.sql("SELECT count(*) FROM erp.items") == [(3,)]


def test_a_connector_removed_and_added_again_takes_its_tables_over(world: World) -> None:
    world.add_items(3)
    world.sync()
    before = {key: row["_bridge_id"] for key, row in world.rows().items()}
    remove_connector(world.database, "erp")
    add_connector(world.database, "erp", world.server.url, "env:TWIN_TOKEN")
    world.discover()
    assert world.sync().ledger.unchanged == 3
    assert {key: row["_bridge_id"] for key, row in world.rows().items()} == before


def test_two_connectors_cannot_write_one_table(world: World) -> None:
    world.add_items(1)
    add_connector(world.database, "crm", world.server.url, "env:TWIN_TOKEN", target_schema="erp")
    world.connector = "crm"
    report = world.discover()
    assert "already belongs to erp/items" in report.invalid["items"]


def test_an_entity_setting_out_of_range_is_refused(world: World) -> None:
    world.add_items(1)
    before = world.entity()
    for changes in (
        {"lookback_seconds": -1},
        {"sync_interval_seconds": 0},
        {"max_vanished_share": 1.5},
        {"page_size": 0},
        {"target_table": "other"},
        {"columns": "[]"},
    ):
        with pytest.raises(SettingsError):
            change_entity(world.database, before, **changes)
    assert world.entity() == before


def test_entity_settings_are_kept_over_discoveries(world: World) -> None:
    table = world.add_items(1)
    change_entity(
        world.database,
        world.entity(),
        page_size=3,
        lookback_seconds=7,
        max_vanished_share=0.25,
        sync_enabled=False,
    )
    table.description = "another text"
    assert "items" in world.discover().changed
    entity = world.entity()
    assert (
        entity.policy.page_size,
        entity.policy.lookback_seconds,
        entity.policy.max_vanished_share,
    ) == (3, 7, 0.25)
    assert (entity.policy.sync_enabled, entity.description) == (False, "another text")


def test_a_cursor_put_by_hand_is_where_the_next_sync_starts(world: World) -> None:
    table = world.add_items(0)
    for number in range(5):
        table.put(item(number), f"2024010100000{number}")
    world.sync()
    set_cursor(world.database, world.entity(), "20240101000002", Codec.DIGITS)
    assert world.sync().ledger.fetched == 2
    set_cursor(world.database, world.entity(), None, None)
    result = world.sync()
    assert (result.mode, result.ledger.unchanged) == (Mode.FULL, 5)


def test_a_run_is_failed_once_and_a_finished_one_never(world: World) -> None:
    world.add_items(1)
    result = world.sync()
    fail_run(world.database, world.entity(), result.uid, RuntimeError("too late"))
    assert get_run(world.database, result.uid)["status"] == "success"
    assert world.entity().timeline.consecutive_failures == 0
    with world.database.connect() as connection:
        uid, _ = start_run(
            connection, world.entity(), Mode.FULL, "test", None, interrupted="It died."
        )
    fail_run(
        world.database, world.entity(), uid, ConfigurationError("why\x00not", where={"page": 7})
    )
    fail_run(world.database, world.entity(), uid, RuntimeError("again"))
    run = get_run(world.database, uid)
    assert (run["status"], run["error_details"]["where"]) == ("failed", {"page": "7"})
    assert "why\\0not" in run["error_message"]
    assert world.entity().timeline.consecutive_failures == 1


def test_runs_are_listed_newest_first_with_their_path(world: World) -> None:
    world.add_items(2)
    results = [world.sync(), world.sync()]
    assert [run["uid"] for run in list_runs(world.database)] == [
        result.uid for result in reversed(results)
    ]
    assert {run["path"] for run in list_runs(world.database, "erp", limit=1)} == {"erp/items"}
    assert list_runs(world.database, "crm") == []
    assert get_run(world.database, results[0].uid)["records_inserted"] == 2


def test_quarantine_is_listed_by_connector_entity_and_run(world: World) -> None:
    table = world.add_items(1)
    table.put_raw(("BAD",), b"{}")
    run = world.sync().uid
    assert len(list_quarantine(world.database, run_uid=run)) == 1
    assert len(list_quarantine(world.database, "erp", "items")) == 1
    assert list_quarantine(world.database, "erp", "orders") == []
    assert list_quarantine(world.database, run_uid=uuid4()) == []


def test_entities_of_a_switched_off_connector_are_left_out_and_refused(world: World) -> None:
    world.add_items(1)
    world.sync()
    world.sql("UPDATE bridge.connectors SET is_active = false")
    assert list_entities(world.database) == []
    assert "switched off" in str(world.fails(ConfigurationError))


def test_a_failed_discovery_leaves_the_catalog_and_keeps_the_reason(world: World) -> None:
    world.add_items(1)
    before = world.entity()
    world.faults.add(Fault(kind="apis", times=2, drop_connection=True))
    with pytest.raises(SourceUnreachableError):
        world.discover()
    assert world.entity() == before
    assert "does not answer" in (get_connector(world.database, "erp").last_discovery_error or "")
    world.faults.add(Fault(kind="apis", body=b"[]"))
    with pytest.raises(SourceContractError):
        world.discover()
    assert world.entity() == before
    world.discover()
    assert get_connector(world.database, "erp").last_discovery_error is None


def test_an_entity_whose_description_breaks_waits_for_a_person(world: World) -> None:
    table = world.add_items(1)
    world.add_items(1, "other")
    table.change_column("base_uom", "GEOMETRY")
    assert "GEOMETRY" in world.discover().invalid["items"]
    assert "GEOMETRY" in str(world.fails(ConfigurationError))
    assert world.sync("other").ledger.inserted == 1
    table.change_column("base_uom", "VARCHAR(10)")
    world.discover()
    assert world.sync().ledger.inserted == 1


def test_an_entity_definition_error_names_its_entity() -> None:
    assert "entity items" in str(EntityDefinitionError("bad").at(entity="items"))


def test_every_part_of_an_entity_is_filled_from_the_catalog(world: World) -> None:
    """A column that the query forgets would leave a default in its place."""
    world.add_items(1)
    world.sync()
    (row,) = list_entity_rows(world.database)
    parts = (EntityDefinition, SyncPolicy, Position, Timeline)
    names = {field.name for part in parts for field in fields(part)}
    assert set(row) == names - {"own_columns"}


def test_a_word_of_another_version_is_named_with_its_entity(world: World) -> None:
    world.add_items(1)
    world.sync()
    world.set("items", cursor_codec="lunar")
    with pytest.raises(
        ConfigurationError, match=r"cursor_codec 'lunar'.*known: text, integer"
    ) as error:
        world.entity()
    assert error.value.where == {"connector": "erp", "entity": "items"}
