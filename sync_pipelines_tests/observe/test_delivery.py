"""Messages arrive signed, at least once, in order, whatever the receiver does; and nothing goes where it should not."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from itertools import pairwise

import pytest

from sync_pipelines.catalog.webhooks import add_webhook, check_webhook_url, shown_address
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.incident import IncidentKind
from sync_pipelines.observe.delivery import plan_retry
from sync_pipelines.observe.payload import ui_link
from sync_pipelines.observe.webhooks import Answer, send_message, signing_key
from sync_pipelines.settings import Settings
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.observe.conftest import Watch
from sync_pipelines_tests.observe.receiver import KEY, Receiver, receiving


@pytest.fixture
def failing(watch: Watch) -> Watch:
    """One entity with an incident, and one webhook."""
    watch.world.add_items(1)
    watch.add_webhook()
    watch.world.set(consecutive_failures=3)
    return watch


def test_a_message_is_signed_and_says_what_where_since_when_and_what_to_type(
    failing: Watch,
) -> None:
    failing.look(ui_url="https://dagster.example.com/")
    [request] = failing.receiver.requests
    assert request["ok"]
    assert request["headers"]["Content-Type"] == "application/json"
    body = request["body"]
    assert body["type"] == "incident.opened"
    assert body["data"]["subject"] == "erp/items"
    assert body["data"]["url"] == "https://dagster.example.com/assets/erp/items"
    assert body["data"]["next_command"] == "sync-pipelines runs erp/items"
    assert body["data"]["since"]
    assert "Syncs fail again and again: erp/items" in body["text"]


def test_a_wrong_key_does_not_verify_so_the_receiver_of_the_tests_can_fail(
    failing: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_KEY", "whsec_" + "A" * 40)
    failing.look()
    assert [request["ok"] for request in failing.receiver.requests] == [False]


def test_500_then_200_is_one_message_with_one_id(failing: Watch) -> None:
    failing.receiver.answers = [500]
    assert failing.look().deliveries.failed == 1
    assert failing.look().deliveries.failed == 0  # not due yet
    failing.due_now()
    assert failing.look().deliveries.delivered == 1
    first, second = failing.receiver.requests
    assert first["id"] == second["id"]
    assert first["body"] == second["body"]
    assert second["ok"]
    assert failing.look().deliveries.delivered == 0


def test_a_receiver_that_is_down_is_tried_again_until_the_message_is_given_up_and_shown(
    failing: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    failing.world.sql("UPDATE bridge.webhooks SET url = 'http://127.0.0.1:9/'")
    for _ in range(3):
        failing.look(alert_webhook_tries=3)
        failing.due_now()
    [delivery] = failing.deliveries()
    assert delivery["attempts"] == 3
    assert delivery["given_up_at"] is not None
    assert "does not answer" in delivery["last_error"]
    assert "given up after 3 tries" in caplog.text
    failing.look(alert_webhook_tries=3)
    assert failing.deliveries()[0]["attempts"] == 3


def test_the_end_waits_for_the_beginning_and_is_sent_also_when_the_beginning_was_given_up(
    failing: Watch,
) -> None:
    failing.receiver.answers = [500, 500]
    failing.look()
    failing.world.set(consecutive_failures=0)
    failing.look()
    assert [delivery["attempts"] for delivery in failing.deliveries()] == [1, 0]
    failing.due_now()
    failing.look(alert_webhook_tries=1)
    failing.look()
    assert [event for event, *_ in failing.receiver.events] == ["incident.closed"]


def test_redirects_are_not_followed(failing: Watch) -> None:
    with receiving() as elsewhere:
        failing.receiver.answers = [302, 307, 308]
        failing.receiver.answer_headers = {"Location": elsewhere.url}
        for _ in range(3):
            failing.look()
            failing.due_now()
        assert elsewhere.requests == []
    assert "redirect" in failing.deliveries()[0]["last_error"]
    assert failing.deliveries()[0]["delivered_at"] is None


def test_a_receiver_that_never_answers_costs_one_timeout_and_the_others_nothing(
    failing: Watch,
) -> None:
    with receiving() as other:
        add_webhook(failing.world.database, other.url, "env:HOOK_KEY", name="other")
        failing.world.add_items(1, slug="parts")
        failing.world.set("parts", consecutive_failures=3)
        failing.receiver.answers = [-1, -1]
        done = failing.look(alert_webhook_timeout_seconds=0.5)
        assert (done.deliveries.delivered, done.deliveries.failed) == (2, 1)
        assert len(other.taken) == 2
    assert len(failing.receiver.requests) == 1


def test_gone_for_good_switches_the_webhook_off(
    failing: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    failing.receiver.answers = [410]
    assert failing.look().deliveries.given_up == 1
    failing.world.set(consecutive_failures=0)
    failing.look()
    assert len(failing.receiver.requests) == 1
    assert failing.world.sql("SELECT is_active FROM bridge.webhooks") == [(False,)]
    assert "switched off" in caplog.text


def test_a_webhook_hears_only_of_its_kinds_and_of_nothing_from_before(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.set(consecutive_failures=3)
    watch.look()
    watch.add_webhook(IncidentKind.FRESHNESS, name="fresh")
    watch.add_webhook(name="all")
    watch.world.set(consecutive_failures=0, last_success_at="2020-01-01T00:00:00Z")
    watch.look()
    assert sorted(watch.receiver.events) == [
        ("incident.closed", "consecutive_failures", "erp/items"),
        ("incident.opened", "freshness", "erp/items"),
        ("incident.opened", "freshness", "erp/items"),
    ]


def test_a_missing_key_is_a_failed_try_that_names_the_variable(
    failing: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_KEY")
    failing.look()
    assert failing.receiver.requests == []
    assert "HOOK_KEY is not set" in failing.deliveries()[0]["last_error"]
    monkeypatch.setenv("HOOK_KEY", KEY)
    failing.due_now()
    failing.look()
    assert len(failing.receiver.taken) == 1


def test_an_address_that_is_a_secret_stays_in_its_variable(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CHAT_URL", watch.receiver.url + "/T000/canary-path-7f3a")
    add_webhook(watch.world.database, "env:CHAT_URL", "env:HOOK_KEY")
    watch.world.add_items(1)
    watch.world.set(consecutive_failures=3)
    watch.receiver.answers, watch.receiver.answer_body = (
        [500],
        b"no such path: /hook/T000/canary-path-7f3a",
    )
    watch.look()
    assert watch.receiver.requests[0]["path"].endswith("canary-path-7f3a")
    assert "canary-path" not in str(watch.deliveries())
    monkeypatch.setenv("CHAT_URL", "http://127.0.0.1:9/T000/canary-path-7f3a")
    watch.due_now()
    watch.look()
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith("sync_pipelines")
    ]
    assert "127.0.0.1:9" not in " ".join(ours)


_CRASH = """
import os, signal
from sync_pipelines.catalog.database import Database
from sync_pipelines.observe import delivery, watch
from sync_pipelines.settings import Settings

settings = Settings(_env_file=None)
def die(*arguments):
    if os.environ["POINT"] == "after":
        sent(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
sent, delivery.send_message = delivery.send_message, die
watch.look(lambda: Database(os.environ["DATABASE"]), settings)
"""


@pytest.mark.parametrize(("point", "arrived"), [("before", 0), ("after", 1)])
def test_a_process_killed_around_its_delivery_loses_nothing_and_repeats_the_same_id(
    failing: Watch, point: str, arrived: int
) -> None:
    variables = {
        "DATABASE": failing.world.database.url,
        "POINT": point,
        "ALERT_CONNECTION_SHARE": "1",
        "HOOK_KEY": KEY,
    }
    dead = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_CRASH)],
        env={**os.environ, **variables},
        cwd=PROJECT,
        timeout=120,
        check=False,
    )
    assert dead.returncode == -signal.SIGKILL
    assert failing.incidents() == [("consecutive_failures", "erp/items", "open")]
    assert len(failing.receiver.requests) == arrived
    failing.look()
    # Leased to the dead process until its time is over.
    assert len(failing.receiver.requests) == arrived
    failing.due_now()
    failing.look()
    assert len(failing.receiver.requests) == arrived + 1
    assert len({request["id"] for request in failing.receiver.requests}) == 1
    [delivery] = failing.deliveries()
    assert failing.receiver.requests[-1]["id"] == f"msg_{delivery['uid'].hex}"
    assert delivery["delivered_at"] is not None


def test_an_incident_and_its_messages_are_written_together_or_not_at_all(
    failing: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("killed between the two")

    monkeypatch.setattr("sync_pipelines.observe.evaluate.enqueue_delivery", refuse)
    with pytest.raises(RuntimeError):
        failing.look()
    assert failing.incidents() == []
    monkeypatch.undo()
    monkeypatch.setenv("HOOK_KEY", KEY)
    failing.look()
    assert len(failing.receiver.taken) == 1


def test_pauses_double_up_to_an_hour_and_end() -> None:
    settings = Settings(_env_file=None)
    pauses = [plan_retry(attempts, Answer(500, "no"), settings) for attempts in range(1, 13)]
    assert pauses[0] == 10
    assert all(later == min(3600, 2 * sooner) for sooner, later in pairwise(pauses[:-1]))
    assert pauses[-1] is None
    assert plan_retry(1, Answer(429, "wait", 120), settings) == 120
    assert plan_retry(1, Answer(429, "wait", 10**9), settings) == 3600
    assert plan_retry(1, Answer(410, "gone"), settings) is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "x",
        "",
        "http://",
        "http://u:canary@h/",
        "http://h/?key=canary",
        "http://h/#f",
        "http://h:0/",
        "http://h/ x",
        "env:",
        "http://[bad",
    ],
)
def test_addresses_that_cannot_be_used_or_would_keep_a_secret_in_the_clear_are_refused(
    url: str,
) -> None:
    with pytest.raises(SettingsError) as caught:
        check_webhook_url(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["short", "whsec_" + "A" * 31, "not base64 at all, but long enough to be a key!", "whsec_"],
)
def test_keys_that_cannot_sign_are_refused_without_being_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("BAD_KEY", key)
    answer = send_message("http://127.0.0.1:9/", "env:BAD_KEY", "msg_1", "{}", 1)
    assert answer.error
    assert key not in answer.error
    assert answer.status is None


def test_keys_come_with_or_without_prefix_and_padding(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    for key in (KEY, KEY.removeprefix("whsec_"), KEY.rstrip("=")):
        monkeypatch.setenv("SOME_KEY", key)
        assert signing_key("env:SOME_KEY") == key
        assert send_message(
            receiver.url, "env:SOME_KEY", "msg_1", json.dumps({"a": "é"}, ensure_ascii=False), 5
        ) == Answer(204)
    assert all(request["ok"] for request in receiver.requests)


def test_people_see_no_path_of_an_address() -> None:
    assert shown_address("https://hooks.example.com/T000/secret") == "https://hooks.example.com/…"
    assert shown_address("env:CHAT_URL") == "env:CHAT_URL"


def test_links_lead_to_the_page_of_the_subject() -> None:
    assert ui_link(None, IncidentKind.FRESHNESS, "erp/items") is None
    assert ui_link("http://ui", IncidentKind.FRESHNESS, "erp") == "http://ui/assets/erp"
    assert ui_link("http://ui", IncidentKind.RUN_FAILED, "sync_erp") == "http://ui/runs"
    assert ui_link("http://ui/", IncidentKind.DATABASE_CONNECTIONS, "database") == "http://ui"
