"""Gaps and overlaps of a decision table, found by asking it about one example of every case that its cells
distinguish.

The literals of an input's cells cut its values into points and the stretches between them; within each, every cell says
the same. One value of each, for all inputs in every combination, is all there is to ask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl
from polars import DataFrame, Expr, Series

from sync_pipelines.gate.dmn.feel import UnaryTests, Value, number_or_value
from sync_pipelines.gate.dmn.table import (
    DecisionTable,
    HitPolicy,
    Input,
    all_matched,
    matched,
    matches_in_all,
)

MAX_CASES = 200_000
MAX_FINDINGS = 20
MAX_CONTRADICTIONS = 1000
POLARS = {
    "string": pl.String,
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "date": pl.Date,
}
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Finding:
    """Something about a table that a person should know.

    Attributes:
        is_error: the table cannot be used as it is.
        rules: numbers of the rules that it is about, from 1.
        example: input values by name that show it.
    """

    is_error: bool
    what: str
    rules: tuple[int, ...] = ()
    example: str = ""

    def __str__(self) -> str:
        if not self.example:
            return self.what
        return f"{self.what} Example: {self.example}."


def examine(table: DecisionTable) -> list[Finding]:
    """Gaps, overlaps that the hit policy does not allow, and rules that never answer. Null is not among the cases."""
    axes: list[list[Value]] = []
    for index, one in enumerate(table.inputs):
        cells = [rule.tests[index] for rule in table.rules]
        axes.append(_examples(one, cells))
    cases = math.prod(map(len, axes))
    if cases > MAX_CASES:
        what = (
            f"The table distinguishes {cases} cases, more than the {MAX_CASES} that can be proven free of gaps and"
            " overlaps."
        )
        return [Finding(True, what)]
    frame = _frame_of_cases(table, axes)
    return [
        *_gaps(table, frame),
        *_overlaps(table, frame),
        *_silent(table, frame),
    ]


def _frame_of_cases(table: DecisionTable, axes: list[list[Value]]) -> DataFrame:
    """Every combination of examples as i0, i1, …, the rules that match it as m0, m1, …, and the chosen rule."""
    combinations = itertools.product(*axes)
    columns = zip(*combinations, strict=True)
    values = {f"i{index}": list(column) for index, column in enumerate(columns)}
    # Without any combination the columns are there all the same.
    schema = {f"i{index}": POLARS[one.kind] for index, one in enumerate(table.inputs)}
    cases = DataFrame(values, schema=schema)
    hits = cases.select(table.matches())
    chosen = hits.select(chosen=table.chosen())
    return pl.concat([cases, hits, chosen], how="horizontal")


def _gaps(table: DecisionTable, frame: DataFrame) -> Iterator[Finding]:
    if table.has_default:
        return
    rules = all_matched(len(table.rules))
    is_gap = ~pl.any_horizontal(rules)
    first_gaps = frame.filter(is_gap).head(MAX_FINDINGS)
    is_error = table.policy is not HitPolicy.COLLECT
    for row in first_gaps.iter_rows(named=True):
        example = _example_of(table, row)
        yield Finding(is_error, "No rule matches.", example=example)


def _overlaps(table: DecisionTable, frame: DataFrame) -> Iterator[Finding]:
    if table.policy not in (HitPolicy.UNIQUE, HitPolicy.ANY):
        return
    contradicting = frame.filter(_contradicts(table))
    first_rows = contradicting.head(MAX_CONTRADICTIONS)
    found: set[tuple[int, int]] = set()
    for row in first_rows.iter_rows(named=True):
        for pair in _pairs(table, row):
            if len(found) == MAX_FINDINGS:
                return
            if pair not in found:
                found.add(pair)
                yield _overlap(table, pair, row)


def _overlap(
    table: DecisionTable,
    pair: tuple[int, int],
    row: dict[str, Any],
) -> Finding:
    one = pair[0] + 1
    other = pair[1] + 1
    why = "both match"
    if table.policy is HitPolicy.ANY:
        why = "both match and answer differently"
    return Finding(
        True,
        f"Rules {one} and {other} {why}, which {table.policy} does not allow.",
        (one, other),
        _example_of(table, row),
    )


def _contradicts(table: DecisionTable) -> Expr:
    """Whether a case is one that the hit policy does not allow: more than one match, or matches with more than one
    answer.
    """
    if table.policy is HitPolicy.UNIQUE:
        return matches_in_all(len(table.rules)) > 1
    first_with: dict[tuple[Value, ...], int] = {}
    answers: list[Expr] = []
    for number, rule in enumerate(table.rules):
        is_matched = matched(number)
        first = first_with.setdefault(rule.outputs, number)
        answer = pl.lit(first, pl.Int32)
        answers.append(pl.when(is_matched).then(answer))
    return pl.min_horizontal(answers) != pl.max_horizontal(answers)


def _pairs(table: DecisionTable, row: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Pairs of rules that may not both match a row; where answers may be equal, one rule for each answer."""
    numbers = range(len(table.rules))
    matching = [number for number in numbers if row[f"m{number}"]]
    if table.policy is HitPolicy.ANY:
        first_with: dict[tuple[Value, ...], int] = {}
        for number in matching:
            outputs = table.rules[number].outputs
            first_with.setdefault(outputs, number)
        matching = list(first_with.values())
    return itertools.combinations(matching, 2)


def _silent(table: DecisionTable, frame: DataFrame) -> Iterator[Finding]:
    single = table.policy in (HitPolicy.FIRST, HitPolicy.PRIORITY)
    for number in range(len(table.rules)):
        shown_number = number + 1
        if not frame[f"m{number}"].any():
            what = f"Rule {shown_number} matches nothing."
            yield Finding(False, what, (shown_number,))
        elif single and not (frame["chosen"] == number).any():
            row = frame.filter(matched(number)).row(0, named=True)
            earlier = row["chosen"] + 1
            yield Finding(
                False,
                f"Rule {shown_number} never answers: rule {earlier} always comes before it.",
                (shown_number, earlier),
                _example_of(table, row),
            )


def _example_of(table: DecisionTable, row: dict[str, Any]) -> str:
    """The input values of a case by name."""
    parts = []
    for index, one in enumerate(table.inputs):
        value = number_or_value(row[f"i{index}"])
        parts.append(f"{one.name} = {value}")
    return ", ".join(parts)


def _examples(one: Input, cells: list[UnaryTests]) -> list[Value]:
    """One value of every stretch that the cells distinguish and the declared input values allow."""
    literals: set[Value] = set()
    for cell in cells:
        literals.update(cell.values())
    if one.allowed is not None:
        literals.update(one.allowed.values())
    literals.discard(None)
    found: list[Value] = list(_values_of_stretches(one, literals))
    if one.allowed is None:
        return found
    values = Series("v", found, POLARS[one.kind]).to_frame()
    is_allowed = one.allowed.expression(pl.col("v"))
    return values.filter(is_allowed)["v"].to_list()


def _values_of_stretches(one: Input, literals: set[Value]) -> Iterator[Value]:
    """One value of every stretch between the literals, and the literals themselves."""
    match one.kind:
        case "boolean":
            return iter([True, False])
        case "string":
            texts = {str(value) for value in literals}
            return _texts(texts, one.longest)
        case "date":
            days = [value for value in literals if isinstance(value, date)]
            return _dates(sorted(days))
    points = []
    for value in literals:
        if isinstance(value, int | float):
            points.append(float(value))
    points.sort()
    if one.step is None:
        return _numbers(points)
    return _multiples(points, one.step)


def _texts(literals: set[str], longest: int | None) -> Iterator[str]:
    """The literals that fit, and one text that is none of them, where there is one."""
    most = math.inf if longest is None else longest
    for text in sorted(literals):
        if len(text) <= most:
            yield text
    other = "another"[:longest]
    while other in literals and len(other) < most:
        other += "_"
    if other not in literals:
        yield other
        return
    # All literals are fewer than the letters that there are.
    letters = map(chr, range(97, 0x2000))
    yield next(letter for letter in letters if letter not in literals)


def _multiples(points: list[float], step: float) -> Iterator[float]:
    """The points that a value of the type can be, and one value of each stretch that has one."""
    indexes: set[int] = set()
    for point in points:
        indexes.update(_around(point, step))
    for index in sorted(indexes) or [0]:
        yield round(index * step, 12)


def _around(point: float, step: float) -> tuple[int, ...]:
    """The multiples next to a point, and its own number where it is one."""
    place = point / step
    own = round(place)
    is_multiple = math.isclose(place, own, rel_tol=1e-12, abs_tol=1e-9)
    if is_multiple:
        return (own - 1, own, own + 1)
    return (math.floor(place), math.ceil(place))


def _numbers(points: list[float]) -> Iterator[float]:
    if not points:
        yield 0.0
        return
    yield points[0] - 1
    for low, high in itertools.pairwise(points):
        yield low
        yield (low + high) / 2
    yield points[-1]
    yield points[-1] + 1


def _dates(points: list[date]) -> Iterator[date]:
    if not points:
        yield date(2000, 1, 1)
        return
    first = points[0]
    last = points[-1]
    if first > date.min:
        yield first - _DAY
    for low, high in itertools.pairwise(points):
        yield low
        if high - low > _DAY:
            yield low + _DAY
    yield last
    if last < date.max:
        yield last + _DAY
