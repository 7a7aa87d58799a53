"""`audit`: says what a sync could not see, and exits 1 then."""

from __future__ import annotations

from sync_pipelines_tests.world import item


def test_a_table_that_equals_its_source_exits_with_zero(cli, world):
    world.add_items(25)
    world.sync()
    for arguments in (["--all"], ["--ranges", "2", "--seed", "1"]):
        answer = cli("audit", "erp/items", *arguments)
        assert answer.code == 0, answer.text
        assert "missed" in answer.stdout


def test_a_lost_row_is_shown_with_the_command_that_brings_it(cli, world):
    table = world.add_items(0)
    for number in range(25):
        table.put(item(number), f"202001010000{number:02d}")
    table.put(item(99), "20200102000000")
    world.sync()
    world.sql("DELETE FROM erp.items WHERE item_number = 'A00007'")
    answer = cli("audit", "erp/items", "--all")
    assert answer.code == 1
    assert "A00007" in answer.stdout
    assert "not in the table" in answer.stdout
    assert "sync-pipelines sync erp/items --full-refresh" in answer.stdout


def test_the_report_comes_as_json_and_names_the_rows_that_the_source_lost(cli, world):
    table = world.add_items(25)
    world.sync()
    table.delete(("A00003",))
    table.put(item(99))
    answer = cli("audit", "erp/items", "--all", "--json")
    assert (answer.code, answer.json["extra"], answer.json["compared"]) == (1, 1, 25)
    assert sum(bucket["source_rows"] for bucket in answer.json["buckets"]) == 25


def test_an_entity_never_synced_gets_a_next_command(cli, world):
    world.add_items(1)
    answer = cli("audit", "erp/items")
    assert answer.code == 3
    assert "sync-pipelines sync erp/items" in answer.stderr


def test_repaired_records_are_listed_only_on_demand(cli, world):
    table = world.add_items(3)
    table.put(item(9, base_uom="far too long for ten"))
    world.sync()
    table.put(item(9))
    world.sync()
    assert cli("quarantine", "list", "--json").json == []
    [row] = cli("quarantine", "list", "--all", "--json").json
    assert row["resolved_at"]
