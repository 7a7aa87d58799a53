"""The second, third and tenth sync of every shipped connector, with changes between: the first load proves little."""

from __future__ import annotations

import pytest

from sync_pipelines.demo.twin.people import person
from sync_pipelines_tests.connectors.gates import install_gate


def test_ten_syncs_of_processgit(processgit):
    install_gate(processgit, "processgit")
    records = processgit.rest.endpoints["/api/v1/data"].records
    assert processgit.sync("customers").ledger.inserted == 12
    for number in range(2, 11):
        records[number - 1]["full_name"] = f"Renamed {number}"
        records.append({**records[0], "external_id": f"N-{number}"})
        records[0]["quality_score"] = 60 + number
        ledger = processgit.sync("customers").ledger
        assert (ledger.inserted, ledger.updated, ledger.deleted) == (1, 2, 0)
    del records[-1]
    processgit.sync("customers")
    assert processgit.sync("customers").ledger.deleted == 1
    shown = {
        row["customerId"]: row["customerName"] for row in processgit.table("customers").values()
    }
    assert shown == {record["external_id"]: record["full_name"] for record in records}


@pytest.mark.parametrize("source", ["crm"])
def test_ten_syncs_of_user_sync_with_ids_that_are_missing(crm, source):
    records = crm.rest.endpoints["/api/users/{id}"].records
    del records[100:120]
    crm.apply_shipped("user_sync", source=source, user_ids=",".join(map(str, range(1, 151))))
    crm.set("users", lookback_seconds=0)
    assert crm.sync("users").ledger.inserted == 130
    for number in range(2, 11):
        records[number].update(
            full_name=f"Renamed {number}", updated_at=f"2024-07-{number:02d}T00:00:00Z"
        )
        result = crm.sync("users", full_refresh=number in (3, 7))
        assert (
            result.ledger.updated == 1
            and crm.table()[records[number]["id"]]["name"] == f"Renamed {number}"
        )
    gone = records.pop(50)
    assert crm.sync("users", full_refresh=True).ledger.deleted == 0
    assert gone["id"] in crm.table(), (
        "an id that does not come back keeps its row, and is in quarantine"
    )


def test_ten_syncs_of_user_data_sync(valiant):
    valiant.apply_shipped("user_data_sync", batch_size="10", destination="postgres")
    people = valiant.rest.endpoints["/users"].records
    valiant.sync("users")
    for number in range(2, 11):
        people[number]["name"] = f"Renamed {number}"
        people.append({**people[0], "id": 100 + number})
        ledger = valiant.sync("users").ledger
        assert (ledger.inserted, ledger.updated) == (1, 1)
    assert {row["name"] for row in valiant.table().values()} == {one["name"] for one in people}


def test_ten_syncs_of_randomuser(randomuser):
    randomuser.apply_shipped("randomuser", chunk_size="20", chunks="3")
    assert randomuser.sync("random_users").ledger.inserted == 60
    for _ in range(9):
        assert randomuser.sync("random_users").ledger.unchanged == 60
    assert {str(key) for key in randomuser.table("random_users")} == {
        person(number)["login"]["uuid"] for number in range(60)
    }
