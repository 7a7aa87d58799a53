"""The shipped connector user_data_sync, from file to table."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.demo.twin import Fault
from sync_pipelines.destinations.trino.adapter import TrinoDestination
from sync_pipelines.errors import (
    SettingsError,
    SourceBusyError,
    SourceContractError,
)


def test_user_data_sync_fills_users_and_tells_its_six_metrics(valiant):
    valiant.apply_shipped("user_data_sync", batch_size="10", destination="postgres")
    valiant.rest.endpoints["/users"].records[3]["created_at"] = "yesterday"
    result = valiant.sync("users")
    assert valiant.entity("users").target_table == "users"
    assert len(valiant.table()) == 24
    metrics = {**result.metrics}
    assert metrics.pop("api_response_time") > 0
    assert metrics == {
        "api_records_fetched": 25,
        "valid_records": 24,
        "validation_errors": 1,
        "records_inserted": 24,
        "batch_size_used": 10,
    }
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
