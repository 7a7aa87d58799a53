"""The shipped connector processgit, from file to table and back."""

from __future__ import annotations

import pytest

from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.demo.twin.rest import RestEndpoint
from sync_pipelines.errors import (
    SettingsError,
    SourceContractError,
)
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.write_back import apply_write_back, plan_write_back
from sync_pipelines_tests.connectors.gates import install_gate


def test_processgit_maps_its_four_fields_and_logs_its_syncs(processgit):
    assert processgit.sync("customers").ledger.inserted == 12
    row = processgit.table("customers")["C-3"]
    assert {name: str(value) for name, value in row.items()} == {
        "customerId": "C-3",
        "customerName": "Customer 3",
        "email": "c3@example.com",
        "createdAt": "2024-01-03 08:00:00+00:00",
        "record_type": "customer",
        "quality_score": "90",
    }
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
        "external_id": "C-3",
        "full_name": "Customer 3",
        "contact_email": "new@example.com",
        "created_date": "2024-01-03T08:00:00Z",
        "record_type": "customer",
        "quality_score": 90,
        "remark": None,
    }, "all but the change goes back as the source gave it"
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
        {
            "external_id": f"C-{n}",
            "full_name": "Ada",
            "contact_email": None if n % 121 == 120 else "a@example.com",
            "created_date": None,
            "record_type": ["customer", "transaction"][n % 2],
            "quality_score": n % 101,
        }
        for n in range(505)
    ]
    result = processgit.sync("customers", status=RunStatus.REJECTED)
    missing = [n % 101 for n in range(505) if n % 121 == 120]
    valid = 5 * 21 - sum(score >= 80 for score in missing)
    warning = 5 * 30 - sum(50 <= score < 80 for score in missing)
    assert (result.gate["passed"], result.gate["reviewed"], result.ledger.quarantined) == (
        valid,
        warning,
        505 - valid - warning,
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
