"""`connector set` and `due`."""

from __future__ import annotations

import pytest


def test_connector_set_changes_only_what_is_named(cli, world):
    answer = cli(
        "connector",
        "set",
        "erp",
        "--sync-cron",
        "0 * * * *",
        "--time-zone",
        "Europe/Berlin",
        "--no-probe",
        "--set",
        "tries=5",
        "--json",
    )
    assert answer.code == 0, answer.text
    stored = answer.json
    assert (stored["sync_cron"], stored["time_zone"], stored["probe_changes"]) == (
        "0 * * * *",
        "Europe/Berlin",
        False,
    )
    assert stored["settings"] == {"backoff_seconds": 0.01, "tries": 5}
    again = cli(
        "connector",
        "set",
        "erp",
        "--sync-cron",
        "off",
        "--full-refresh-cron",
        "H 4 * * *",
        "--set",
        "tries=null",
        "--probe",
        "--json",
    ).json
    assert (again["sync_cron"], again["full_refresh_cron"], again["probe_changes"]) == (
        "off",
        "H 4 * * *",
        True,
    )
    assert (again["settings"], again["time_zone"]) == ({"backoff_seconds": 0.01}, "Europe/Berlin")
    assert (
        cli("connector", "set", "erp", "--sync-cron", "default", "--inactive", "--json").json[
            "sync_cron"
        ]
        is None
    )
    assert cli("connector", "set", "erp", "--active").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--sync-cron", "hourly"),
        ("--sync-cron", ""),
        ("--full-refresh-cron", "0 0 30 2 *"),
        ("--discovery-cron", "* * * * * *"),
        ("--time-zone", "Mars/Olympus"),
        ("--set", "max_concurrent_entities=0"),
        ("--set", "max_concurent_entities=3"),
        ("--set", "max_entities_per_run=many"),
    ],
)
def test_what_cannot_be_a_schedule_is_a_usage_error_and_changes_nothing(cli, world, arguments):
    before = cli("connector", "list", "--json").json
    answer = cli("connector", "set", "erp", *arguments)
    assert answer.code == 2
    assert cli("connector", "list", "--json").json == before
    assert cli("connector", "set", "nope", "--probe").code == 2


def test_due_tells_what_would_run_and_why_and_what_comes_next(cli, world):
    for slug in ("items", "orders", "parts"):
        world.add_items(2, slug=slug)
    world.sync("items")
    world.set("parts", sync_enabled=False)
    [agenda] = cli("due", "--json").json
    rows = {row["path"]: row for row in agenda["entities"]}
    assert agenda["due_now"] == 1
    assert (rows["erp/orders"]["reason"], rows["erp/orders"]["seconds"] <= 0) == (
        "first sync",
        True,
    )
    assert 0 < rows["erp/items"]["seconds"] <= 300
    assert rows["erp/parts"]["hindrance"] == "disabled"
    assert agenda["crons"]["full_refresh"]["cron"].split()[1] == "3"
    shown = cli("due", "erp").stdout
    assert "1 of 3 due" in shown
    assert "full_refresh:" in shown
    assert cli("due", "nope").code == 2


def test_due_shows_that_a_cron_replaces_the_intervals(cli, world):
    world.add_items(2)
    world.sync()
    world.sql("UPDATE bridge.entities SET due_reason = 'interval'")
    assert cli("connector", "set", "erp", "--sync-cron", "5 * * * *").code == 0
    [agenda] = cli("due", "erp", "--json").json
    assert (agenda["entities"][0]["seconds"], agenda["entities"][0]["reason"]) == (None, "cron")
    assert agenda["crons"]["sync"]["next_at"][14:16] == "05"
    assert "by cron" in cli("due", "erp").stdout


def test_entities_show_when_they_are_due(cli, world):
    world.add_items(2)
    world.sync()
    (entity,) = cli("entities", "--json").json
    assert entity["next_due_at"] > entity["last_sync_at"]
    assert "next due" in cli("entities").stdout
