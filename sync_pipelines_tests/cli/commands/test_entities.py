"""`discover`, `entities`, `entity` and `cursor`."""

from __future__ import annotations

from sync_pipelines.demo.twin import TwinColumn, TwinTable


def test_discover_tells_added_and_unchanged(cli, world):
    world.store.add(
        TwinTable(
            "items", columns=[TwinColumn("id", "INTEGER", is_nullable=False)], business_keys=["id"]
        )
    )
    assert cli("discover", "erp", "--json").json["reports"][0]["added"] == ["items"]
    again = cli("discover")
    assert again.code == 0
    assert "unchanged" in again.stdout


def test_breaking_change_is_exit_code_3_until_it_is_accepted(cli, world):
    table = world.add_items(2)
    world.sync()
    table.change_column("item_description", "INTEGER")
    stopped = cli("discover", "erp")
    assert stopped.code == 3
    assert "--accept items" in stopped.stdout
    assert cli("sync", "erp/items").code == 3
    assert cli("discover", "erp", "--accept", "items").code == 0


def test_accept_without_a_connector_is_refused(cli):
    assert cli("discover", "--accept", "items").code == 2


def test_one_unreachable_connector_does_not_hide_the_others(cli, world):
    world.add_items(1)
    cli("connector", "add", "aaa", "http://127.0.0.1:9", "--set", "tries=1")
    answer = cli("discover")
    assert answer.code == 1
    assert "erp: nothing changed" in answer.stdout
    assert "does not answer" in answer.stderr


def test_entities_show_table_rows_and_cursor(cli, world):
    world.add_items(3)
    world.sync()
    (entity,) = cli("entities", "--json").json
    assert (entity["path"], entity["table"], entity["row_count"], entity["last_sync_status"]) == (
        "erp/items",
        "erp.items",
        3,
        "success",
    )
    assert "erp/items" in cli("entities", "erp").stdout
    assert "item_number" in cli("entity", "show", "erp/items").stdout
    assert cli("entities", "nope").code == 2


def test_entity_set_changes_only_what_is_named(cli, world):
    world.add_items(1)
    answer = cli(
        "entity",
        "set",
        "erp/items",
        "--interval",
        "60",
        "--disable",
        "--max-vanished-share",
        "0.25",
        "--json",
    )
    assert (
        answer.json["sync_interval_seconds"],
        answer.json["sync_enabled"],
        answer.json["max_vanished_share"],
    ) == (
        60,
        False,
        0.25,
    )
    assert cli("entity", "set", "erp/items", "--enable").code == 0
    entity = world.entity()
    assert (
        entity.policy.sync_interval_seconds,
        entity.policy.sync_enabled,
        entity.policy.page_size,
    ) == (60, True, None)
    for wrong in (
        ["erp/items"],
        ["erp/items", "--interval", "0"],
        ["erp", "--interval", "5"],
        ["erp/nope", "--interval", "5"],
    ):
        assert cli("entity", "set", *wrong).code == 2


def test_cursor_can_be_read_put_and_cleared(cli, world):
    world.add_items(3)
    world.sync()
    assert cli("cursor", "set", "erp/items", "20200101000000").code == 0
    assert cli("cursor", "get", "erp/items").stdout.strip() == "20200101000000"
    assert cli("cursor", "get", "erp/items", "--json").json["codec"] == "digits"
    assert cli("cursor", "set", "erp/items", "not-a-moment").code == 2
    assert cli("cursor", "set", "erp/items").code == 2
    assert cli("cursor", "set", "erp/items", "--clear").code == 0
    assert world.entity().position.cursor is None


def test_names_from_the_source_cannot_paint_or_forge_lines(cli, world):
    table = TwinTable(
        "items",
        name="[red]bold[/red]\x1b[31mX\nForged: line",
        columns=[TwinColumn("[b]id", "INTEGER", is_nullable=False)],
        business_keys=["[b]id"],
    )
    world.store.add(table)
    world.discover()
    shown = cli("entity", "show", "erp/items").stdout
    assert "\x1b" not in shown
    assert "[b]id" in shown
    assert "[red]bold[/red]" in shown
    assert not any(line.startswith("Forged") for line in shown.splitlines())
