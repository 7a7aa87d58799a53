"""The shipped connector randomuser, its kept answers and its recordings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.people import RECORDED, person, write_recordings
from sync_pipelines.demo.twin.rest import RestEndpoint
from sync_pipelines.errors import (
    SourceBusyError,
)
from sync_pipelines.sources.rest.kept_answers import sweep_answers


def test_every_column_of_randomuser_may_come_from_another_field():
    names = [
        column.name for column in load_declaration("randomuser").endpoints["random_users"].columns
    ]
    other = load_declaration("randomuser", {f"{name}_field": f"other.{name}" for name in names})
    assert [column.source for column in other.endpoints["random_users"].columns] == [
        f"other.{name}" for name in names
    ]


def test_randomuser_asks_with_the_parameters_that_a_person_names(declared):
    declared.rest.add(RestEndpoint("/api/", paging="people", auth="none"))
    declared.apply_shipped("randomuser", seed_param="s", seed="x", chunks="1", chunk_size="10")
    declared.sync("random_users")
    assert {
        (request.query.get("s"), request.query.get("seed"))
        for request in declared.requests("/api/")
    } == {("x", None)}


def test_randomuser_flattens_5000_users_into_more_than_30_columns(randomuser):
    randomuser.apply_shipped("randomuser")
    assert randomuser.sync("random_users").ledger.inserted == 5000
    rows = randomuser.table("random_users")
    assert len(randomuser.entity("random_users").columns) > 30
    for number in (0, 1, 4999):
        source = person(number)
        row = next(row for key, row in rows.items() if str(key) == source["login"]["uuid"])
        assert (row["name_first"], row["location_street_number"]) == (
            source["name"]["first"],
            source["location"]["street"]["number"],
        )
        assert row["location_postcode"] == source["location"]["postcode"]
        assert row["location_coordinates_latitude"] == source["location"]["coordinates"]["latitude"]
    assert len(randomuser.requests("/api/")) == 10
    assert randomuser.sync("random_users").ledger.unchanged == 5000


def test_randomuser_goes_on_with_the_chunks_of_a_run_that_failed(randomuser):
    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="5")
    broken = randomuser.faults.add(Fault(kind="rest", nth=4, times=2, status=500))
    randomuser.fails(SourceBusyError, "random_users")
    assert randomuser.faults.fired(broken) == 2
    before = len(randomuser.requests("/api/"))
    result = randomuser.sync("random_users")
    assert result.ledger.inserted == 100
    assert len(randomuser.requests("/api/")) - before == 2, "three chunks were kept"
    assert any("3 answers were kept" in warning for warning in result.warnings)
    assert list((randomuser.settings.home / "answers").glob("*/*")) == [], (
        "nothing is kept of a run that is through"
    )
    (message,) = randomuser.sql_dicts("SELECT message FROM bridge.errors")
    assert message["message"]["details"]["error"] == "SourceBusyError"


def test_randomuser_goes_on_after_its_process_was_killed(randomuser, tmp_path):
    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="6")
    slow = randomuser.faults.add(Fault(kind="rest", nth=5, times=None, delay_seconds=600))
    variables = {
        "POSTGRES_URL": randomuser.database.url,
        "SYNC_PIPELINES_HOME": str(randomuser.settings.home),
    }
    command = [sys.executable, "-m", "sync_pipelines.cli.main", "sync", "randomuser/random_users"]
    with subprocess.Popen(
        command, env={**os.environ, **variables}, cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not randomuser.faults.fired(slow):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    randomuser.faults.clear()
    before = len(randomuser.requests("/api/"))
    deadline = time.monotonic() + 60
    from sync_pipelines.errors import EntityBusyError

    while True:
        try:
            result = randomuser.sync("random_users")
            break
        except EntityBusyError:
            assert time.monotonic() < deadline
    assert result.ledger.inserted == 120
    assert len(randomuser.requests("/api/")) - before == 2


def test_an_audit_keeps_nothing_and_uses_nothing_kept(randomuser):
    from sync_pipelines.runs.audit import audit_entity

    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="3")
    randomuser.sync("random_users")
    before = len(randomuser.requests("/api/"))
    report = audit_entity(
        randomuser.database, "randomuser", "random_users", settings=randomuser.settings
    )
    assert (report.equal, report.missed) == (60, 0)
    assert len(randomuser.requests("/api/")) - before == 3
    assert list((randomuser.settings.home / "answers").glob("*/*")) == []


def test_answers_that_no_run_went_on_with_are_forgotten_after_a_week(randomuser):
    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="3")
    randomuser.faults.add(Fault(kind="rest", nth=3, times=2, status=500))
    randomuser.fails(SourceBusyError, "random_users")
    home = randomuser.settings.home
    assert sweep_answers(home) == 0
    kept = list((home / "answers").glob("*/*"))
    assert len(kept) == 2
    for file in kept:
        os.utime(file, (time.time() - 8 * 86_400,) * 2)
    assert sweep_answers(home) == 1
    assert list((home / "answers").glob("*")) == []


def test_a_damaged_kept_answer_is_fetched_again(randomuser):
    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="3")
    randomuser.faults.add(Fault(kind="rest", nth=3, times=2, status=500))
    randomuser.fails(SourceBusyError, "random_users")
    for file in (randomuser.settings.home / "answers").glob("*/*.answer"):
        assert file.parent.stat().st_mode & 0o077 == 0
        file.write_bytes(file.read_bytes()[:-5])
    assert randomuser.sync("random_users").ledger.inserted == 60


@pytest.mark.parametrize("count", [20, 200])
def test_randomuser_replays_a_recording_without_the_source(randomuser, tmp_path, count):
    files = write_recordings(tmp_path / "data")
    assert [file.name for file in files] == ["data.json", *(f"data.json.{one}" for one in RECORDED)]
    randomuser.apply_shipped("randomuser", recording=str(tmp_path / "data" / f"data.json.{count}"))
    randomuser.server.stop()
    assert randomuser.sync("random_users").ledger.inserted == count
    randomuser.server.start()


def test_recordings_are_the_same_everywhere(tmp_path):
    first, second = write_recordings(tmp_path / "a"), write_recordings(tmp_path / "b")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
