"""A decision table, and its evaluation over whole columns by polars."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl

from sync_pipelines.gate.dmn.feel import Kind, UnaryTests, Value

RULE = "rule"
OUTPUT = "output"


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

    def matches(self) -> list[pl.Expr]:
        """One boolean expression per rule over columns named i0, i1, …; never null."""
        return [self._matches(rule).alias(f"m{number}") for number, rule in enumerate(self.rules)]

    def _matches(self, rule: TableRule) -> pl.Expr:
        cells = [(index, test) for index, test in enumerate(rule.tests) if test.tests] or [
            (0, rule.tests[0])
        ]
        return pl.all_horizontal([test.expression(pl.col(f"i{index}")) for index, test in cells])

    def precedence(self) -> list[int]:
        """Rules in the order in which the first match wins."""
        order = list(range(len(self.rules)))
        if self.policy is not HitPolicy.PRIORITY:
            return order
        ranks = [
            {value: place for place, value in enumerate(output.values)} for output in self.outputs
        ]
        return sorted(
            order,
            key=lambda number: [
                rank.get(value, len(rank))
                for rank, value in zip(ranks, self.rules[number].outputs, strict=True)
            ],
        )

    def chosen(self) -> pl.Expr:
        """Number of the rule that answers, from 0, over the columns m0, m1, …; null where none does, or too many do.

        For COLLECT without aggregation see `gate.verdict`, for UNIQUE more than one match is no answer.
        """
        first = pl.coalesce(
            [
                pl.when(pl.col(f"m{number}")).then(pl.lit(number, pl.Int32))
                for number in self.precedence()
            ]
        )
        if self.policy is HitPolicy.UNIQUE:
            hits = pl.sum_horizontal(
                [pl.col(f"m{number}").cast(pl.UInt32) for number in range(len(self.rules))]
            )
            return pl.when(hits <= 1).then(first)
        return first

    def aggregated(self) -> pl.Expr:
        """The number that COLLECT with an aggregation gives, over m0, m1, …; null where no rule matches (COUNT: 0)."""
        assert self.aggregation is not None
        matched = [pl.col(f"m{number}") for number in range(len(self.rules))]
        if self.aggregation is Aggregation.COUNT:
            distinct = {rule.outputs[0] for rule in self.rules}
            groups = [
                [m for m, rule in zip(matched, self.rules, strict=True) if rule.outputs[0] == value]
                for value in distinct
            ]
            return pl.sum_horizontal(
                [pl.any_horizontal(group).cast(pl.UInt32) for group in groups]
            ).cast(pl.Float64)
        values = [
            pl.when(match).then(pl.lit(rule.outputs[0], pl.Float64))
            for match, rule in zip(matched, self.rules, strict=True)
        ]
        if self.aggregation is Aggregation.SUM:
            return pl.when(pl.any_horizontal(matched)).then(pl.sum_horizontal(values))
        return (
            pl.min_horizontal(values)
            if self.aggregation is Aggregation.MIN
            else pl.max_horizontal(values)
        )

    def evaluate(self, inputs: pl.DataFrame) -> list[Any]:
        """The table's answer to every row, as DMN defines it: a value, a dict of several outputs, or a list for
        COLLECT.

        Args:
            inputs: columns i0, i1, … in the order of the inputs.
        """
        hits = inputs.select(self.matches())
        if self.policy is HitPolicy.COLLECT and self.aggregation is not None:
            return hits.select(self.aggregated().alias(OUTPUT))[OUTPUT].to_list()
        if self.policy is HitPolicy.COLLECT:
            rows = hits.rows()
            return [
                [self._answer(number) for number, hit in enumerate(row) if hit] or self._default()
                for row in rows
            ]
        numbers = hits.select(self.chosen().alias(RULE))[RULE].to_list()
        return [self._default() if number is None else self._answer(number) for number in numbers]

    def _answer(self, number: int) -> Any:
        values = self.rules[number].outputs
        return (
            values[0]
            if len(values) == 1
            else {output.name: value for output, value in zip(self.outputs, values, strict=True)}
        )

    def _default(self) -> Any:
        if not self.has_default:
            return None
        return (
            self.outputs[0].default
            if len(self.outputs) == 1
            else {output.name: output.default for output in self.outputs}
        )
