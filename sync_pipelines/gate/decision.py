"""A decision table as a gate uses it: bound to what a gate knows of a record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl
from polars import Expr, Series

from sync_pipelines.gate.dmn.table import DecisionTable, HitPolicy, number_where_matched
from sync_pipelines.gate.levels import REVIEW

NO_RULE = -1
"""The number of the chosen rule where none matches."""


@dataclass(frozen=True)
class DecisionUse:
    """A decision table bound to an entity.

    Attributes:
        sources: per input, an expression over the view and the bits that gives its value.
        levels: per rule, the verdict.
        default_level: where no rule matches.
        file: its name, for reasons.
    """

    table: DecisionTable
    sources: tuple[Expr, ...]
    levels: tuple[int, ...]
    default_level: int
    file: str
    uses_required: bool

    @cached_property
    def matches(self) -> list[Expr]:
        """The table's rules over i0, i1, …"""
        return self.table.matches()

    @property
    def gives_score(self) -> bool:
        """The table answers with a number, which the thresholds of the score judge."""
        return self.table.aggregation is not None

    @property
    def may_review(self) -> bool:
        """Whether some answer flags a record for review."""
        return REVIEW in self.levels or self.default_level == REVIEW

    def chosen(self) -> Expr:
        """The rule that answers; of a COLLECT without aggregation the one with the worst verdict."""
        if self.table.policy is not HitPolicy.COLLECT:
            return self.table.chosen()
        numbers = range(len(self.levels))
        worst_first = sorted(numbers, key=lambda number: -self.levels[number])
        candidates = [number_where_matched(number) for number in worst_first]
        return pl.coalesce(candidates)

    def answered_level(self, chosen: Series) -> Series:
        """The verdict of each chosen rule, NO_RULE included."""
        rules = [*range(len(self.levels)), NO_RULE]
        answers = [*self.levels, self.default_level]
        return chosen.replace_strict(rules, answers, return_dtype=pl.Int32)
