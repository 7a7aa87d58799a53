"""Rules of a gate: each kind of them, severities, score, required fields, and the message for a wrong file."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.gate.compiled import CHECKS
from sync_pipelines.gate.explain import explain
from sync_pipelines.gate.files import load_gate
from sync_pipelines.gate.rules import rule
from sync_pipelines.gate.tally import Tally
from sync_pipelines_tests.batches.helpers import column, entity_of, key
from sync_pipelines_tests.gate.helpers import batch_of, dmn, gate_of, judge, levels, write_gate

ENTITY = entity_of(
    key("id"),
    column("name", "VARCHAR(20)"),
    column("weight", "NUMERIC(10, 3)"),
    column("stock", "BIGINT"),
    column("ratio", "DOUBLE PRECISION"),
    column("loose", "NUMERIC"),
    column("begins", "DATE"),
    column("ends", "TIMESTAMPTZ"),
)


DAY, MOMENT = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 2, tzinfo=datetime.UTC)


GOOD = ("a", "Ada", 1.5, 3, 0.5, "7", DAY, MOMENT)


def changed(**values: Any) -> tuple[Any, ...]:
    names = [one.name for one in ENTITY.columns]
    return tuple(values.get(name, value) for name, value in zip(names, GOOD, strict=True))


@pytest.mark.parametrize(
    ("column_name", "check", "arguments", "bad"),
    [
        ("name", "equal_to", "{value: Ada}", "Eve"),
        ("name", "not_equal_to", "{value: Eve}", "Eve"),
        ("weight", "greater_than", "{min_value: 1.499}", 1.499),
        ("weight", "greater_than_or_equal_to", "{min_value: 1.5}", 1.499),
        ("stock", "less_than", "{max_value: 4}", 4),
        ("stock", "less_than_or_equal_to", "{max_value: 3.0}", 4),
        ("weight", "in_range", "{min_value: 0, max_value: 1.5}", 1.501),
        (
            "weight",
            "in_range",
            "{min_value: 1.5, max_value: 2, include_min: true, include_max: false}",
            2,
        ),
        ("weight", "isin", "{allowed_values: [1.5, 2]}", 3),
        ("stock", "isin", "{allowed_values: [3, 4.0]}", 5),
        ("loose", "isin", "{allowed_values: [7, 8]}", "9"),
        ("loose", "in_range", "{min_value: 6.5, max_value: 8}", "8.5"),
        ("ratio", "isin", "{allowed_values: [0.5, 1]}", 0.7),
        ("name", "notin", "{forbidden_values: [Eve, Bob]}", "Bob"),
        ("name", "str_matches", "{pattern: '^[A-Z][a-z]+$'}", "ada"),
        ("name", "str_contains", "{pattern: d}", "xyz"),
        ("name", "str_startswith", "{string: A}", "Bda"),
        ("name", "str_endswith", "{string: a}", "Adb"),
        ("name", "str_length", "{min_value: 2, max_value: 4}", "Adele"),
        ("begins", "gt", "{min_value: 2024-04-30}", datetime.date(2024, 4, 30)),
        (
            "ends",
            "ge",
            "{min_value: 2024-05-02T00:00:00Z}",
            datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
        ),
        (
            "ends",
            "lt",
            "{max_value: 2024-05-02 00:00:01}",
            datetime.datetime(2024, 6, 1, tzinfo=datetime.UTC),
        ),
        ("stock", "eq", "{value: 3}", 2),
        ("stock", "ne", "{value: 2}", 2),
        ("stock", "le", "{max_value: 3}", 4),
        ("stock", "between", "{min_value: 3, max_value: 3}", 2),
    ],
)
def test_every_built_in_check_of_pandera_judges_by_name(
    tmp_path: Path, column_name: str, check: str, arguments: str, bad: Any
) -> None:
    text = f"rules: [{{name: it, column: {column_name}, check: {check}, arguments: {arguments}}}]"
    gate = gate_of(tmp_path, text, ENTITY)
    assert levels(gate, GOOD, changed(**{column_name: bad}), changed(**{column_name: None})) == [
        "pass",
        "reject",
        "pass",
    ]
    strict = gate_of(tmp_path, text.replace("}}]", "}, nulls: fail}]"), ENTITY)
    assert levels(strict, GOOD, changed(**{column_name: None})) == ["pass", "reject"]


def test_the_names_of_checks_are_those_that_pandera_has_for_polars() -> None:
    import pandera.backends.polars.builtin_checks as builtin
    from pandera.api.checks import Check

    there = {name for name in Check.CHECK_FUNCTION_REGISTRY if hasattr(builtin, name)} - {
        "unique_values_eq"
    }
    assert there <= set(CHECKS)
    assert all(hasattr(Check, name) for name in CHECKS)


def test_an_expression_compares_columns_of_a_record_and_when_restricts_it(tmp_path: Path) -> None:
    gate = gate_of(
        tmp_path, "rules: [{name: order, expression: begins <= ends, when: stock > 0}]", ENTITY
    )
    late = datetime.date(2025, 1, 1)
    assert levels(
        gate,
        GOOD,
        changed(begins=late),
        changed(begins=late, stock=0),
        changed(begins=None),
        changed(begins=late, stock=None),
    ) == [
        *("pass", "reject", "pass", "pass", "pass"),
    ]
    (violation,) = judge(gate, changed(begins=late)).rejects
    assert (violation.column, violation.reason) == ("begins", "Rule order: begins <= ends.")


@rule
def is_multiple_of(value: pl.Expr, factor: int) -> pl.Expr:
    return value % factor == 0


@rule(name="in_order")
def ordered(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    return first <= second


def test_functions_registered_by_the_decorator_judge_one_or_several_columns(tmp_path: Path) -> None:
    text = (
        "rules:\n"
        "- {name: three, column: stock, function: is_multiple_of, arguments: {factor: 3}}\n"
        "- {name: order, columns: [begins, ends], function: in_order}"
    )
    gate = gate_of(tmp_path, text, ENTITY)
    assert levels(gate, GOOD, changed(stock=4), changed(begins=datetime.date(2030, 1, 1))) == [
        "pass",
        "reject",
        "reject",
    ]


def test_functions_come_from_the_python_files_of_the_folder_and_are_loaded_again_when_they_change(
    tmp_path: Path,
) -> None:
    code = (
        "import polars as pl\n"
        "from sync_pipelines.gate.rules import rule\n"
        "@rule\n"
        "def small(value: pl.Expr) -> pl.Expr:\n"
        "    return value < {}\n"
    )
    (tmp_path / "mine.py").write_text(code.format(3))
    write_gate(tmp_path, "rules: [{name: small, column: stock, function: small}]", ENTITY)
    gate = load_gate(tmp_path, ENTITY)
    assert gate is not None
    assert levels(gate, GOOD) == ["reject"]
    assert load_gate(tmp_path, ENTITY) is gate
    (tmp_path / "mine.py").write_text(code.format(10_000))
    again = load_gate(tmp_path, ENTITY)
    assert again is not None
    assert levels(again, GOOD) == ["pass"]
    (tmp_path / "mine.py").write_text("import polars\n1 / 0\n")
    with pytest.raises(GateDefinitionError, match=r"mine\.py:2: ZeroDivisionError"):
        load_gate(tmp_path, ENTITY)


def test_an_entity_without_a_file_has_no_gate(tmp_path: Path) -> None:
    assert load_gate(tmp_path, ENTITY) is None
    assert load_gate(tmp_path / "nowhere", ENTITY) is None


def test_severity_says_what_becomes_of_a_record_and_the_worst_verdict_counts(
    tmp_path: Path,
) -> None:
    text = """
rules:
  - {name: has_weight, column: weight, check: gt, arguments: {min_value: 0}, severity: review}
  - {name: has_stock, column: stock, check: gt, arguments: {min_value: 0}}
"""
    gate = gate_of(tmp_path, text, ENTITY)
    assert gate.may_review
    assert levels(gate, GOOD, changed(weight=0), changed(stock=0), changed(weight=0, stock=0)) == [
        "pass",
        "review",
        "reject",
        "reject",
    ]
    verdicts = judge(gate, GOOD, changed(weight=0), changed(weight=0, stock=0))
    assert verdicts.reviews is not None
    assert verdicts.reviews.to_pylist() == [None, "Rule has_weight: weight: gt(min_value=0).", None]
    assert (
        verdicts.rejects[0].reason
        == "Rule has_stock: stock: gt(min_value=0). Failed as well: has_weight."
    )


def test_the_score_is_the_share_of_the_weights_and_its_thresholds_close_on_each_other(
    tmp_path: Path,
) -> None:
    rules = "\n".join(
        f"  - {{name: r{n}, column: stock, check: ge, arguments: {{min_value: {n}}}, severity: score, weight: {w}}}"
        for n, w in ((1, 50), (2, 29.5), (3, 20.5))
    )
    gate = gate_of(
        tmp_path, f"rules:\n{rules}\nscore: {{reject_below: 50, review_below: 80}}", ENTITY
    )
    # 100, 79.5 (the hole between 79 and 80), 50 and 0
    assert levels(gate, *[changed(stock=n) for n in (3, 2, 1, 0)]) == [
        "pass",
        "review",
        "review",
        "reject",
    ]
    assert (
        judge(gate, changed(stock=0)).rejects[0].reason
        == "The score 0 is too low. Failed as well: r1, r2, r3."
    )


def test_required_fields_are_neither_null_nor_blank(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, "required: [name, stock]", ENTITY)
    assert levels(gate, GOOD, changed(name="  "), changed(name=None), changed(stock=None)) == [
        "pass",
        "reject",
        "reject",
        "reject",
    ]
    (violation,) = judge(gate, changed(name=" ", stock=None)).rejects
    assert (violation.column, violation.reason) == ("name", "Required, but missing: name, stock.")


def test_what_the_contract_refuses_keeps_its_reason_and_is_counted_once(tmp_path: Path) -> None:
    tally = Tally()
    gate = gate_of(
        tmp_path,
        "rules: [{name: has_stock, column: stock, check: gt, arguments: {min_value: 0}}]",
        ENTITY,
    )
    verdicts = judge(gate, changed(id=None, stock=0), GOOD, changed(stock=0), tally=tally)
    assert [(one.index, one.column) for one in verdicts.rejects] == [(0, "id"), (2, "stock")]
    assert tally.as_dict() == {
        "passed": 1,
        "reviewed": 0,
        "rejected": 2,
        "waived": 0,
        "failed": {"has_stock": 1},
        "decided": {},
    }


def test_a_value_that_breaks_an_expression_sends_its_own_record_to_quarantine_and_no_other(
    tmp_path: Path,
) -> None:
    text = """
record_type: CAST(CAST(name AS INTEGER) AS VARCHAR)
rules: [{name: number, expression: CAST(name AS INTEGER) > 0, severity: review}]
decision: {file: t.dmn, inputs: {kind: record_type}}
"""
    table = dmn('"7", null | "VALID"', 'not("7", null) | "WARNING"', inputs="kind:string")
    gate = gate_of(tmp_path, text, ENTITY, t_dmn=table)
    rows = [changed(name=name) for name in ("7", "8", "canary", None, "7", "-1", "99999999999")]
    assert levels(gate, *rows) == ["pass", "review", "reject", "pass", "pass", "review", "reject"]
    verdicts, tally = judge(gate, *rows), Tally()
    assert [violation.reason for violation in verdicts.rejects] == [
        "Rule number cannot be evaluated for this record: CAST(name AS INTEGER) > 0."
    ] * 2
    assert {violation.column for violation in verdicts.rejects} == {"name"}
    assert "canary" not in str(verdicts)
    judge(gate, *rows, tally=tally)
    assert (tally.passed, tally.reviewed, tally.rejected, tally.failed) == (3, 2, 2, {"number": 3})


def test_explain_tells_which_rule_breaks_and_that_it_would_be_enough_if_it_passed(
    tmp_path: Path,
) -> None:
    gate = gate_of(
        tmp_path, "rules: [{name: number, expression: CAST(name AS INTEGER) > 0}]", ENTITY
    )
    explained = explain(gate, batch_of(ENTITY, changed(name="canary")))
    assert (explained.verdict, explained.remedies) == ("reject", [["number"]])
    assert "number cannot be evaluated" in explained.reason


def test_a_record_type_that_is_unknown_is_a_reason_by_itself(tmp_path: Path) -> None:
    text = "record_type: CAST(CAST(name AS INTEGER) AS VARCHAR)\ndecision: {file: t.dmn, inputs: {kind: record_type}}"
    gate = gate_of(tmp_path, text, ENTITY, t_dmn=dmn('-  | "VALID"', inputs="kind:string"))
    rows = [changed(name=name) for name in ("7", "canary")]
    assert [violation.reason for violation in judge(gate, *rows).rejects] == [
        "The record type cannot be evaluated for this record."
    ]
    assert levels(gate, *rows) == ["pass", "reject"]


def test_a_thousand_values_that_break_an_expression_are_found_one_by_one(tmp_path: Path) -> None:
    gate = gate_of(
        tmp_path, "rules: [{name: number, expression: CAST(name AS INTEGER) > 0}]", ENTITY
    )
    rows = [changed(name="x" if number % 3 else "7") for number in range(1500)]
    assert levels(gate, *rows) == ["reject" if number % 3 else "pass" for number in range(1500)]


def test_a_reason_names_no_value_of_the_record(tmp_path: Path) -> None:
    text = "rules:\n- {name: a, column: name, check: equal_to, arguments: {value: Ada}}\ndecision: {file: t.dmn}"
    gate = gate_of(tmp_path, text, ENTITY, t_dmn=dmn('>= 50 | "VALID"', '< 50 | "INVALID"'))
    (violation,) = judge(gate, changed(name="canary-4711")).rejects
    assert "canary" not in violation.reason
    assert "t.dmn rule 2" in violation.reason
