"""`gate`, `review`, and what a person does with quarantined records at the command line."""

from __future__ import annotations

import csv
import io

import pytest

from sync_pipelines.cli.commands.workplace import harmless
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.gate.helpers import dmn
from sync_pipelines_tests.test_gate_route import RULES, put_gate
from sync_pipelines_tests.world import item

TABLE = """
required: [base_uom]
rules:
  - {name: heavy_enough, column: weight_per_unit, check: ge, arguments: {min_value: 1},
     severity: score, weight: 60}
  - {name: described, column: item_description, check: str_length, arguments: {min_value: 3},
     severity: score, weight: 40}
decision: {file: t.dmn}
"""
OPEN = (
    '>= 80 | true | "VALID"',
    '[50..80) | true | "WARNING"',
    '< 50 | true | "INVALID"',
    '- | false | "INVALID"',
)
WHY = ("--author", "ada", "--reason", "seen")


@pytest.fixture
def stocked(cli, world, monkeypatch):
    monkeypatch.setenv("SYNC_PIPELINES_GATES", str(world.settings.gates))
    table = world.add_items(0)
    put_gate(world, TABLE)
    (world.settings.gates / "erp" / "t.dmn").write_text(
        dmn(*OPEN, inputs="score:number required_present:boolean")
    )
    table.put(item(1, weight_per_unit=2))
    table.put(item(2, weight_per_unit=2, item_description="x"))
    table.put(item(3, weight_per_unit=0.5, item_description='=HYPERLINK("x")'))
    table.put(item(4, weight_per_unit=2, base_uom=" "))
    world.sync()
    return table


def test_explain_says_why_and_what_would_let_a_record_pass(cli, stocked):
    explained = cli("gate", "explain", "erp/items", "A00003", "--json").json
    assert (explained["verdict"], explained["score"], explained["chosen"], explained["where"]) == (
        "reject",
        40.0,
        3,
        "quarantine",
    )
    assert explained["remedies"] == [["heavy_enough"]]
    explained = cli("gate", "explain", "erp/items", "A00002", "--json").json
    assert (
        explained["verdict"],
        explained["chosen"],
        explained["where"],
        explained["remedies"],
    ) == (
        "review",
        2,
        "table",
        [["described"]],
    )
    explained = cli("gate", "explain", "erp/items", "A00004", "--json").json
    assert (explained["missing"], explained["remedies"]) == (["base_uom"], [["required base_uom"]])
    assert cli("gate", "explain", "erp/items", "A00001", "--json").json["verdict"] == "pass"
    shown = cli("gate", "explain", "erp/items", "A00003").stdout
    assert "it would pass with" in shown
    assert "heavy_enough" in shown
    assert cli("gate", "explain", "erp/items", "nobody").code == 2


def test_explain_does_not_pretend_to_judge_what_is_masked(cli, world, monkeypatch):
    monkeypatch.setenv("SYNC_PIPELINES_GATES", str(world.settings.gates))
    put_gate(
        world,
        TABLE.replace(
            "decision: {file: t.dmn}",
            "masks: {item_description: redact}\nscore: {reject_below: 70, review_below: 80}",
        ),
    )
    world.add_items(0).put(item(1, weight_per_unit=2, item_description="x"))
    world.sync(status=RunStatus.REJECTED)
    explained = cli("gate", "explain", "erp/items", "A00001", "--json").json
    assert [rule["passed"] for rule in explained["rules"]] == [True, None]
    assert "described" in explained["refused_for"]
    assert "count as passed" in cli("gate", "explain", "erp/items", "A00001").stdout


def test_shadow_counts_what_a_changed_table_would_do_and_changes_nothing(
    cli, world, stocked, tmp_path
):
    (tmp_path / "new.yaml").write_text(TABLE)
    (tmp_path / "t.dmn").write_text(
        dmn(
            '>= 40 | true | "VALID"',
            '< 40 | true | "INVALID"',
            '- | false | "WARNING"',
            inputs="score:number required_present:boolean",
        )
    )
    before = world.state()
    explained = cli(
        "gate", "shadow", "erp/items", "--file", str(tmp_path / "new.yaml"), "--json"
    ).json
    assert {(one["now"], one["then"]): one["records"] for one in explained["verdicts"]} == {
        ("pass", "pass"): 1,
        ("review", "pass"): 1,
        ("reject", "pass"): 1,
        ("reject", "review"): 1,
    }
    assert {one["key"] for one in explained["examples"]} == {"A00002", "A00003", "A00004"}
    assert world.state() == before
    assert (
        "Examples of records that change"
        in cli("gate", "shadow", "erp/items", "--file", str(tmp_path / "new.yaml")).stdout
    )


def test_check_tells_every_wrong_file_and_show_what_is_understood(cli, world, stocked):
    assert cli("gate", "check").code == 0
    shown = cli("gate", "show", "erp/items").stdout
    assert "heavy_enough" in shown
    assert "[50..80)" in shown
    put_gate(world, "rulez: []", slug="nobody")
    put_gate(world, "rules: [{name: a, column: item_numbr, check: gt}]")
    answer = cli("gate", "check", "--json")
    assert answer.code == 3
    assert [(one["state"], "Did you mean 'item_number'" in one["what"]) for one in answer.json] == [
        ("wrong", True),
        ("wrong", False),
    ]
    assert cli("gate", "show", "erp/items").code == 3


def test_a_hole_in_the_table_stops_it(cli, world, stocked):
    (world.settings.gates / "erp" / "t.dmn").write_text(
        dmn(
            OPEN[0],
            OPEN[1].replace("80)", "79]"),
            *OPEN[2:],
            inputs="score:number required_present:boolean",
        )
    )
    answer = cli("gate", "check")
    assert answer.code == 3
    assert "score = 79.5" in answer.text
    assert "score = 79.5" in cli("sync", "erp/items").text


def test_quarantine_is_worked_off_from_list_to_log(cli, world, stocked):
    (row,) = cli("quarantine", "list", "--rule", "heavy_enough", "--json").json
    assert row["business_key"] == ["A00003"]
    assert [
        one["business_key"]
        for one in cli(
            "quarantine", "list", "--rule", "rule 4", "--since", "2020-01-01", "--json"
        ).json
    ] == [["A00004"]]
    uid = row["uid"]
    assert cli("quarantine", "fix", uid, "--set", "weight_per_unit=0.25", *WHY).code == 2
    assert cli("quarantine", "fix", uid, *WHY).code == 2
    assert cli("quarantine", "waive", uid, "--author", "ada", "--reason", " ").code == 2
    assert cli("quarantine", "fix", uid, "--set", "weight_per_unit=8", *WHY).code == 0
    assert "fix by ada: seen" in cli("quarantine", "show", uid).stdout
    released = cli("quarantine", "release", uid, *WHY, "--json")
    assert released.json["runs"][0]["inserted"] == 1
    assert released.json["refused"] == []
    assert cli("quarantine", "release", uid, *WHY).code == 2
    assert [one["action"] for one in cli("quarantine", "log", "--record", uid, "--json").json] == [
        "release",
        "fix",
    ]
    (left,) = cli("quarantine", "list", "--json").json
    assert cli("quarantine", "release", left["uid"], *WHY).code == 3
    assert (
        "1 records" in cli("quarantine", "expire", "erp", "--older-than-days", "1", *WHY).stdout
        or world.quarantine()
    )
    (review,) = cli("review", "list", "erp/items", "--json").json
    assert cli("review", "accept", review["uid"], *WHY).code == 0
    assert "Nothing is under review" in cli("review", "list").stdout
    assert cli("review", "accept", review["uid"], *WHY).code == 2


def test_an_export_is_csv_without_formulas(cli, world, stocked, tmp_path):
    rows = list(csv.DictReader(io.StringIO(cli("quarantine", "export", "erp/items").stdout)))
    assert {row["business_key"] for row in rows} == {"A00003", "A00004"}
    assert all("A0000" in row["record"] for row in rows)
    cli("quarantine", "export", "--out", str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text().startswith("uid,path,")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "＝1"])
def test_no_cell_of_an_export_begins_a_formula(cell):
    assert harmless(cell).startswith("'")
    assert harmless("a=1") == "a=1"
    assert harmless(None) == ""


def test_only_rules_without_a_table_are_explained_too(cli, world, monkeypatch):
    monkeypatch.setenv("SYNC_PIPELINES_GATES", str(world.settings.gates))
    table = world.add_items(0)
    put_gate(world, RULES)
    table.put(item(1, weight_per_unit=0.5, base_uom="BOX"))
    table.put_raw(("B1",), b'{"item_number": "B1", "weight_per_unit": "heavy"}', "29990101000000")
    world.sync(status=RunStatus.REJECTED)
    assert cli("gate", "explain", "erp/items", "A00001", "--json").json["remedies"] == [
        ["heavy_enough", "known_unit"]
    ]
    assert "does not get as far as the rules" in cli("gate", "explain", "erp/items", "B1").stdout
