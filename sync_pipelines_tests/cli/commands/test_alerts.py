"""`alerts`, and the status words of `entities`."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines_tests.observe.receiver import KEY, receiving


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setenv("HOOK_KEY", KEY)
    monkeypatch.setenv("ALERT_CLOSE_AFTER_SECONDS", "0")
    monkeypatch.setenv("ALERT_CONNECTION_SHARE", "1")
    with receiving() as server:
        yield server


def test_a_webhook_is_added_tested_used_and_removed(cli, world, receiver):
    world.add_items(1)
    added = cli(
        "alerts", "webhook", "add", receiver.url, "--secret", "env:HOOK_KEY", "--name", "ops"
    )
    assert added.code == 0
    tested = cli("alerts", "test")
    assert (tested.code, receiver.requests[0]["ok"], receiver.requests[0]["body"]["type"]) == (
        0,
        True,
        "test",
    )
    world.set(consecutive_failures=3)
    assert "1 began" in cli("alerts", "run").stdout
    (row,) = cli("alerts", "--open", "--json").json
    assert (row["kind"], row["subject"], row["delivered"]) == (
        "consecutive_failures",
        "erp/items",
        1,
    )
    assert "Syncs fail again and again" in cli("alerts", "list").stdout
    shown = cli("alerts", "show", row["uid"])
    assert "incident.opened" in shown.stdout
    assert "Next: sync-pipelines runs erp/items" in shown.stdout
    world.set(consecutive_failures=0)
    assert cli("alerts", "run", "--json").json["closed"][0]["uid"] == row["uid"]
    assert "No incident is open." in cli("alerts", "--open").stdout
    (hook,) = cli("alerts", "webhook", "list", "--json").json
    assert (hook["name"], hook["delivered"], hook["waiting"], hook["url"]) == (
        "ops",
        2,
        0,
        receiver.url.replace("/hook", "/…"),
    )
    assert cli("alerts", "webhook", "remove", "ops").code == 0
    assert "Nobody gets a message" in cli("alerts", "webhook", "list").stdout


def test_a_test_that_is_not_taken_is_exit_code_1_and_shows_the_answer(cli, receiver):
    assert cli("alerts", "test").code == 2
    cli("alerts", "webhook", "add", receiver.url, "--secret", "env:HOOK_KEY")
    receiver.answers, receiver.answer_body = [403], b"not you"
    answer = cli("alerts", "test", "127.0.0.1")
    assert answer.code == 1
    assert "not you" in answer.stdout
    receiver.answers = [500]
    assert cli("alerts", "test", "--json").json == [
        {
            "webhook": "127.0.0.1",
            "status": 500,
            "error": "The receiver answered 500: not you",
            "ok": False,
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["https://x.example/", "--secret", "whsec_canary-itself-not-a-reference"],
        ["https://user:canary@x.example/", "--secret", "env:HOOK_KEY"],
        ["https://x.example/?token=canary", "--secret", "env:HOOK_KEY"],
        ["env:not a name canary", "--secret", "env:HOOK_KEY"],
        ["https://x.example/", "--secret", "env:BAD_KEY"],
        ["https://x.example/", "--secret", "env:HOOK_KEY", "--kinds", "nonsense"],
        ["https://x.example/", "--secret", "env:HOOK_KEY", "--name", "a\nb"],
    ],
)
def test_what_cannot_be_used_is_refused_and_not_repeated(cli, receiver, monkeypatch, arguments):
    monkeypatch.setenv("BAD_KEY", "canary")
    answer = cli("alerts", "webhook", "add", *arguments)
    assert answer.code == 2
    assert "canary" not in answer.text
    assert cli("alerts", "webhook", "list", "--json").json == []


def test_a_key_that_is_not_set_here_is_a_warning_and_two_addresses_need_two_names(
    cli, receiver, monkeypatch
):
    monkeypatch.delenv("HOOK_KEY")
    added = cli(
        "alerts",
        "webhook",
        "add",
        "https://hooks.example.com/a",
        "--secret",
        "env:HOOK_KEY",
        "--kinds",
        "freshness",
    )
    assert (added.code, "HOOK_KEY is not set" in added.stderr) == (0, True)
    again = cli(
        "alerts", "webhook", "add", "https://hooks.example.com/a", "--secret", "env:HOOK_KEY"
    )
    assert "every incident" in again.stdout
    other = cli(
        "alerts", "webhook", "add", "https://hooks.example.com/b", "--secret", "env:HOOK_KEY"
    )
    assert (other.code, "--name" in other.stderr) == (2, True)
    named = cli(
        "alerts",
        "webhook",
        "add",
        "https://hooks.example.com/b",
        "--secret",
        "env:HOOK_KEY",
        "--name",
        "hooks.example.com",
    )
    assert named.code == 0
    assert len(cli("alerts", "webhook", "list", "--json").json) == 1


def test_an_incident_can_be_ended_by_hand(cli, world, receiver):
    world.add_items(1)
    world.set(consecutive_failures=3)
    cli("alerts", "run")
    uid = cli("alerts", "--json").json[0]["uid"]
    assert cli("alerts", "close", uid).code == 0
    assert "already" in cli("alerts", "close", uid).stdout
    assert cli("alerts", "close", "00000000-0000-0000-0000-000000000000").code == 2
    cli("alerts", "run")
    assert len(cli("alerts", "--open", "--json").json) == 1


def test_alerts_run_tells_of_a_database_that_does_not_answer(cli, world, receiver, monkeypatch):
    cli("alerts", "webhook", "add", receiver.url, "--secret", "env:HOOK_KEY")
    assert cli("alerts", "run").code == 0
    monkeypatch.setenv(
        "POSTGRES_URL", "postgresql://nobody:canary@127.0.0.1:9/none?connect_timeout=1"
    )
    for _ in range(2):
        answer = cli("alerts", "run")
        assert answer.code == 1
        assert "canary" not in answer.text
    assert receiver.events == [("incident.opened", "database_unavailable", "database")]


def test_entities_show_a_word_for_how_they_are(cli, world):
    for slug in ("a", "b", "c", "d", "e", "f"):
        world.add_items(1, slug=slug)
    add_connector(world.database, "empty", "http://127.0.0.1:9")
    for slug in "abc":
        world.sync(slug)
    world.sql(
        "UPDATE bridge.entities SET last_success_at = now() - interval '361 seconds' WHERE slug = 'b'"
    )
    world.sql(
        "UPDATE bridge.entities SET last_success_at = now() - interval '661 seconds' WHERE slug = 'c'"
    )
    world.set("d", sync_enabled=False)
    world.set("e", status="action_required")
    words = {row["slug"]: row["freshness"] for row in cli("entities", "--json").json}
    assert words == {
        "a": "on time",
        "b": "late",
        "c": "error",
        "d": "switched off",
        "e": "action required",
        "f": "never synced",
    }
    assert cli("entity", "show", "erp/c", "--json").json["freshness"] == "error"
    assert "action required" in cli("entities").stdout
    assert "never synced" in cli("entity", "show", "erp/f").stdout
