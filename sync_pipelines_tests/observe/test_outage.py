"""A database that does not answer is told, once, although nothing can be kept in it; and once more when it is back."""

from __future__ import annotations

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
def told(watch: Watch) -> Watch:
    watch.add_webhook()
    watch.look()
    return watch


def look_at_the_dead(watch: Watch, **changes: Any) -> None:
    with pytest.raises(DatabaseUnavailableError):
        look(lambda: DEAD, watch.settings.model_copy(update=changes))


def test_an_outage_is_told_once_and_its_end_once(told: Watch) -> None:
    for _ in range(4):
        look_at_the_dead(told)
    assert told.receiver.events == [("incident.opened", "database_unavailable", "database")]
    told.look()
    told.look()
    assert told.receiver.events[1:] == [("incident.closed", "database_unavailable", "database")]
    opened, closed = told.receiver.taken
    assert opened["body"]["data"]["incident"] == closed["body"]["data"]["incident"]
    assert told.incidents() == [("database_unavailable", "database", "over")]


def test_a_single_failure_is_a_restart_and_not_told(told: Watch) -> None:
    look_at_the_dead(told)
    told.look()
    look_at_the_dead(told)
    told.look()
    assert told.receiver.events == []
    assert told.incidents() == []


def test_a_database_that_flaps_is_one_incident(told: Watch) -> None:
    for _ in range(3):
        look_at_the_dead(told)
        look_at_the_dead(told)
        told.look(alert_close_after_seconds=300)
    assert told.receiver.events == [("incident.opened", "database_unavailable", "database")]


def test_a_receiver_that_fails_meanwhile_is_tried_with_every_look_and_the_same_id(
    told: Watch,
) -> None:
    told.receiver.answers = [500, 500]
    for _ in range(4):
        look_at_the_dead(told)
    assert len(told.receiver.requests) == 3
    assert len({request["id"] for request in told.receiver.requests}) == 1
    assert len(told.receiver.taken) == 1


def test_exhausted_connections_are_told_as_such(told: Watch) -> None:
    now = datetime.now(UTC)
    for seconds in range(2):
        note_outage(
            told.settings.home,
            told.settings,
            DatabaseConnectionsError("PostgreSQL has no connection left."),
            now + timedelta(seconds=seconds),
        )
    assert told.receiver.events == [("incident.opened", "database_connections", "database")]


def test_the_file_holds_no_secret_and_is_readable_by_its_owner_only(told: Watch) -> None:
    look_at_the_dead(told)
    look_at_the_dead(told)
    path = told.settings.home / FILE_NAME
    assert path.stat().st_mode & 0o077 == 0
    assert "env:HOOK_KEY" in path.read_text()
    assert KEY not in path.read_text()
    assert "canary-password" not in path.read_text()


def test_a_broken_file_is_forgotten_and_not_a_reason_to_stop(told: Watch) -> None:
    (told.settings.home / FILE_NAME).write_text('{"webhooks": 5')
    told.look()
    look_at_the_dead(told)
    look_at_the_dead(told)
    assert len(told.receiver.events) == 1


def test_a_home_that_cannot_be_written_does_not_stop_the_look(
    told: Watch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    told.look(home=tmp_path / "file" / "home")
    assert "cannot be remembered" in caplog.text
