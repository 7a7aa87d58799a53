"""The gate and its masks on declared sources: the same verdicts, and no masked value under another name."""

from __future__ import annotations

import logging

import pytest

from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import ConfigurationError, IncompleteAnswerError, SyncError
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.audit import audit_entity
from sync_pipelines.runs.release import fix_record, release_records
from sync_pipelines_tests.test_canaries import every_text_with

CANARY = "canary-4711-person"
COLUMNS = [
    {"name": "id", "type": "bigint", "key": True},
    {"name": "email", "type": "text"},
    {"name": "first_name", "type": "varchar(30)"},
    {"name": "stock", "type": "bigint"},
    {"name": "updated_at", "type": "timestamptz"},
]
MAPPING = {"contact_email": "email", "name.first": "first_name"}
GATE = """
rules:
  - {name: has_at, column: email, check: str_contains, arguments: {pattern: '@'}, nulls: fail}
  - {name: in_stock, column: stock, check: ge, arguments: {min_value: 0}, severity: review}
"""
MASKS = """
masks:
  email: {hash: env:MASK_KEY}
  first_name: redact
"""
WHO = {"author": "ada", "reason": "asked"}


def person(number, **changes):
    moment = f"2024-06-30T10:00:{number:02d}Z"
    return {
        "id": number,
        "contact_email": f"{number}.{CANARY}@x",
        "name": {"first": CANARY},
        "stock": 1,
        "updated_at": moment,
        **changes,
    }


@pytest.fixture
def shop(declared, monkeypatch):
    monkeypatch.setenv("MASK_KEY", "a-key-of-thirty-two-characters-00")
    served = declared.serve(
        paging="page",
        records=[person(number) for number in range(1, 5)],
        since=("since", "updated_at"),
    )
    declared.apply_endpoint(
        columns=COLUMNS,
        mapping=MAPPING,
        pagination={"type": "page", "size_param": "size", "size": 10},
    )
    return declared, served


def put_gate(world, text):
    path = world.settings.gates / "shop" / "users.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_records_of_a_declared_source_pass_are_flagged_or_wait_and_are_released_after_a_fix(shop):
    world, served = shop
    put_gate(world, GATE)
    served.records[1]["contact_email"] = "nowhere"
    served.records[2]["stock"] = -1
    result = world.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined, result.gate["reviewed"]) == (3, 1, 1)
    assert [key[0] for key, row in world.rows("users").items() if row["_bridge_review"]] == [3]
    (kept,) = world.quarantine("users")
    assert kept["reason"] == "Rule has_at: email: str_contains(pattern=@)."
    fix_record(
        world.database, kept["uid"], {"email": "two@x"}, None, settings=world.settings, **WHO
    )
    release_records(world.database, [kept["uid"]], settings=world.settings, **WHO)
    assert world.table()[2]["email"] == "two@x"
    assert len(world.rows("users")) == 4


def test_what_is_masked_rests_nowhere_whatever_a_declared_source_sends(shop, caplog):
    caplog.set_level(logging.DEBUG)
    world, served = shop
    put_gate(world, GATE + MASKS)
    served.records += [
        person(5, contact_email=CANARY),
        person(6, email=CANARY, stock="many"),
        person(7, name=CANARY, stock="many"),
        person(8, name={"first": CANARY, "last": CANARY, "first_name": CANARY}, stock="many"),
        person(9, stock="many", contact_email=[CANARY]),
        person(10, name={"first": CANARY + "x" * 40}),
        [CANARY],
    ]
    result = world.sync("users", status=RunStatus.REJECTED)
    assert (result.ledger.inserted, result.ledger.quarantined) == (4, 7)
    assert {row["first_name"] for row in world.table().values()} == {"***"}
    for fault in (
        Fault(kind="rest", times=2, body=f'[{{"contact_email": "{CANARY}'.encode()),
        Fault(kind="rest", times=2, body=f'{{"answer": "{CANARY}"}}'.encode()),
        Fault(kind="rest", times=2, status=404, body=CANARY.encode()),
        Fault(kind="rest", times=2, status=503, body=CANARY.encode()),
    ):
        world.faults.add(fault)
        with pytest.raises(SyncError) as caught:
            world.sync("users")
        assert CANARY not in f"{caught.value} {caught.value.details()}"
        world.faults.clear()
    report = audit_entity(world.database, "shop", "users", settings=world.settings)
    assert report.missed == 0
    assert every_text_with(world, CANARY) == []
    assert CANARY not in f"{result} {report} {caplog.text}"


def test_no_answer_is_kept_of_what_is_masked(shop):
    world, _ = shop
    put_gate(world, GATE + MASKS)
    world.apply_endpoint(
        columns=COLUMNS,
        mapping=MAPPING,
        pagination={"type": "page", "size_param": "size", "size": 2},
        resume_seconds=600,
    )
    world.faults.add(Fault(kind="rest", nth=2, times=2, status=503))
    with pytest.raises(SyncError):
        world.sync("users")
    assert list(world.settings.home.glob("answers/*/*")) == []
    world.faults.clear()
    assert world.sync("users").ledger.inserted == 4


def test_a_cursor_cannot_be_masked(shop):
    world, _ = shop
    put_gate(world, "masks: {updated_at: redact}\n")
    paging = {"type": "page", "size_param": "size", "size": 10}
    world.apply_endpoint(
        columns=COLUMNS,
        mapping=MAPPING,
        pagination=paging,
        cursor={"field": "updated_at", "param": "since"},
    )
    world.fails(ConfigurationError, "users")
    (run,) = world.runs("users")
    assert "is its cursor" in run["error_message"]


def test_masked_rows_are_never_written_back(shop):
    from sync_pipelines.runs.write_back import plan_write_back

    world, _ = shop
    put_gate(world, GATE + MASKS)
    world.apply_endpoint(
        columns=COLUMNS,
        mapping=MAPPING,
        write_back={"path": "/users/{id}", "columns": ["stock"]},
        pagination={"type": "page", "size_param": "size", "size": 10},
    )
    with pytest.raises(ConfigurationError, match="has masks"):
        plan_write_back(world.database, "shop", "users", "1", {"stock": "5"}, world.settings)
    assert {one.method for one in world.requests()} == {"GET"}


def test_ids_that_are_masked_are_in_no_message(declared, monkeypatch):
    monkeypatch.setenv("MASK_KEY", "a-key-of-thirty-two-characters-00")
    declared.serve(path="/users/{id}", records=[{"id": CANARY, "stock": 1}])
    columns = [{"name": "id", "type": "text", "key": True}, {"name": "stock", "type": "bigint"}]
    ids = {"values": [CANARY, f"{CANARY}-2"], "min_success": 1}
    declared.apply_endpoint(path="/users/{id}", columns=columns, ids=ids)
    put_gate(declared, "masks: {id: {hash: env:MASK_KEY}}\n")
    with pytest.raises(IncompleteAnswerError) as caught:
        declared.sync("users")
    assert "did not come back" in caught.value.what
    assert CANARY not in f"{caught.value} {caught.value.details()}"
