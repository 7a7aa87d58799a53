"""A masked value is nowhere: not in table, quarantine, staging, runs, errors, logs, or the output of a command."""

from __future__ import annotations

import hmac
import logging
import traceback

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.quarantine import get_quarantined
from sync_pipelines.demo.twin import Fault, TwinColumn, TwinTable
from sync_pipelines.errors import (
    ConfigurationError,
    MaskLostError,
    SecretMissingError,
    SettingsError,
    SyncError,
)
from sync_pipelines.gate.judge import Gate
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.audit import audit_entity
from sync_pipelines.runs.prepared_gate import forget_mask
from sync_pipelines.runs.release import fix_record, release_records, waive_record
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.sources.registry import source_kind
from sync_pipelines_tests.test_canaries import every_text_with
from sync_pipelines_tests.test_gate_route import put_gate
from sync_pipelines_tests.trino import TrinoWorld
from sync_pipelines_tests.world import World

CANARY = "canary-4711-person"
KEY = "a-key-of-thirty-two-characters-00"
COLUMNS = (
    TwinColumn("item_number", "VARCHAR(50)", is_nullable=False, is_business_key=True),
    TwinColumn("email", "VARCHAR(60)"),
    TwinColumn("salary", "NUMERIC(12, 2)"),
    TwinColumn("notes", "JSON"),
    TwinColumn("stock", "BIGINT"),
)
MASKS = """
rules:
  - {name: has_at, column: email, check: str_contains, arguments: {pattern: '@'}, nulls: fail}
  - {name: in_stock, column: stock, check: ge, arguments: {min_value: 0}}
masks:
  email: {hash: env:MASK_KEY}
  salary: redact
  notes: drop
"""
WHO = {"author": "ada", "reason": "asked"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_KEY", KEY)


def person(number: int, **changes: object) -> dict[str, object]:
    return {
        "item_number": f"P{number}",
        "email": f"{number}.{CANARY}@x",
        "salary": "4711.77",
        "notes": {"who": CANARY},
        "stock": 1,
        **changes,
    }


def people(world: World, *records: dict[str, object]) -> TwinTable:
    table = TwinTable("items", columns=COLUMNS)
    for record in records:
        table.put(record)
    return world.add(table)


def digest(text: str) -> str:
    return hmac.digest(KEY.encode(), text.encode(), "sha256").hex()


def nowhere(world: World, *words: str) -> None:
    for word in words:
        assert every_text_with(world, word) == []
        if isinstance(world, TrinoWorld):
            assert word not in str(world.all_rows())


def test_a_hash_is_the_same_for_the_same_value_a_redacted_value_is_stars_and_a_dropped_column_is_not_there(
    any_world: World,
) -> None:
    people(any_world, person(1), person(2, email=f"1.{CANARY}@x", salary=None))
    put_gate(any_world, MASKS)
    any_world.sync()
    first, second = (any_world.rows()[(name,)] for name in ("P1", "P2"))
    assert first["email"] == second["email"] == digest(f"1.{CANARY}@x")
    assert (first["salary"], second["salary"]) == ("***", None)
    assert "notes" not in first
    nowhere(any_world, CANARY, "4711.77")
    again = any_world.sync(full_refresh=True)
    assert again.ledger.unchanged == 2
    assert audit_entity(any_world.database, "erp", "items", settings=any_world.settings).missed == 0


def test_no_masked_value_rests_anywhere_whatever_the_source_sends(
    any_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    table = people(any_world, person(1), person(2, stock=-1), person(3, email=CANARY))
    put_gate(any_world, MASKS)
    raws = {
        "B1": f'{{"item_number": "B1", "email": "{CANARY}@", "stock": "many"}}',
        "B2": f'{{"item_number": "B2", "email": "{"x" * 80}{CANARY}@"}}',
        "B3": f'{{"item_number": "B3", "salary": "{CANARY}"}}',
        "B4": f'{{"item_number": "B4", "\\u0065mail": "{CANARY}@", "stock": "x"}}',
        "B5": f'{{"item_number": "B5", "email": "{CANARY}@", "email": ["{CANARY}"], "stock": "x"}}',
        "B6": f'{{"item_number": "B6", "notes": [{{"a": "{CANARY}"}}], "stock": {{"email": "{CANARY}"}}}}',
        "B7": f'{{"item_number": "B7", "email": "\\ud800{CANARY}"}}',
        "B8": f'["{CANARY}"]',
        "B9": f'{{"item_number": "B9", "email": {CANARY}}}',
    }
    for place, (name, raw) in enumerate(raws.items()):
        if name != "B9":
            table.put_raw((name,), raw.encode(), f"2999010100000{place}")
    result = any_world.sync(status=RunStatus.REJECTED)
    assert result.ledger.quarantined == 2 + len(raws) - 1
    for fault in (
        Fault(kind="data", times=2, body=f'{{"rows": [{{"data": "{CANARY}'.encode()),
        Fault(kind="data", times=2, body=f'{{"answer": "{CANARY}"}}'.encode()),
        Fault(kind="data", times=2, status=404, body=CANARY.encode()),
        Fault(kind="data", times=2, status=503, body=CANARY.encode()),
    ):
        any_world.faults.add(fault)
        with pytest.raises(SyncError) as caught:
            sync_entity(
                any_world.database, "erp", "items", settings=any_world.settings, full_refresh=True
            )
        assert CANARY not in f"{caught.value} {caught.value.details()}"
        any_world.faults.clear()
    nowhere(any_world, CANARY)
    assert CANARY not in str(result)
    assert CANARY not in caplog.text


def test_keys_may_be_hashed_and_quarantine_knows_them_by_their_hash(any_world: World) -> None:
    table = people(any_world, person(1), person(2, stock=-1))
    put_gate(any_world, MASKS + "  item_number: {hash: env:MASK_KEY}\n")
    any_world.sync()
    assert any_world.rows().keys() == {(digest("P1"),)}
    (held,) = any_world.quarantine()
    assert held["business_key"] == [digest("P2")]
    table.put(person(2))
    any_world.sync()
    assert any_world.quarantine() == []
    assert any_world.rows().keys() == {(digest("P1"),), (digest("P2"),)}


def test_numbers_and_moments_hash_the_same_in_the_table_and_in_a_record_that_is_released(
    any_world: World,
) -> None:
    columns = (
        TwinColumn("id", "NUMERIC(10, 2)", is_nullable=False, is_business_key=True),
        TwinColumn("at", "TIMESTAMPTZ"),
        TwinColumn("stock", "BIGINT"),
    )
    table = TwinTable("items", columns=columns)
    table.put({"id": 1.5, "at": "2024-05-01T10:00:00+02:00", "stock": 1})
    any_world.add(table)
    put_gate(
        any_world,
        "rules: [{name: in_stock, column: stock, check: ge, arguments: {min_value: 0}}]\nmasks: {id:"
        " {hash: env:MASK_KEY}, at: {hash: env:MASK_KEY}}",
    )
    any_world.sync()
    table.put({"id": 1.5, "at": "2024-05-01T08:00:00Z", "stock": -1})
    any_world.sync(status=RunStatus.REJECTED)
    (held,) = any_world.quarantine()
    waive_record(any_world.database, held["uid"], **WHO)
    (result,) = release_records(
        any_world.database, [held["uid"]], settings=any_world.settings, **WHO
    )
    assert (result.ledger.updated, result.ledger.inserted) == (1, 0)
    (row,) = any_world.rows().values()
    assert (row["stock"], row["at"]) == (-1, digest("2024-05-01 08:00:00.000000Z"))


def test_a_masked_record_is_released_after_a_fix_with_a_clear_value_which_is_masked_too(
    any_world: World,
) -> None:
    people(any_world, person(1), person(2, email=f"no-{CANARY}"), person(3, stock=-1))
    put_gate(any_world, MASKS)
    any_world.sync()
    held = {row["business_key"][0]: row["uid"] for row in any_world.quarantine()}
    with pytest.raises(SettingsError, match="refused for email, which is masked"):
        release_records(any_world.database, [held["P2"]], settings=any_world.settings, **WHO)
    with pytest.raises(SettingsError, match="Rule has_at"):
        fix_record(
            any_world.database,
            held["P2"],
            {"email": "still none"},
            None,
            settings=any_world.settings,
            **WHO,
        )
    fix_record(
        any_world.database,
        held["P2"],
        {"email": f"yes@{CANARY}"},
        None,
        settings=any_world.settings,
        **WHO,
    )
    fix_record(
        any_world.database, held["P3"], {"stock": 3}, None, settings=any_world.settings, **WHO
    )
    (result,) = release_records(
        any_world.database, list(held.values())[::-1], settings=any_world.settings, **WHO
    )
    assert result.ledger.inserted == 2
    rows = any_world.rows()
    assert rows[("P2",)]["email"] == digest(f"yes@{CANARY}")
    assert (rows[("P3",)]["email"], rows[("P3",)]["stock"], rows[("P3",)]["salary"]) == (
        digest(f"3.{CANARY}@x"),
        3,
        "***",
    )
    nowhere(any_world, CANARY)
    assert any_world.entity().position.stored_masks.keys() == {"email", "salary", "notes"}


def test_a_mask_that_comes_later_takes_the_clear_values_out_of_table_and_quarantine(
    any_world: World,
) -> None:
    rules = MASKS.partition("masks:")[0]
    people(any_world, person(1), person(2, stock=-1))
    put_gate(any_world, rules)
    any_world.sync()
    with pytest.raises(AssertionError):
        nowhere(any_world, CANARY)
    put_gate(any_world, MASKS)
    with pytest.raises(ConfigurationError, match="must be read anew"):
        audit_entity(any_world.database, "erp", "items", settings=any_world.settings)
    result = any_world.sync()
    assert result.mode == "full"
    nowhere(any_world, CANARY, "4711.77")
    assert any_world.rows()[("P1",)]["email"] == digest(f"1.{CANARY}@x")
    assert any_world.sync().mode == "delta"
    assert b"***" in bytes(
        get_quarantined(any_world.database, any_world.quarantine()[0]["uid"])["record"]
    )


def test_a_mask_that_is_gone_stops_the_entity_until_a_person_agrees(world: World) -> None:
    people(world, person(1))
    put_gate(world, MASKS)
    world.sync()
    (world.settings.gates / "erp" / "items.yaml").unlink()
    error = world.fails(MaskLostError)
    assert "gate unmask erp/items email" in str(error)
    for column in ("email", "salary", "notes"):
        forget_mask(world.database, world.entity(), column)
    with pytest.raises(SyncError):
        # The column that held stars cannot hold numbers: a change that needs a decision.
        world.sync()
    world.discover("items")
    world.sync()
    assert world.rows()[("P1",)]["email"] == f"1.{CANARY}@x"


def test_a_mask_that_is_withdrawn_before_its_full_read_was_through_loses_no_value(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(any_world, person(1), person(2, email=None))
    any_world.sync()
    put_gate(any_world, "masks: {email: redact}")
    any_world.faults.add(Fault(kind="data", times=99, status=404))
    with pytest.raises(SyncError):
        any_world.sync()
    any_world.faults.clear()
    nowhere(any_world, f"1.{CANARY}@x")
    (any_world.settings.gates / "erp" / "items.yaml").unlink()
    any_world.fails(MaskLostError)
    forget_mask(any_world.database, any_world.entity(), "email")
    assert any_world.sync().mode == "full"
    assert {key[0]: row["email"] for key, row in any_world.rows().items()} == {
        "P1": f"1.{CANARY}@x",
        "P2": None,
    }
    assert any_world.sync().mode == "delta"


def test_quarantine_is_masked_once_although_the_read_begins_anew(world: World) -> None:
    people(world, person(1), person(2, stock=-1))
    put_gate(world, MASKS.partition("masks:")[0])
    world.sync()
    put_gate(world, MASKS)
    world.faults.add(Fault(kind="data", times=99, status=404))
    for _ in range(2):
        with pytest.raises(SyncError):
            world.sync()
    world.faults.clear()
    assert digest(f"2.{CANARY}@x").encode() in bytes(
        world.sql("SELECT record FROM bridge.quarantine")[0][0]
    )


def test_a_value_that_breaks_a_cast_costs_its_own_record_and_is_shown_nowhere(
    any_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    table = people(any_world, person(1, email="17"), person(2), person(3, email="4"))
    put_gate(
        any_world,
        "rules: [{name: number, expression: CAST(email AS INTEGER) > 5, severity: review}]\nmasks:"
        " {email: {hash: env:MASK_KEY}, salary: redact, notes: drop}",
    )
    result = any_world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (2, 1)
    (held,) = any_world.quarantine()
    assert (held["business_key"], held["column_name"]) == (["P2"], "email")
    assert (
        held["reason"]
        == "Rule number cannot be evaluated for this record: CAST(email AS INTEGER) > 5."
    )
    nowhere(any_world, CANARY)
    assert CANARY not in f"{result} {caplog.text}"
    table.put(person(2, email="8"))
    assert any_world.sync().ledger.inserted == 1
    assert any_world.quarantine() == []


def test_an_error_of_our_own_amid_clear_values_tells_none_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError(CANARY)

    people(world, person(1))
    put_gate(world, MASKS)
    monkeypatch.setattr(Gate, "judge", fail)
    with pytest.raises(SyncError, match="could not be judged .ValueError.") as caught:
        world.sync()
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    nowhere(world, CANARY)


def test_a_probe_tells_nothing_of_an_answer(world: World) -> None:
    people(world, person(1))
    put_gate(world, MASKS)
    world.sync()
    connector = get_connector(world.database, "erp")
    prober = source_kind(connector).open_prober(
        connector, world.settings, world.database, seconds=5.0
    )
    for fault in (
        Fault(kind="data", times=1, body=f'{{"answer": "{CANARY}"}}'.encode()),
        Fault(kind="data", times=1, status=404, body=CANARY.encode()),
    ):
        world.faults.add(fault)
        with pytest.raises(SyncError) as caught:
            prober.first_after("items", "0")
        assert CANARY not in f"{caught.value} {caught.value.details()}"
        world.faults.clear()


def test_an_audit_compares_masked_with_masked_and_shows_no_clear_value(any_world: World) -> None:
    table = people(any_world, *(person(number) for number in range(3)), person(4711, stock=-1))
    put_gate(any_world, MASKS + "  item_number: {hash: env:MASK_KEY}\n")
    any_world.sync()
    report = audit_entity(any_world.database, "erp", "items", settings=any_world.settings)
    assert (report.compared, report.equal, report.missed, report.extra) == (3, 3, 0, 0)
    table.put(person(1, email="1.other@x"), rowversion=any_world.entity().position.cursor)
    report = audit_entity(any_world.database, "erp", "items", settings=any_world.settings)
    assert (report.missed, [sample["key"] for sample in report.samples]) == (1, [[digest("P1")]])
    assert "P1" not in str(report.as_dict())
    assert "other@x" not in str(report.as_dict())


def test_hashing_the_key_of_a_table_with_rows_is_refused(any_world: World) -> None:
    people(any_world, person(1))
    any_world.sync()
    put_gate(any_world, "masks: {item_number: {hash: env:MASK_KEY}}")
    assert "empty or rename the table" in str(any_world.fails(ConfigurationError))


@pytest.mark.parametrize("value", ["", "short"])
def test_without_a_proper_key_nothing_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    people(world, person(1))
    put_gate(world, MASKS)
    monkeypatch.setenv("MASK_KEY", value)
    world.fails(SecretMissingError)


def test_the_working_folder_holds_no_clear_value(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sync_pipelines.books import originals
    from sync_pipelines.destinations import spool
    from sync_pipelines.destinations.spools import RunFolder

    seen: dict[str, bytes] = {}
    remove = RunFolder.__exit__

    def look(self: RunFolder, *error: object) -> None:
        seen.update({path.name: path.read_bytes() for path in self.path.glob("*.parquet")})
        remove(self, *error)  # type: ignore[arg-type]

    monkeypatch.setattr(RunFolder, "__exit__", look)
    # Also a small run goes over the disk.
    for module in (originals, spool):
        monkeypatch.setattr(module, "MEMORY_BYTES", 0)
    people(world, person(1), person(2, stock=-1))
    put_gate(world, MASKS)
    world.sync()
    assert len(seen) == 2
    # With a CHECK of somebody every record is kept as it was sent, until it is published.
    world.sql("ALTER TABLE erp.items ADD CHECK (stock < 1000)")
    world.sync(full_refresh=True)
    assert len(seen) == 3 and "originals.parquet" in seen
    assert not any(
        CANARY.encode() in content or CANARY.encode().hex().encode() in content
        for content in seen.values()
    )
