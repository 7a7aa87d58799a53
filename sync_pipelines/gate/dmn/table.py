"""A decision table, and its evaluation over whole columns by polars."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl
from polars import DataFrame, Expr

from sync_pipelines.gate.dmn.feel import Kind, UnaryTests, Value


class HitPolicy(StrEnum):
    """Which of the rules that match gives the answer."""

    UNIQUE = "UNIQUE"
    ANY = "ANY"
    FIRST = "FIRST"
    PRIORITY = "PRIORITY"
    COLLECT = "COLLECT"


class Aggregation(StrEnum):
    """What COLLECT does with the outputs."""

    SUM = "SUM"
    MIN = "MIN"
    MAX = "MAX"
    COUNT = "COUNT"


@dataclass(frozen=True)
class Input:
    """A column of conditions.

    Attributes:
        allowed: its declared input values.
        step: of which every number is a multiple, 1 for integers; None where there is always one between two others.
        longest: characters that a text has at most.
    """

    name: str
    kind: Kind
    allowed: UnaryTests | None = None
    step: float | None = None
    longest: int | None = None


@dataclass(frozen=True)
class Output:
    """A column of answers; `values` are its declared output values, the most important first."""

    name: str
    values: tuple[Value, ...] = ()
    default: Value = None


@dataclass(frozen=True)
class TableRule:
    """A row of the table."""

    tests: tuple[UnaryTests, ...]
    outputs: tuple[Value, ...]
    annotation: str | None = None


@dataclass(frozen=True)
class DecisionTable:
    """A table with at least one input, output and rule; messages count rules from 1."""

    name: str
    policy: HitPolicy
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    rules: tuple[TableRule, ...]
    aggregation: Aggregation | None = None
    has_default: bool = field(default=False)

    def matches(self) -> list[Expr]:
        """One boolean expression per rule over columns named i0, i1, …; never null."""
        found = []
        for number, rule in enumerate(self.rules):
            matches = _all_cells_match(rule)
            found.append(matches.alias(f"m{number}"))
        return found

    def precedence(self) -> list[int]:
        """Rules in the order in which the first match wins."""
        order = list(range(len(self.rules)))
        if self.policy is not HitPolicy.PRIORITY:
            return order
        # By output, the rank of each of its values, 0 for the most important one.
        ranks = [
            {value: rank for rank, value in enumerate(output.values)} for output in self.outputs
        ]

        def ranks_of(number: int) -> list[int]:
            answers = zip(ranks, self.rules[number].outputs, strict=True)
            return [rank_of.get(value, len(rank_of)) for rank_of, value in answers]

        return sorted(order, key=ranks_of)

    def chosen(self) -> Expr:
        """Number of the rule that answers, from 0, over the columns m0, m1, …; null where none does, or too many do.

        For COLLECT without aggregation see `gate.decision`; for UNIQUE more than one match is no answer.
        """
        candidates = [number_where_matched(number) for number in self.precedence()]
        first = pl.coalesce(candidates)
        if self.policy is not HitPolicy.UNIQUE:
            return first
        hits = matches_in_all(len(self.rules))
        return pl.when(hits <= 1).then(first)

    def aggregated(self) -> Expr:
        """The number that COLLECT with an aggregation gives, over m0, m1, …; null where no rule matches (COUNT: 0)."""
        assert self.aggregation is not None
        if self.aggregation is Aggregation.COUNT:
            return self._distinct_answers()
        values = []
        for number, rule in enumerate(self.rules):
            is_matched = matched(number)
            answer = pl.lit(rule.outputs[0], pl.Float64)
            values.append(pl.when(is_matched).then(answer))
        if self.aggregation is Aggregation.MIN:
            return pl.min_horizontal(values)
        if self.aggregation is Aggregation.MAX:
            return pl.max_horizontal(values)
        any_matched = pl.any_horizontal(all_matched(len(self.rules)))
        total = pl.sum_horizontal(values)
        return pl.when(any_matched).then(total)

    def _distinct_answers(self) -> Expr:
        """How many different answers the rules give that match."""
        rules_of: dict[Value, list[Expr]] = {}
        for number, rule in enumerate(self.rules):
            same_answer = rules_of.setdefault(rule.outputs[0], [])
            same_answer.append(matched(number))
        counted = []
        for rules in rules_of.values():
            is_given = pl.any_horizontal(rules)
            counted.append(is_given.cast(pl.UInt32))
        distinct = pl.sum_horizontal(counted)
        return distinct.cast(pl.Float64)

    def evaluate(self, inputs: DataFrame) -> list[Any]:
        """The table's answer to every row, as DMN defines it: a value, a dict of several outputs, or a list for
        COLLECT.

        Args:
            inputs: columns i0, i1, … in the order of the inputs.
        """
        hits = inputs.select(self.matches())
        if self.policy is not HitPolicy.COLLECT:
            numbers = hits.select(self.chosen())
            return list(map(self._answer, numbers.to_series()))
        if self.aggregation is not None:
            totals = hits.select(self.aggregated())
            return totals.to_series().to_list()
        return list(map(self._collected, hits.iter_rows()))

    def _collected(self, row: tuple[bool, ...]) -> Any:
        """The answers of all rules that match one row."""
        answers = []
        for number, is_hit in enumerate(row):
            if is_hit:
                answers.append(self._answer(number))
        return answers or self._answer(None)

    def _answer(self, number: int | None) -> Any:
        """The answer of a rule, or the default where there is no rule."""
        if number is not None:
            return self._named(self.rules[number].outputs)
        if not self.has_default:
            return None
        defaults = tuple(output.default for output in self.outputs)
        return self._named(defaults)

    def _named(self, values: tuple[Value, ...]) -> Any:
        """The value of a single output, or those of several by the names of the outputs."""
        if len(values) == 1:
            return values[0]
        names = [output.name for output in self.outputs]
        return dict(zip(names, values, strict=True))


def _all_cells_match(rule: TableRule) -> Expr:
    """Whether the inputs i0, i1, … meet all conditions of a rule."""
    cells = []
    for index, test in enumerate(rule.tests):
        if test.tests:
            value = pl.col(f"i{index}")
            cells.append(test.expression(value))
    if not cells:
        # A rule without conditions gives as many values as there are rows.
        cells.append(rule.tests[0].expression(pl.col("i0")))
    return pl.all_horizontal(cells)


def matched(number: int) -> Expr:
    """Whether a rule matched, over the columns m0, m1, …"""
    return pl.col(f"m{number}")


def all_matched(count: int) -> list[Expr]:
    """Whether each of so many rules matched."""
    return [matched(number) for number in range(count)]


def matches_in_all(count: int) -> Expr:
    """How many of so many rules matched."""
    matches = [one.cast(pl.UInt32) for one in all_matched(count)]
    return pl.sum_horizontal(matches)


def number_where_matched(number: int) -> Expr:
    """The number of a rule where it matched, else null."""
    is_matched = matched(number)
    literal = pl.lit(number, pl.Int32)
    return pl.when(is_matched).then(literal)
