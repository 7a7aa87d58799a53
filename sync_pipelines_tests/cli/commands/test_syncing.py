"""`sync`, `runs` and `quarantine`."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin import Fault, TwinColumn, TwinTable
from sync_pipelines_tests.world import item

LONG = "X" * 60


def add_orders(world, count=4):
    table = TwinTable(
        "orders", columns=[TwinColumn("id", "INTEGER", is_nullable=False)], business_keys=["id"]
    )
    world.store.add(table)
    for number in range(count):
        table.put({"id": number})
    world.discover()


def test_sync_prints_the_ledger_and_the_table_is_right(cli, world):
    world.add_items(25)
    answer = cli("sync", "erp/items")
    assert answer.code == 0, answer.text
    assert "✓" in answer.stdout
    world.assert_equal_to_truth()
    assert world.runs()[0]["triggered_by"] == "command line"


def test_connector_means_all_its_enabled_entities_each_once(cli, world):
    world.add_items(3)
    add_orders(world)
    answer = cli("sync", "erp", "erp/items", "--json")
    assert [(one["path"], one["inserted"], one["balances"]) for one in answer.json["results"]] == [
        ("erp/items", 3, True),
        ("erp/orders", 4, True),
    ]
    cli("entity", "set", "erp/orders", "--disable")
    assert [one["path"] for one in cli("sync", "erp", "--json").json["results"]] == ["erp/items"]


def test_one_failing_entity_does_not_stop_the_others(cli, world):
    world.add_items(3)
    add_orders(world)
    world.faults.add(Fault(times=None, kind="data", slug="items", status=500))
    answer = cli("sync", "erp", "--json")
    assert answer.code == 1
    items, orders = answer.json["results"]
    assert (items["ok"], items["error"]) == (False, "SourceBusyError")
    assert (orders["ok"], orders["inserted"]) == (True, 4)
    shown = cli("sync", "erp")
    assert "failed" in shown.stdout
    assert "Where: connector erp, entity items" in shown.stderr


def test_full_refresh_beyond_the_share_needs_acceptance(cli, world):
    table = world.add_items(10)
    world.sync()
    for number in range(9):
        table.delete((f"A{number:05d}",))
    refused = cli("sync", "erp/items", "--full-refresh")
    assert refused.code == 3
    assert "--accept-vanished" in refused.stderr
    assert (
        cli("sync", "erp/items", "--full-refresh", "--accept-vanished", "--json").json["results"][
            0
        ]["deleted"]
        == 9
    )


@pytest.mark.parametrize("path", ["nope/items", "erp/nope", "Erp/items", "erp/", "../x"])
def test_unknown_path_is_a_usage_error(cli, world, path):
    world.add_items(1)
    assert cli("sync", path).code == 2


def test_runs_can_be_listed_with_and_without_the_word_list(cli, world):
    world.add_items(3)
    world.sync()
    world.sync()
    assert len(cli("runs", "--json").json) == 2
    assert len(cli("runs", "erp/items", "--limit", "1", "--json").json) == 1
    assert cli("runs", "list", "erp").stdout.count("erp/items") == 2
    assert cli("runs", "erp/nope").code == 2


def test_run_shows_balance_sheet_stages_and_error(cli, world):
    world.add_items(3)
    world.sync()
    shown = cli("runs", "show", str(world.runs()[0]["uid"])).stdout
    assert "Balance sheet" in shown
    assert "✓" in shown
    world.faults.add(
        Fault(times=None, kind="data", status=500, body=b"token canary-in-body [red]x")
    )
    cli("sync", "erp/items")
    failed = cli("runs", "show", str(world.runs()[0]["uid"]))
    assert "SourceBusyError" in failed.stdout
    assert "nothing published" in failed.stdout
    assert "canary" not in failed.text
    assert cli("runs", "show", "00000000-0000-0000-0000-000000000000").code == 2
    assert cli("runs", "show", "not-a-uid").code == 2


def test_quarantine_shows_the_record_with_the_bad_column_marked(cli, world):
    table = world.add_items(3)
    table.put(item(7, base_uom=LONG, item_description="[red]a\x1b[31mb[/red]\nc"))
    cli("sync", "erp/items")
    (row,) = cli("quarantine", "list", "erp/items", "--json").json
    assert row["column_name"] == "base_uom"
    assert "base_uom" in cli("quarantine").stdout
    shown = cli("quarantine", "show", row["uid"])
    (marked,) = [line for line in shown.stdout.splitlines() if "→" in line]
    assert "base_uom" in marked
    assert LONG in marked
    assert "\x1b" not in shown.stdout
    assert "[red]a\\x1b[31mb[/red]\\nc" in shown.stdout
    assert LONG in cli("quarantine", "show", row["uid"], "--json").json["record"]
    assert cli("quarantine", "list", "--run", str(world.runs()[0]["uid"]), "--json").json
    assert (
        cli("quarantine", "list", "--run", "00000000-0000-0000-0000-000000000000", "--json").json
        == []
    )


def test_record_that_is_no_json_is_shown_as_text(cli, world):
    table = world.add_items(1)
    table.put_raw(("A1",), b'{"item_number": "A1", "base_uom": 12, "weight_per_unit": "\x07\xff"}')
    cli("sync", "erp/items")
    for row in cli("quarantine", "--json").json:
        answer = cli("quarantine", "show", row["uid"])
        assert answer.code == 0
        assert "\x07" not in answer.stdout
