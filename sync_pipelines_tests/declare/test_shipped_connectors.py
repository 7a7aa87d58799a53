"""The four connectors that come with the program, from file to table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.declare import shipped_gates as gates
from sync_pipelines.declare.connector_file import load_declaration, shipped_names
from sync_pipelines.declare.shipped_gates import apply_gates, plan_gates
from sync_pipelines.demo.twin import Fault
from sync_pipelines.demo.twin.people import RECORDED, person, write_recordings
from sync_pipelines.demo.twin.rest import RestEndpoint
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.errors import (
    IncompleteAnswerError,
    SettingsError,
    SourceBusyError,
    SourceContractError,
)
from sync_pipelines.files.private import write_private
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.write_back import apply_write_back, plan_write_back
from sync_pipelines.sources.rest.kept_answers import sweep_answers


def test_four_connectors_are_shipped():
    assert shipped_names() == ["processgit", "randomuser", "user_data_sync", "user_sync"]


@pytest.fixture
def valiant(declared, monkeypatch):
    monkeypatch.setenv("VALIANT_API_KEY", "valiant-canary-key")
    declared.rest.api_key = "valiant-canary-key"
    people = [
        {
            "id": n,
            "name": f"user {n}",
            "email": f"u{n}@example.com",
            "created_at": "2024-06-30T10:00:00Z",
        }
        for n in range(1, 26)
    ]
    declared.rest.add(
        RestEndpoint("/users", people, paging="page", auth="api_key_header", max_size=10_000)
    )
    return declared


def test_user_data_sync_fills_users_and_tells_its_six_metrics(valiant):
    valiant.apply_shipped("user_data_sync", batch_size="10", destination="postgres")
    valiant.rest.endpoints["/users"].records[3]["created_at"] = "yesterday"
    result = valiant.sync("users")
    assert valiant.entity("users").target_table == "users"
    assert len(valiant.table()) == 24
    metrics = {**result.metrics}
    assert metrics.pop("api_response_time") > 0
    assert metrics == {
        "api_records_fetched": 25, "valid_records": 24, "validation_errors": 1, "records_inserted": 24, "batch_size_used": 10,
    }  # fmt: skip
    assert valiant.runs("users")[0]["details"]["metrics"] == result.metrics
    assert {one.query["size"] for one in valiant.requests("/users")} == {"10"}


def test_user_data_sync_fills_hive_default_users_of_trino(valiant, trino_place, monkeypatch):
    for name, value in trino_place.options.items():
        monkeypatch.setenv(f"TRINO_{name.upper()}", str(value))
    valiant.apply_shipped("user_data_sync")
    destination = TrinoDestination(
        valiant.database, get_connector(valiant.database, "user_data_sync")
    )
    try:
        result = valiant.sync("users")
        assert (
            result.ledger.inserted,
            result.metrics["records_inserted"],
            result.metrics["batch_size_used"],
        ) == (
            25,
            25,
            1000,
        )
        rows = "SELECT id, name, email, created_at FROM hive.default.users WHERE NOT _bridge_deleted ORDER BY id"
        assert destination.session.query(rows)[3] == [
            4,
            "user 4",
            "u4@example.com",
            datetime(2024, 6, 30, 10),  # noqa: DTZ001 - Hive has no zones
        ]
        valiant.rest.endpoints["/users"].records[3]["name"] = "another name"
        del valiant.rest.endpoints["/users"].records[10]
        ledger = valiant.sync("users").ledger
        assert (ledger.updated, ledger.deleted, ledger.unchanged) == (1, 0, 23)
        assert valiant.sync("users").ledger.deleted == 1, "missed by two reads in a row"
        found = destination.session.query(rows)
        assert (len(found), found[3][1]) == (24, "another name")
        assert valiant.sync("users").ledger.written == 0
        for record in valiant.rest.endpoints["/users"].records:
            record["mail"] = record.pop("email")
        with pytest.raises(SourceContractError, match=r"email \(24 values\)"):
            valiant.sync("users")
        assert destination.session.query(rows) == found
    finally:
        for table in destination.session.query("SHOW TABLES FROM hive.default LIKE 'users%'"):
            kind = "VIEW" if table == ["users"] else "TABLE"
            destination.session.execute(f'DROP {kind} hive.default."{table[0]}"')


@pytest.mark.parametrize("size", ["0", "10001", "many"])
def test_user_data_sync_takes_batch_sizes_from_1_to_10000(size):
    with pytest.raises(SettingsError, match="batch_size"):
        load_declaration("user_data_sync", {"batch_size": size})


def test_user_data_sync_reads_1000_at_a_time_unless_set(valiant):
    valiant.apply_shipped("user_data_sync", destination="postgres")
    assert valiant.sync("users").metrics["batch_size_used"] == 1000


def test_errors_of_user_data_sync_are_in_the_database_without_the_key(valiant):
    valiant.apply_shipped("user_data_sync", destination="postgres")
    valiant.faults.add(Fault(kind="rest", times=None, status=503))
    valiant.fails(SourceBusyError, "users")
    (message,) = valiant.sql_dicts("SELECT message FROM bridge.errors")
    assert message["message"]["details"]["error"] == "SourceBusyError"
    assert "canary" not in json.dumps(message)


@pytest.fixture
def processgit(declared, monkeypatch):
    monkeypatch.setenv("API_TOKEN", declared.server.token)
    records = [
        {
            "external_id": f"C-{n}",
            "full_name": f"Customer {n}",
            "contact_email": f"c{n}@example.com",
            "created_date": f"2024-01-{n:02d}T08:00:00Z",
            "record_type": "customer",
            "quality_score": 90,
            "remark": None,
        }
        for n in range(1, 13)
    ]
    declared.rest.add(
        RestEndpoint("/api/v1/data", records, key="external_id", paging="page", envelope="data")
    )
    declared.rest.add(RestEndpoint("/api/v1/data/{id}", records, key="external_id"))
    declared.apply_shipped("processgit")
    return declared


def test_processgit_maps_its_four_fields_and_logs_its_syncs(processgit):
    assert processgit.sync("customers").ledger.inserted == 12
    row = processgit.table("customers")["C-3"]
    assert {name: str(value) for name, value in row.items()} == {
        "customerId": "C-3", "customerName": "Customer 3", "email": "c3@example.com", "createdAt": "2024-01-03 08:00:00+00:00",
        "record_type": "customer", "quality_score": "90",
    }  # fmt: skip
    assert processgit.entity("customers").policy.sync_interval_seconds == 3600
    (log,) = processgit.sql_dicts("SELECT * FROM bridge.sync_log")
    assert (log["connector"], log["entity"], log["status"], log["records_processed"]) == (
        "processgit",
        "customers",
        "success",
        12,
    )


def test_a_sync_never_writes_to_the_source(processgit):
    processgit.sync("customers")
    processgit.sync("customers", full_refresh=True)
    assert {one.method for one in processgit.requests()} == {"GET"}


def test_write_back_sends_the_whole_record_once_and_the_table_follows(processgit):
    from sync_pipelines.runs.write_back import apply_write_back, plan_write_back

    def order(**values):
        return plan_write_back(
            processgit.database, "processgit", "customers", "C-3", values, processgit.settings
        )

    plan = order(email="new@example.com")
    assert plan.changes == {"email": ("c3@example.com", "new@example.com")}
    assert apply_write_back(processgit.database, plan, processgit.settings) == {}
    assert apply_write_back(processgit.database, plan, processgit.settings) == {}, (
        "the same order again changes nothing"
    )
    assert processgit.table("customers")["C-3"]["email"] == "new@example.com"
    (path, body), (_, again) = processgit.rest.written
    assert path == "/api/v1/data/C-3" and body == again
    assert body == {
        "external_id": "C-3", "full_name": "Customer 3", "contact_email": "new@example.com", "created_date": "2024-01-03T08:00:00Z",
        "record_type": "customer", "quality_score": 90, "remark": None,
    }, "all but the change goes back as the source gave it"  # fmt: skip
    puts = [one.headers["Idempotency-Key"] for one in processgit.requests() if one.method == "PUT"]
    assert len(puts) == 2 and len(set(puts)) == 1
    assert order(email="new@example.com").changes == {}


@pytest.mark.parametrize(
    "values", [{"customerId": "C-9"}, {"createdAt": "2024-01-01"}, {"nothing": "x"}]
)
def test_write_back_refuses_what_is_not_declared(processgit, values):
    from sync_pipelines.runs.write_back import plan_write_back

    with pytest.raises(SettingsError, match="may not be written"):
        plan_write_back(
            processgit.database, "processgit", "customers", "C-3", values, processgit.settings
        )
    assert processgit.rest.written == []


def test_processgit_judges_by_type_score_and_required_fields_of_the_record(processgit):
    """S1: 80 and more is valid, 50 to 79 a warning, less or a missing field invalid."""
    install_gate(processgit, "processgit")
    records = processgit.rest.endpoints["/api/v1/data"].records
    records[:] = [
        {"external_id": f"C-{n}", "full_name": "Ada", "contact_email": None if n % 121 == 120 else "a@example.com", "created_date": None,
         "record_type": ["customer", "transaction"][n % 2], "quality_score": n % 101}
        for n in range(505)
    ]  # fmt: skip
    result = processgit.sync("customers", status=RunStatus.REJECTED)
    missing = [n % 101 for n in range(505) if n % 121 == 120]
    valid = 5 * 21 - sum(score >= 80 for score in missing)
    warning = 5 * 30 - sum(50 <= score < 80 for score in missing)
    assert (result.gate["passed"], result.gate["reviewed"], result.ledger.quarantined) == (
        valid,
        warning,
        505 - valid - warning,
    )


def install_gate(world, name):
    apply_gates(plan_gates(name, name, world.settings.gates), world.settings.gates / name)


@pytest.mark.parametrize("name", ["processgit", "user_data_sync", "randomuser", "user_sync"])
def test_no_shipped_connector_has_an_assumption_that_is_no_input(name):
    needed = {"source": "crm", "user_ids": "1"} if name == "user_sync" else {}
    endpoint = next(iter(load_declaration(name, needed).endpoints.values()))
    other = {
        "records": "$.else.where",
        "path": "/other/{id}" if endpoint.ids else "/other",
        "base_url": "https://other.example.com",
    }
    declaration = load_declaration(name, {**needed, **other})
    changed = next(iter(declaration.endpoints.values()))
    assert (changed.records, changed.path, declaration.base_url) == (
        ["$.else.where"],
        other["path"],
        other["base_url"],
    )
    fields = {
        "processgit": "score_field",
        "user_data_sync": "email_field",
        "user_sync": "phone_field",
        "randomuser": "seed",
    }
    assert "a_name" in load_declaration(name, {**needed, fields[name]: "a_name"}).model_dump_json()


@pytest.mark.parametrize("name", ["processgit", "user_data_sync", "randomuser"])
def test_pages_and_strategy_of_a_shipped_connector_are_inputs(name):
    given = {
        "max_size": "700",
        "first_page": "0",
        "strategy": "full",
        "chunk_size" if name == "randomuser" else "batch_size": "700",
    }
    endpoint = next(iter(load_declaration(name, given).endpoints.values()))
    assert (
        endpoint.pagination.max_size,
        endpoint.pagination.first_page,
        endpoint.pagination.size,
    ) == (700, 0, 700)
    assert endpoint.strategy == "full"
    with pytest.raises(SettingsError, match="larger than max_size"):
        load_declaration(name, {**given, "max_size": "699"})


def test_every_column_of_randomuser_may_come_from_another_field():
    names = [
        column.name for column in load_declaration("randomuser").endpoints["random_users"].columns
    ]
    other = load_declaration("randomuser", {f"{name}_field": f"other.{name}" for name in names})
    assert [column.source for column in other.endpoints["random_users"].columns] == [
        f"other.{name}" for name in names
    ]


def test_user_sync_may_ask_for_many_ids_in_a_parameter():
    given = {
        "source": "crm",
        "user_ids": "1,2",
        "path": "/users",
        "ids_param": "id",
        "verified_field": "ok",
        "updated_codec": "http_date",
    }
    endpoint = load_declaration("user_sync", given).endpoints["users"]
    assert (endpoint.ids.param, endpoint.ids.verified, endpoint.cursor.codec) == (
        "id",
        "ok",
        "http_date",
    )


def test_an_answer_of_another_shape_is_asked_for_once_and_has_a_next_step(processgit):
    processgit.rest.endpoints["/api/v1/data"].envelope = "result"
    error = processgit.fails(SourceContractError, "customers")
    assert "connector test" in error.next_command
    assert len(processgit.requests("/api/v1/data")) == 1


def test_processgit_writes_to_the_path_that_a_person_names(processgit):
    assert (
        load_declaration("processgit").endpoints["customers"].write_back.path == "/api/v1/data/{id}"
    )
    processgit.rest.add(
        RestEndpoint(
            "/edit/{id}", processgit.rest.endpoints["/api/v1/data"].records, key="external_id"
        )
    )
    processgit.apply_shipped("processgit", write_path="/edit/{id}")
    plan = plan_write_back(
        processgit.database,
        "processgit",
        "customers",
        "C-1",
        {"customerName": "New"},
        processgit.settings,
    )
    assert apply_write_back(processgit.database, plan, processgit.settings) == {}
    assert processgit.requests("/edit/C-1")


def test_randomuser_asks_with_the_parameters_that_a_person_names(declared):
    declared.rest.add(RestEndpoint("/api/", paging="people", auth="none"))
    declared.apply_shipped("randomuser", seed_param="s", seed="x", chunks="1", chunk_size="10")
    declared.sync("random_users")
    assert {
        (request.query.get("s"), request.query.get("seed"))
        for request in declared.requests("/api/")
    } == {("x", None)}


@pytest.fixture
def randomuser(declared):
    declared.rest.add(RestEndpoint("/api/", paging="people", auth="none"))
    return declared


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


@pytest.fixture
def crm(declared, monkeypatch):
    monkeypatch.setenv("USER_SYNC_TOKEN", declared.server.token)
    records = [
        {
            "id": n, "full_name": f"User {n}", "email_address": f"u{n}@example.com", "mobile": f"+1 {n}", "company": "Acme",
            "updated_at": f"2024-06-30T10:{n // 60:02d}:{n % 60:02d}Z",
        }
        for n in range(1, 151)
    ]  # fmt: skip
    declared.rest.add(RestEndpoint("/api/users/{id}", records, since=("since", "updated_at")))
    return declared


IDS = ",".join(map(str, range(1, 151)))


@pytest.mark.parametrize("source", ["crm", "analytics", "billing"])
def test_user_sync_reads_150_users_by_their_ids_with_chosen_fields(crm, source):
    crm.apply_shipped("user_sync", source=source, user_ids=IDS, fields="email,phone")
    assert crm.sync("users").ledger.inserted == 150
    assert crm.entity("users").path == f"{source}/users"
    row = crm.table()[7]
    assert {**row, "updated_at": None} == {
        "user_id": 7,
        "email": "u7@example.com",
        "phone": "+1 7",
        "updated_at": None,
    }
    assert crm.requests()[0].query["fields"] == "id,email_address,mobile,updated_at"


def test_user_sync_takes_only_what_changed_since(crm):
    crm.apply_shipped("user_sync", source="crm", user_ids=IDS)
    crm.set("users", lookback_seconds=0)
    crm.sync("users")
    crm.rest.endpoints["/api/users/{id}"].records[41].update(
        full_name="Changed", updated_at="2024-07-01T00:00:00Z"
    )
    result = crm.sync("users")
    assert (result.mode, result.ledger.updated) == ("delta", 1)
    assert result.ledger.fetched <= 2
    assert crm.table()[42]["name"] == "Changed"


@pytest.mark.parametrize("gone, refused", [(30, False), (31, True)])
def test_user_sync_refuses_a_run_below_80_percent(crm, gone, refused):
    crm.apply_shipped("user_sync", source="crm", user_ids=IDS)
    del crm.rest.endpoints["/api/users/{id}"].records[60 : 60 + gone]
    if refused:
        assert "119 of 150" in crm.fails(IncompleteAnswerError, "users").what
    else:
        result = crm.sync("users")
        assert (result.ledger.inserted, result.ledger.quarantined) == (120, 30)


def test_an_unknown_source_of_user_sync_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean billing"):
        load_declaration("user_sync", {"source": "biling", "user_ids": "1"})


def test_a_gate_of_which_only_a_part_could_be_written_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is never written again, so that a part of it would let everything else pass for good."""
    files = plan_gates("processgit", "processgit", tmp_path)
    assert len(files) > 1
    written = []

    def full_disk(path: Path, content: str | bytes) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        write_private(path, content)

    monkeypatch.setattr(gates, "write_private", full_disk)
    with pytest.raises(SettingsError, match="No space left"):
        apply_gates(files, tmp_path / "processgit")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    apply_gates(plan_gates("processgit", "processgit", tmp_path), tmp_path / "processgit")
    assert all(path.read_bytes() == content for path, content in files.items())
    assert plan_gates("processgit", "processgit", tmp_path) == {}
