"""Faults 19–29: what the records hold, and what they are called."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from sync_pipelines.cli.main import app
from sync_pipelines.demo.twin import Fault, IntegerRowversions, TwinColumn, TwinTable
from sync_pipelines.errors import SchemaDriftError, SourceBusyError, SourceContractError
from sync_pipelines.model.run import RunStatus
from sync_pipelines.secrets import register_secret
from sync_pipelines_tests.faults.helpers import healed, is_in_database, refused, settled
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.test_odd_names import odd_table, values
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

HOSTILE = "=cmd|' /C calc'!A0\x1b[31m\r\nINFO forged<script>alert(1)</script>[red]"


def typed(
    world: World,
    declared: str,
    good: Mapping[str, str],
    bad: Mapping[str, str],
    *,
    status: RunStatus = RunStatus.SUCCESS,
) -> TwinTable:
    """One column of a type: good literals arrive as sent, bad ones are in quarantine with their bytes."""
    slug = f"typed_{declared.split('(')[0].split()[0].lower()}"
    columns = (TwinColumn("id", "VARCHAR(50)", is_business_key=True), TwinColumn("v", declared))
    table = world.add(
        TwinTable(slug, columns=columns, rowversions=IntegerRowversions(1), comparator="integer")
    )
    for name, literal in {**good, **bad}.items():
        data = f'{{"id": "{name}", "v": {literal}}}'.encode("utf-8", errors="surrogateescape")
        table.put_raw((name,), data, poison=name in bad)
    result = world.sync(slug, status=status)
    assert (result.ledger.inserted, result.ledger.quarantined) == (len(good), len(bad)), (
        world.quarantine(slug)
    )
    held = {row["business_key"][0]: row for row in world.quarantine(slug)}
    assert held.keys() == bad.keys()
    assert {row["column_name"] for row in held.values()} == {"v"}
    for name in bad:
        table.put({"id": name, "v": None})
    healed(world, len(bad), slug)
    assert world.quarantine(slug) == []
    return table


def test_fault_19_the_same_key_twice(world: World) -> None:
    table = world.add_items(25, rowversions=IntegerRowversions(1), comparator="integer")
    for rowversion, uom in (
        ("9", "NINE"),
        ("10", "TEN"),
        ("8", "EIGHT"),
        ("99", "LAST"),
        ("30", "THIRTY"),
    ):
        body = json.dumps(item(1, base_uom=uom)).encode()
        table.put_raw(("A00001",), body, rowversion, duplicate=True, poison=False)
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.fetched - result.ledger.inserted) == (
        25,
        result.ledger.superseded,
    )
    assert world.rows()[("A00001",)]["base_uom"] == "LAST"
    settled(world)


def test_fault_20_keys_that_are_missing_of_another_type_or_look_alike(world: World) -> None:
    table = world.add_items(3, rowversions=IntegerRowversions(1), comparator="integer")
    for name, data in {
        "missing": "{}",
        "null": '{"item_number": null}',
        "number": '{"item_number": 1}',
    }.items():
        table.put_raw((name,), data.encode())
    alike = ("1", "01", "1 ", " 1", "abc", "ABC", "e\u0301", "\u00e9", "")
    for key in alike:
        table.put({**item(0), "item_number": key})
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (3 + len(alike), 3)
    assert {(key,) for key in alike} <= world.rows().keys()
    settled(world)


def test_fault_21_nul_lone_surrogates_and_invalid_utf8(world: World) -> None:
    bad = {"nul": r'"a\u0000b"', "surrogate": r'"\ud800"', "utf8": '"\udcff\udcfe"'}
    typed(world, "TEXT", {"pair": r'"\ud83d\ude00"', "plain": '"ü"'}, bad)
    typed(
        world,
        "JSON",
        {"pair": r'{"a": "\ud83d\ude00"}'},
        {"nul": r'{"a": "\u0000"}', "surrogate": r'["\udfff"]'},
    )


def test_fault_22_numbers_beyond_their_type(world: World) -> None:
    bad = {
        "nan": "NaN",
        "infinite": "-Infinity",
        "huge": "1e400",
        "wide": "1234567.00",
        "fine": "1.005",
    }
    table = typed(world, "NUMERIC(8, 2)", {"number": "0.1", "most": "999999.99"}, bad)
    table.put_raw(("number",), b'{"id": "number", "v": "0.1"}', poison=False)
    assert world.sync("typed_numeric").ledger.written == 0, '"0.1" and 0.1 are the same number'
    typed(
        world,
        "BIGINT",
        {"most": str(2**63 - 1)},
        {"more": str(2**63), "digits": "9" * 5000, "half": "1.5"},
    )
    typed(
        world,
        "DOUBLE PRECISION",
        {"exact": "0.1"},
        {"nan": "NaN", "infinite": "Infinity", "huge": "1e400"},
    )


def test_fault_23_timestamps_at_the_edges(world: World) -> None:
    good = {
        "no_zone": '"2024-01-01T00:00:00"',
        "far_east": '"2024-01-01T00:00:00+14:00"',
        "summer_gap": '"2024-03-31T02:30:00+01:00"',
        "first": '"0001-01-01T00:00:00Z"',
        "last": '"9999-12-31T23:59:59.999999Z"',
    }
    bad = {
        "leap": '"2024-06-30T23:59:60Z"',
        "year_10000": '"10000-01-01T00:00:00Z"',
        "year_0": '"0000-01-01T00:00:00Z"',
        "seconds": "1700000000",
        "milliseconds": "1700000000000",
        "no_day": '"2024-02-30T00:00:00Z"',
    }
    typed(world, "TIMESTAMPTZ", good, bad, status=RunStatus.REJECTED)
    stored = dict(
        world.sql(
            "SELECT id, (v AT TIME ZONE 'UTC')::text FROM erp.typed_timestamptz WHERE v IS NOT NULL"
        )
    )
    assert stored["no_zone"] == "2024-01-01 00:00:00", "a moment without zone is taken as UTC"
    assert stored["far_east"] == "2023-12-31 10:00:00"


def test_fault_24_text_longer_than_declared(world: World) -> None:
    typed(
        world,
        "VARCHAR(5)",
        {"fits": '"äöüßé"', "emoji": '"😀😀😀😀😀"'},
        {"long": '"123456"', "blank": '"12345 "'},
    )


def test_fault_25_columns_that_come_go_or_change(world: World) -> None:
    table = world.add_items(5, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)
    world.sync()
    table.add_column(TwinColumn("colour", "VARCHAR(20)"), "red")
    world.discover()
    healed(world, 5)
    table.drop_column("colour")
    table.change_column("weight_per_unit", "NUMERIC(12, 4)")
    world.discover()
    healed(world, 0)
    assert {row["colour"] for row in world.rows().values()} == {"red"}, (
        "a removed column keeps its last values"
    )
    table.change_column("base_uom", is_nullable=False)
    world.discover()
    table.put_raw(("A00001",), b'{"item_number": "A00001", "base_uom": null}')
    assert world.sync().ledger.quarantined == 1
    table.put(item(1))
    world.sync()
    table.change_column("base_uom", "INTEGER")
    assert "base_uom" in world.discover().stopped["items"]
    assert "--accept items" in str(world.fails(SchemaDriftError))
    table.change_column("base_uom", "VARCHAR(10)")
    world.discover()
    columns = [
        TwinColumn(f"column_{number}", "TEXT", is_business_key=not number) for number in range(1700)
    ]
    world.store.add(TwinTable("wide", columns=columns))
    assert "1590" in world.discover().invalid["wide"]
    settled(world)


def test_fault_26_column_names_that_bite(world: World) -> None:
    table = world.add(odd_table("odd"))
    world.sync("odd")
    assert values(world, "odd") == {
        key: list(record.values()) for key, record in table.truth().items()
    }
    assert world.sync("odd").ledger.written == 0
    key = TwinColumn("id", "INTEGER", is_business_key=True)
    refused_names = {
        "empty": ("",),
        "ours": ("_bridge_id",),
        "theirs": ("ctid",),
        "case": ("Name", "name"),
        "form": ("e\u0301", "\u00e9"),
        "control": ("a\nb",),
    }
    for slug, names in refused_names.items():
        world.store.add(
            TwinTable(slug, columns=(key, *(TwinColumn(name, "TEXT") for name in names)))
        )
    assert world.discover().invalid.keys() == refused_names.keys()


def test_fault_27_slugs_that_bite(world: World) -> None:
    bad = (
        "../../etc",
        "/etc/passwd",
        "x" * 5000,
        "größe",
        "a b",
        "a\nb",
        "..",
        "%2e%2e",
        "a?b",
        ".hidden",
    )
    for slug in bad:
        world.store.add(TwinTable(slug, columns=ITEM_COLUMNS))
    world.add_items(3, "nul")
    report = world.discover()
    assert (len(report.invalid), report.unchanged) == (len(bad), ["nul"])
    assert all(label.isprintable() and len(label) < 120 for label in report.invalid)
    healed(world, 3, "nul")


def test_fault_28_formulas_markup_and_control_characters(
    world: World, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sync_pipelines")
    table = world.add_items(3, rowversions=IntegerRowversions(1), comparator="integer")
    table.put(item(4, item_description=HOSTILE))
    table.put_raw(
        ("BAD",),
        json.dumps({**item(5), HOSTILE: 1, "base_uom": HOSTILE, "item_number": "BAD"}).encode(),
    )
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (4, 1)
    assert world.rows()[("A00004",)]["item_description"] == HOSTILE
    [name] = result.undeclared
    assert name.isprintable()
    [row] = world.quarantine()
    for command in (
        ["quarantine", "show", str(row["uid"])],
        ["quarantine", "list"],
        ["runs", "show", str(row["run_uid"])],
    ):
        shown = CliRunner().invoke(app, command)
        assert shown.exit_code == 0
        assert "\x1b[31m" not in shown.stdout
        assert not any(line.startswith("INFO forged") for line in shown.stdout.splitlines())
    world.faults.add(Fault(kind="data", status=400, body=HOSTILE.encode()))
    assert str(refused(world, SourceContractError)).isprintable()
    assert all(
        "\x1b" not in record.getMessage() and "\n" not in record.getMessage()
        for record in caplog.records
    )
    settled(world)


def test_fault_29_secrets_echoed_by_the_api(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    changed_items(world)
    secret = "canary-9d1f-token"
    register_secret("canary-9d1f")
    world.server.token = secret
    monkeypatch.setenv("TWIN_TOKEN", secret)
    messages = []
    world.faults.add(Fault(kind="data", echo_authorization=True, times=2))
    messages.append(str(refused(world, SourceBusyError, "upstream refused")))
    world.faults.add(Fault(kind="data", status=400, body=f"{'x' * 190}{secret}{secret}".encode()))
    messages.append(str(refused(world, SourceContractError)))
    healed(world)
    assert "-token" not in " ".join(messages).replace("twin-token", ""), (
        "the longest secret goes first"
    )
    assert "canary-9d1f" not in " ".join(messages) + caplog.text
    assert is_in_database(world, "Product master data"), "the search finds what is there"
    assert not is_in_database(world, "canary-9d1f")
