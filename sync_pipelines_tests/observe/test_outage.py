"""A database that does not answer gives one message, although nothing can be kept in it; and one when it is back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import DatabaseConnectionsError, DatabaseUnavailableError
from sync_pipelines.observe.outage import FILE_NAME, note_outage
from sync_pipelines.observe.watch import look
from sync_pipelines_tests.observe.conftest import Watch
from sync_pipelines_tests.observe.receiver import KEY

DEAD = Database("postgresql://nobody:canary-password@127.0.0.1:9/none?connect_timeout=1")


@pytest.fixture
def listening(watch: Watch) -> Watch:
    watch.add_webhook()
    watch.look()
    return watch


def look_at_the_dead(watch: Watch, **changes: Any) -> None:
    with pytest.raises(DatabaseUnavailableError):
        look(lambda: DEAD, watch.settings.model_copy(update=changes))


def test_an_outage_gives_one_message_and_its_end_another(listening: Watch) -> None:
    for _ in range(4):
        look_at_the_dead(listening)
    assert listening.receiver.events == [("incident.opened", "database_unavailable", "database")]
    listening.look()
    listening.look()
    assert listening.receiver.events[1:] == [
        ("incident.closed", "database_unavailable", "database")
    ]
    opened, closed = listening.receiver.taken
    assert opened["body"]["data"]["incident"] == closed["body"]["data"]["incident"]
    assert listening.incidents() == [("database_unavailable", "database", "over")]


def test_a_single_failure_is_a_restart_and_gives_no_message(listening: Watch) -> None:
    look_at_the_dead(listening)
    listening.look()
    look_at_the_dead(listening)
    listening.look()
    assert listening.receiver.events == []
    assert listening.incidents() == []


def test_an_outage_that_an_upgrade_interrupts_gives_its_end_to_the_receivers_of_its_message(
    listening: Watch,
) -> None:
    look_at_the_dead(listening)
    look_at_the_dead(listening)
    file = listening.settings.home / FILE_NAME
    memory = json.loads(file.read_text())
    memory["outage"]["told"] = memory["outage"].pop("informed")
    file.write_text(json.dumps(memory))
    listening.look()
    listening.look()
    assert [event for event, _, _ in listening.receiver.events] == [
        "incident.opened",
        "incident.closed",
    ]


def test_a_database_that_flaps_is_one_incident(listening: Watch) -> None:
    for _ in range(3):
        look_at_the_dead(listening)
        look_at_the_dead(listening)
        listening.look(alert_close_after_seconds=300)
    assert listening.receiver.events == [("incident.opened", "database_unavailable", "database")]


def test_a_receiver_that_fails_meanwhile_is_tried_with_every_look_and_the_same_id(
    listening: Watch,
) -> None:
    listening.receiver.answers = [500, 500]
    for _ in range(4):
        look_at_the_dead(listening)
    assert len(listening.receiver.requests) == 3
    assert len({request["id"] for request in listening.receiver.requests}) == 1
    assert len(listening.receiver.taken) == 1


def test_exhausted_connections_are_reported_as_such(listening: Watch) -> None:
    now = datetime.now(UTC)
    for seconds in range(2):
        note_outage(
            listening.settings.home,
            listening.settings,
            DatabaseConnectionsError("PostgreSQL has no connection left."),
            now + timedelta(seconds=seconds),
        )
    assert listening.receiver.events == [("incident.opened", "database_connections", "database")]


def test_the_file_holds_no_secret_and_is_readable_by_its_owner_only(listening: Watch) -> None:
    look_at_the_dead(listening)
    look_at_the_dead(listening)
    path = listening.settings.home / FILE_NAME
    assert path.stat().st_mode & 0o077 == 0
    assert "env:HOOK_KEY" in path.read_text()
    assert KEY not in path.read_text()
    assert "canary-password" not in path.read_text()


def test_a_broken_file_is_forgotten_and_not_a_reason_to_stop(listening: Watch) -> None:
    (listening.settings.home / FILE_NAME).write_text('{"webhooks": 5')
    listening.look()
    look_at_the_dead(listening)
    look_at_the_dead(listening)
    assert len(listening.receiver.events) == 1


def test_a_home_that_cannot_be_written_does_not_stop_the_look(
    listening: Watch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    listening.look(home=tmp_path / "file" / "home")
    assert "cannot be remembered" in caplog.text
