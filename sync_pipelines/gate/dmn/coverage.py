"""Gaps and overlaps of a decision table, found by asking it about one example of every case that its cells can tell
apart.

The literals of an input's cells cut its values into points and the stretches between them; within each, every cell says
the same. One value of each, for all inputs in every combination, is all there is to ask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from sync_pipelines.gate.dmn.feel import UnaryTests, Value, number_or_value
from sync_pipelines.gate.dmn.table import DecisionTable, HitPolicy, Input

MAX_CASES = 200_000
MAX_FINDINGS = 20
MAX_CONTRADICTIONS = 1000
POLARS = {"string": pl.String, "number": pl.Float64, "boolean": pl.Boolean, "date": pl.Date}


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
        return self.what + (f" Example: {self.example}." if self.example else "")


def examine(table: DecisionTable) -> list[Finding]:
    """Gaps, overlaps that the hit policy does not allow, and rules that never answer. Null is no case of its own."""
    axes = [
        _examples(one, [rule.tests[index] for rule in table.rules])
        for index, one in enumerate(table.inputs)
    ]
    cases = math.prod(len(axis) for axis in axes)
    if cases > MAX_CASES:
        return [
            Finding(
                True,
                f"The table tells {cases} cases apart, more than the {MAX_CASES} that can be proven free of gaps and"
                " overlaps.",
            )
        ]
    frame = pl.DataFrame(
        {
            f"i{index}": list(column)
            for index, column in enumerate(zip(*itertools.product(*axes), strict=True))
        },
        schema={f"i{index}": POLARS[one.kind] for index, one in enumerate(table.inputs)},
    )
    hits = frame.select(table.matches())
    frame = pl.concat([frame, hits, hits.select(table.chosen().alias("chosen"))], how="horizontal")
    return [*_gaps(table, frame), *_overlaps(table, frame), *_silent(table, frame)]


def _gaps(table: DecisionTable, frame: pl.DataFrame) -> Iterator[Finding]:
    if table.has_default:
        return
    rules = [f"m{number}" for number in range(len(table.rules))]
    gaps = frame.filter(~pl.any_horizontal(rules))
    is_error = table.policy is not HitPolicy.COLLECT
    for row in gaps.head(MAX_FINDINGS).iter_rows(named=True):
        yield Finding(is_error, "No rule matches.", (), _told(table, row))


def _overlaps(table: DecisionTable, frame: pl.DataFrame) -> Iterator[Finding]:
    if table.policy not in (HitPolicy.UNIQUE, HitPolicy.ANY):
        return
    why = "both match" if table.policy is HitPolicy.UNIQUE else "both match and answer differently"
    told: set[tuple[int, int]] = set()
    for row in frame.filter(_contradicts(table)).head(MAX_CONTRADICTIONS).iter_rows(named=True):
        for one, other in _pairs(
            table, [number for number in range(len(table.rules)) if row[f"m{number}"]]
        ):
            if len(told) == MAX_FINDINGS:
                return
            if (one, other) not in told:
                told.add((one, other))
                what = (
                    f"Rules {one + 1} and {other + 1} {why}, which {table.policy} does not allow."
                )
                yield Finding(True, what, (one + 1, other + 1), _told(table, row))


def _contradicts(table: DecisionTable) -> pl.Expr:
    """Whether a case is one that the hit policy does not allow: more than one match, or matches with more than one
    answer.
    """
    matched = [pl.col(f"m{number}") for number in range(len(table.rules))]
    if table.policy is HitPolicy.UNIQUE:
        return pl.sum_horizontal([one.cast(pl.UInt32) for one in matched]) > 1
    answers = {
        outputs: place
        for place, outputs in enumerate(dict.fromkeys(rule.outputs for rule in table.rules))
    }
    told = [
        pl.when(one).then(pl.lit(answers[rule.outputs], pl.Int32))
        for one, rule in zip(matched, table.rules, strict=True)
    ]
    return pl.min_horizontal(told) != pl.max_horizontal(told)


def _pairs(table: DecisionTable, matching: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs of rules that may not both match; where answers may be equal, one rule for each answer."""
    if table.policy is HitPolicy.ANY:
        matching = list(
            {table.rules[number].outputs: number for number in reversed(matching)}.values()
        )
    return itertools.combinations(sorted(matching), 2)


def _silent(table: DecisionTable, frame: pl.DataFrame) -> Iterator[Finding]:
    single = table.policy in (HitPolicy.FIRST, HitPolicy.PRIORITY)
    for number in range(len(table.rules)):
        if not frame[f"m{number}"].any():
            yield Finding(False, f"Rule {number + 1} matches nothing.", (number + 1,))
        elif single and not (frame["chosen"] == number).any():
            row = next(frame.filter(pl.col(f"m{number}")).head(1).iter_rows(named=True))
            yield Finding(
                False,
                f"Rule {number + 1} never answers: rule {row['chosen'] + 1} always comes before it.",
                (number + 1, row["chosen"] + 1),
                _told(table, row),
            )


def _told(table: DecisionTable, row: dict[str, Value]) -> str:
    return ", ".join(
        f"{one.name} = {number_or_value(row[f'i{index}'])}"
        for index, one in enumerate(table.inputs)
    )


def _examples(one: Input, cells: list[UnaryTests]) -> list[Value]:
    """One value of every stretch that the cells tell apart and the declared input values allow."""
    literals = {
        value
        for cell in [*cells, *([one.allowed] if one.allowed else [])]
        for value in cell.values()
        if value is not None
    }
    found: list[Value]
    match one.kind:
        case "boolean":
            found = [True, False]
        case "string":
            found = list(_texts({str(value) for value in literals}, one.longest))
        case "date":
            found = list(_dates(sorted(value for value in literals if isinstance(value, date))))
        case _:
            points = sorted(float(value) for value in literals if isinstance(value, int | float))
            found = list(_numbers(points) if one.step is None else _multiples(points, one.step))
    if one.allowed is None:
        return found
    frame = pl.DataFrame({"v": found}, schema={"v": POLARS[one.kind]})
    return frame.filter(one.allowed.expression(pl.col("v")))["v"].to_list()


def _texts(literals: set[str], longest: int | None) -> Iterator[str]:
    """The literals that fit, and one text that is none of them, where there is one."""
    yield from sorted(text for text in literals if longest is None or len(text) <= longest)
    other = "another" if longest is None else "another"[:longest]
    while other in literals and (longest is None or len(other) < longest):
        other += "_"
    # All literals are fewer than the letters that there are.
    yield (
        other
        if other not in literals
        else next(letter for letter in map(chr, range(97, 0x2000)) if letter not in literals)
    )


def _multiples(points: list[float], step: float) -> Iterator[float]:
    """The points that a value of the type can be, and one value of each stretch that has one."""
    counted = sorted({index for point in points for index in _around(point, step)})
    yield from (round(index * step, 12) for index in counted or [0])


def _around(point: float, step: float) -> tuple[int, ...]:
    """The multiples next to a point, and its own number where it is one."""
    place = point / step
    own = round(place)
    if math.isclose(place, own, rel_tol=1e-12, abs_tol=1e-9):
        return (own - 1, own, own + 1)
    return (math.floor(place), math.ceil(place))


def _numbers(points: list[float]) -> Iterator[float]:
    if not points:
        yield 0.0
        return
    yield points[0] - 1
    for low, high in itertools.pairwise(points):
        yield from (low, (low + high) / 2)
    yield from (points[-1], points[-1] + 1)


def _dates(points: list[date]) -> Iterator[date]:
    if not points:
        yield date(2000, 1, 1)
        return
    if points[0] > date.min:
        yield points[0] - timedelta(days=1)
    for low, high in itertools.pairwise(points):
        yield low
        if high - low > timedelta(days=1):
            yield low + timedelta(days=1)
    yield points[-1]
    if points[-1] < date.max:
        yield points[-1] + timedelta(days=1)
