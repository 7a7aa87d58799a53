"""Decision tables: reading, proof of coverage, and evaluation against a naive evaluator that goes row by row."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.gate.dmn.coverage import POLARS, examine
from sync_pipelines.gate.dmn.feel import (
    Comparison,
    FeelError,
    Interval,
    UnaryTests,
    parse_literals,
    parse_tests,
)
from sync_pipelines.gate.dmn.table import (
    Aggregation,
    DecisionTable,
    HitPolicy,
    Input,
    Output,
    TableRule,
)
from sync_pipelines.gate.dmn_file import read_table
from sync_pipelines_tests.gate.helpers import SHIPPED, dmn


def table_of(folder: Path, *rules: str, **options: str) -> DecisionTable:
    path = folder / "table.dmn"
    path.write_text(dmn(*rules, **options))
    return read_table(path)


def ask(table: DecisionTable, *values: Any) -> Any:
    frame = pl.DataFrame(
        {f"i{place}": [value] for place, value in enumerate(values)},
        schema={f"i{place}": POLARS[one.kind] for place, one in enumerate(table.inputs)},
    )
    return table.evaluate(frame)[0]


# --- the naive evaluator: one row, one cell at a time, in plain Python ----------------------------


def naive_test(test: Comparison | Interval, value: Any) -> bool | None:
    if isinstance(test, Interval):
        if value is None:
            return None
        above = value >= test.low if test.low_closed else value > test.low
        return above and (value <= test.high if test.high_closed else value < test.high)
    if test.operator in ("=", "!="):
        return (value == test.value) is (test.operator == "=")
    if value is None:
        return None
    return {
        "<": value < test.value,
        "<=": value <= test.value,
        ">": value > test.value,
        ">=": value >= test.value,
    }[test.operator]


def naive_cell(cell: UnaryTests, value: Any) -> bool:
    if not cell.tests:
        return True
    found = [naive_test(test, value) for test in cell.tests]
    any_true = True if True in found else None if None in found else False
    return any_true is False if cell.negated else any_true is True


def naive(table: DecisionTable, values: tuple[Any, ...]) -> Any:
    hits = [
        n
        for n, rule in enumerate(table.rules)
        if all(naive_cell(cell, value) for cell, value in zip(rule.tests, values, strict=True))
    ]
    outputs = [table.rules[n].outputs[0] for n in hits]
    default = table.outputs[0].default if table.has_default else None
    if table.policy is HitPolicy.COLLECT:
        match table.aggregation:
            case Aggregation.COUNT:
                return len(set(outputs))
            case Aggregation.SUM:
                return sum(outputs) if outputs else None
            case Aggregation.MIN:
                return min(outputs, default=None)
            case Aggregation.MAX:
                return max(outputs, default=None)
        return outputs or default
    if not hits or (table.policy is HitPolicy.UNIQUE and len(hits) > 1):
        return default
    if table.policy is HitPolicy.PRIORITY:
        return min(outputs, key=table.outputs[0].values.index)
    return outputs[0]


NUMBERS = st.integers(-3, 6).map(float)


TEXTS = st.sampled_from(["a", "b", "c"])


DAYS = st.integers(1, 9).map(lambda day: date(2024, 1, day))


@st.composite
def cells(draw: Any, kind: str) -> UnaryTests:
    literals = {"number": NUMBERS, "string": TEXTS, "boolean": st.booleans(), "date": DAYS}[kind]

    def one() -> Comparison | Interval:
        form = draw(st.sampled_from(["literal", "compare", "interval", "null"]))
        if form == "null" or kind in ("string", "boolean") or form == "literal":
            return Comparison(
                draw(st.sampled_from(["=", "!="])), None if form == "null" else draw(literals)
            )
        if form == "compare":
            return Comparison(
                draw(st.sampled_from(["<", "<=", ">", ">=", "=", "!="])), draw(literals)
            )
        low, high = sorted([draw(literals), draw(literals)])
        return Interval(low, high, draw(st.booleans()), draw(st.booleans()))

    tests = tuple(one() for _ in range(draw(st.integers(0, 3))))
    return UnaryTests("", tests, bool(tests) and draw(st.booleans()))


@st.composite
def tables(draw: Any) -> DecisionTable:
    kinds = draw(
        st.lists(st.sampled_from(["number", "string", "boolean", "date"]), min_size=1, max_size=3)
    )
    policy = draw(st.sampled_from(HitPolicy))
    aggregation = (
        draw(st.sampled_from([None, *Aggregation])) if policy is HitPolicy.COLLECT else None
    )
    answers = (1.0, 2.0, 3.0, -4.0)
    rules = tuple(
        TableRule(tuple(draw(cells(kind)) for kind in kinds), (draw(st.sampled_from(answers)),))
        for _ in range(draw(st.integers(1, 5)))
    )
    has_default = aggregation is None and draw(st.booleans())
    output = Output("o", draw(st.permutations(answers).map(tuple)), 9.0 if has_default else None)
    return DecisionTable(
        "t",
        policy,
        tuple(Input(f"n{n}", kind) for n, kind in enumerate(kinds)),
        (output,),
        rules,
        aggregation,
        has_default,
    )


VALUES = {
    "number": st.none() | NUMBERS | st.just(0.5),
    "string": st.none() | TEXTS | st.just("z"),
    "boolean": st.none() | st.booleans(),
    "date": st.none() | DAYS,
}


@given(st.data())
def test_columns_and_single_rows_get_the_same_answers(data: Any) -> None:
    table = data.draw(tables())
    rows = data.draw(
        st.lists(st.tuples(*(VALUES[one.kind] for one in table.inputs)), min_size=1, max_size=8)
    )
    frame = pl.DataFrame(
        {f"i{place}": [row[place] for row in rows] for place in range(len(table.inputs))},
        schema={f"i{place}": POLARS[one.kind] for place, one in enumerate(table.inputs)},
    )
    assert table.evaluate(frame) == [naive(table, row) for row in rows]


@given(st.data())
def test_a_table_said_to_have_no_gap_has_none_and_an_example_of_a_gap_is_one(data: Any) -> None:
    table = data.draw(tables())
    findings = examine(table)
    row = data.draw(st.tuples(*(VALUES[one.kind] for one in table.inputs)))
    hits = [
        n
        for n, rule in enumerate(table.rules)
        if all(naive_cell(cell, value) for cell, value in zip(rule.tests, row, strict=True))
    ]
    if (
        not table.has_default
        and not any(finding.what == "No rule matches." for finding in findings)
        and None not in row
    ):
        assert hits
    if table.policy is HitPolicy.UNIQUE and None not in row and len(hits) > 1:
        assert any(
            finding.is_error and set(finding.rules) <= {n + 1 for n in hits}
            for finding in findings
            if len(finding.rules) == 2
        )


@pytest.mark.parametrize(
    ("cell", "yes", "no"),
    [
        ("-", [1, None], []),
        ("", [1], []),
        ("5", [5], [4, None]),
        ("-5", [-5], [5]),
        (".5, 1.25", [0.5, 1.25], [1]),
        ("< 5", [4.9], [5, None]),
        (">=5", [5], [4]),
        ("!= 5", [4, None], [5]),
        ("[1..3]", [1, 3], [0.9, 3.1, None]),
        ("(1..3)", [2], [1, 3]),
        ("]1..3[", [2], [1, 3]),
        ("[1..3), >10", [1, 11], [3, 10]),
        ("not(5)", [4, None], [5]),
        ("not(<5)", [5], [4, None]),
        ("not([1..3], 7)", [4], [2, 7]),
        ("null", [None], [1]),
        ("not(null)", [1], [None]),
    ],
)
def test_cells_of_numbers(cell: str, yes: list[Any], no: list[Any]) -> None:
    frame = pl.DataFrame({"v": [*yes, *no]}, schema={"v": pl.Float64})
    assert frame.select(parse_tests(cell).expression(pl.col("v")).alias("m"))["m"].to_list() == [
        True
    ] * len(yes) + [False] * len(no)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('"a"', ("a",)),
        ('"a, b", "say \\"x\\""', ("a, b", 'say "x"')),
        ('"\\u00e9\\n"', ("é\n",)),
        ("true, false, null", (True, False, None)),
        ('date("2024-02-29")', (date(2024, 2, 29),)),
        ('@"2024-02-29"', (date(2024, 2, 29),)),
        ("-12.50", (-12.5,)),
    ],
)
def test_literals(text: str, values: tuple[Any, ...]) -> None:
    assert parse_literals(text) == values


@pytest.mark.parametrize(
    "cell",
    [
        "a",
        "x + 1",
        "5 6",
        "[1..",
        "[3..1]",
        "[1,3]",
        "not(5",
        '< "a"',
        'date("2024-02-30")',
        "? > 5",
        '"open',
        "5,",
        "not()",
        '["a".."b"]',
        "> true",
        "1e5x",
        "sum(1)",
    ],
)
def test_what_is_not_supported_is_refused_and_never_guessed(cell: str) -> None:
    with pytest.raises(FeelError):
        parse_tests(cell)


def test_the_table_of_the_seeds_as_it_was_written_has_a_hole_between_79_and_80(
    tmp_path: Path,
) -> None:
    table = table_of(tmp_path, '>= 80 | "VALID"', '[50..79] | "WARNING"', '< 50 | "INVALID"')
    (finding,) = examine(table)
    assert (finding.is_error, finding.what, finding.example) == (
        True,
        "No rule matches.",
        "score = 79.5",
    )


def test_the_table_that_is_shipped_has_no_hole() -> None:
    table = read_table(SHIPPED / "processgit" / "dmn" / "decisions.dmn.xml")
    assert examine(table) == []
    assert [ask(table, "customer", score, True) for score in (100.0, 80.0, 79.5, 50.0, 49.9)] == [
        "VALID",
        "VALID",
        "WARNING",
        "WARNING",
        "INVALID",
    ]
    assert ask(table, "transaction", 100.0, False) == "INVALID"
    assert ask(table, "shipment", 100.0, True) == "WARNING"


def test_overlaps_are_errors_where_the_hit_policy_forbids_them(tmp_path: Path) -> None:
    rules = ('>= 10 | "a"', '<= 10 | "b"')
    (unique,) = examine(table_of(tmp_path, *rules))
    assert unique.is_error
    assert (
        str(unique) == "Rules 1 and 2 both match, which UNIQUE does not allow. Example: score = 10."
    )
    (some,) = examine(table_of(tmp_path, *rules, policy="ANY"))
    assert some.rules == (1, 2)
    assert examine(table_of(tmp_path, '>= 10 | "a"', '<= 10 | "a"', policy="ANY")) == []
    assert examine(table_of(tmp_path, *rules, policy="FIRST")) == []
    assert examine(table_of(tmp_path, *rules, policy="COLLECT")) == []


def test_rules_that_never_answer_are_warned_about(tmp_path: Path) -> None:
    (finding,) = examine(table_of(tmp_path, '- | "a"', '> 5 | "b"', policy="FIRST"))
    assert (finding.is_error, finding.what) == (
        False,
        "Rule 2 never answers: rule 1 always comes before it.",
    )
    (finding,) = examine(
        table_of(tmp_path, '- | "a"', '> 5 | "b"', policy="PRIORITY", values='"a", "b"')
    )
    assert finding.rules == (2, 1)
    assert (
        examine(table_of(tmp_path, '- | "a"', '> 5 | "b"', policy="PRIORITY", values='"b", "a"'))
        == []
    )


def test_gaps_are_no_error_with_a_default_and_a_warning_for_collect(tmp_path: Path) -> None:
    assert examine(table_of(tmp_path, '> 5 | "a"', default='"b"')) == []
    findings = examine(table_of(tmp_path, "> 5 | 1", policy="COLLECT", aggregation="SUM"))
    assert findings
    assert not any(finding.is_error for finding in findings)


def test_more_cases_than_can_be_proven_are_an_error_and_not_a_promise(tmp_path: Path) -> None:
    names = " ".join(f"n{n}:number" for n in range(8))
    rules = [" | ".join([f"< {n}"] * 8) + ' | "a"' for n in range(8)]
    (finding,) = examine(table_of(tmp_path, *rules, inputs=names))
    assert finding.is_error
    assert "distinguishes" in finding.what


XML = {
    "a DTD": '<!DOCTYPE d [<!ENTITY a "b">]><d>&a;</d>',
    "a billion laughs": '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><d>&b;</d>',
    "an external entity": '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><d>&a;</d>',
    "no DMN": "<d/>",
    "no XML": "rules: []",
    "no table": '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/"/>',
}


@pytest.mark.parametrize("case", XML)
def test_xml_that_is_no_plain_table_is_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "bad.dmn"
    path.write_text(XML[case])
    with pytest.raises(GateDefinitionError, match=r"bad\.dmn"):
        read_table(path)


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        (('> 5 | "a"',), {"policy": "RULE ORDER"}, "hit policy 'RULE ORDER' is not supported"),
        (('> 5 | "a"',), {"policy": "FRST"}, "Did you mean 'FIRST'?"),
        (
            ('> 5 | "a"',),
            {"policy": "COLLECT", "aggregation": "SUM"},
            "needs a single output of numbers",
        ),
        (('> x | "a"',), {}, "rule 1, condition 1"),
        (("> 5 | a",), {}, "rule 1, output 1"),
        (('"x" | "a"',), {}, "values of several types: number, string"),
        (('> 5 | "c"',), {"values": '"a", "b"'}, "rule 1 answers 'c'"),
        (('> 5 | "a"',), {"policy": "PRIORITY"}, "PRIORITY needs outputValues"),
    ],
)
def test_a_wrong_table_is_named_with_its_line_and_rule(
    tmp_path: Path, rules: tuple[str, ...], options: dict[str, str], message: str
) -> None:
    with pytest.raises(GateDefinitionError) as caught:
        table_of(tmp_path, *rules, **options)
    assert "table.dmn:1: " in caught.value.what
    assert message in caught.value.what


# --- the proof is over the values that a type has -------------------------------------------------


def gaps(one: Input, *cells: str) -> list[str]:
    """Examples of values that no rule of a UNIQUE table over one input matches."""
    rules = tuple(TableRule((parse_tests(cell),), ("pass",)) for cell in cells)
    table = DecisionTable("t", HitPolicy.UNIQUE, (one,), (Output("v"),), rules)
    return [finding.example for finding in examine(table) if finding.is_error]


@pytest.mark.parametrize(
    ("one", "cells", "found"),
    [
        (Input("n", "number", step=1.0), ("<= 1", ">= 2"), []),
        (Input("n", "number"), ("<= 1", ">= 2"), ["n = 1.5"]),
        (Input("n", "number", step=1.0), ("<= 1", ">= 3"), ["n = 2"]),
        (Input("n", "number", step=0.01), ("< 0.5", "[0.5..0.99]", ">= 1"), []),
        (Input("n", "number", step=0.01), ("< 0.5", "[0.5..0.98]", ">= 1"), ["n = 0.99"]),
        (Input("n", "number", step=1.0), ("< 1.2", "> 1.8"), []),
        (Input("b", "boolean"), ("true", "false"), []),
        (Input("d", "date"), ('<= date("2025-01-01")', '>= date("2025-01-02")'), []),
        (Input("t", "string", longest=1), ('"a"',), ['t = "b"']),
        (Input("t", "string"), ('"a"',), ['t = "another"']),
    ],
)
def test_the_proof_asks_about_values_that_the_type_has(
    one: Input, cells: tuple[str, ...], found: list[str]
) -> None:
    assert gaps(one, *cells) == found


@pytest.mark.parametrize(
    ("one", "cell"),
    [
        (Input("n", "number", parse_tests("[1.2..1.8]"), step=1.0), "1.5"),
        (Input("t", "string", parse_tests('"ABC", "XYZ"'), longest=2), '"ABC"'),
        (Input("b", "boolean", parse_tests("null")), "true"),
    ],
)
def test_of_an_input_that_can_have_no_value_the_rule_matches_nothing(one: Input, cell: str) -> None:
    """The proof has no case at all then, and keeps its columns all the same."""
    rules = (TableRule((parse_tests(cell),), ("pass",)),)
    table = DecisionTable("t", HitPolicy.UNIQUE, (one,), (Output("v"),), rules)
    assert [finding.what for finding in examine(table)] == ["Rule 1 matches nothing."]
