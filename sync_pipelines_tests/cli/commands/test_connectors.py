"""`connector`: add, list, test, remove."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin import Fault, TwinServer, TwinStore


def verdicts(answer):
    return {check["name"]: check["verdict"] for check in answer.json["checks"]}


def test_added_connector_is_listed_with_its_reference_and_limits(cli, world):
    assert (
        cli(
            "connector",
            "add",
            "crm",
            world.server.url,
            "--token",
            "env:CRM_TOKEN",
            "--set",
            "tries=2",
        ).code
        == 0
    )
    crm = next(one for one in cli("connector", "list", "--json").json if one["name"] == "crm")
    assert crm["auth_token"] == "env:CRM_TOKEN"
    assert crm["settings"] == {"tries": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ("crm", "ftp://x"),
        ("crm", "http://user:canary@x"),
        ("Crm", "http://x"),
        ("crm", "http://x", "--token", "canary-as-bare-token"),
        ("crm", "http://x", "--set", "tries"),
        ("crm", "http://x", "--set", "tires=3"),
        ("crm", "http://x", "--schema", "bridge"),
    ],
)
def test_what_cannot_be_a_connector_is_a_usage_error(cli, arguments):
    answer = cli("connector", "add", *arguments)
    assert answer.code == 2
    assert "canary" not in answer.text
    assert "Nothing was stored" in answer.stderr


def test_healthy_connector_passes_every_check(cli, world):
    world.add_items(3)
    answer = cli("connector", "test", "erp", "--json")
    assert answer.code == 0
    assert set(verdicts(answer).values()) == {"PASSED"}


def test_each_trouble_fails_its_own_check(cli, world, monkeypatch):
    world.add_items(3)

    def first_failure():
        answer = cli("connector", "test", "erp", "--json")
        assert answer.code == 1
        return next(name for name, verdict in verdicts(answer).items() if verdict == "FAILED")

    with monkeypatch.context() as patch:
        patch.delenv("TWIN_TOKEN")
        assert first_failure() == "secret"
    with monkeypatch.context() as patch:
        patch.setenv("TWIN_TOKEN", "another-token")
        assert first_failure() == "token"
    world.faults.add(Fault(times=None, kind="apis", body=b"<html>not json"))
    assert first_failure() == "protocol"
    world.faults.clear()
    world.faults.add(Fault(times=None, kind="data", body=b"[]"))
    assert first_failure() == "data"
    world.faults.clear()
    world.server.stop()
    assert first_failure() == "reachable"


def test_connector_test_shows_a_line_per_check(cli, world):
    world.server.stop()
    answer = cli("connector", "test", "erp")
    assert "FAILED   reachable" in answer.stdout
    assert "SKIPPED  token" in answer.stdout
    assert "PASSED   database" in answer.stdout


def test_remove_asks_and_says_that_tables_stay(cli, world):
    world.add_items(2)
    world.sync()
    refused = cli("connector", "remove", "erp", input="n\n")
    assert refused.code == 2
    assert len(cli("connector", "list", "--json").json) == 1
    removed = cli("connector", "remove", "erp", "--yes")
    assert "stay as they are" in removed.stdout
    assert cli("connector", "list", "--json").json == []
    assert world.sql("SELECT count(*) FROM erp.items") == [(2,)]


def test_unknown_connector_is_exit_code_2_with_json_error(cli):
    answer = cli("connector", "test", "nope", "--json")
    assert answer.code == 2
    assert answer.json["error"] == "NotFoundError"
    assert answer.json["next_command"] == "sync-pipelines connector list"


@pytest.mark.parametrize(
    "spelling", ["DEFAULT_APISmith_TOKEN", "DEFAULT_APISMITH_TOKEN", "API_TOKEN"]
)
def test_default_connector_refers_to_the_variable_that_is_set(cli, world, monkeypatch, spelling):
    token = "default-canary-token"
    with TwinServer(TwinStore(), token=token) as server:
        monkeypatch.setenv("API_BASE_URL", server.url + "/")
        monkeypatch.setenv(spelling, token)
        answer = cli("discover", "apismith", "--json")
        assert answer.code == 0, answer.text
        (added,) = [
            one for one in cli("connector", "list", "--json").json if one["name"] == "apismith"
        ]
        assert (added["base_url"], added["auth_token"]) == (server.url, f"env:{spelling}")
        assert token not in answer.text


def test_default_connector_is_not_added_twice_under_another_name(cli, world, monkeypatch):
    monkeypatch.setenv("DEFAULT_APISmith_URL", world.server.url)
    cli("discover")
    assert [one["name"] for one in cli("connector", "list", "--json").json] == ["erp"]
