"""Why a record did not simply pass, in sentences that hold no value of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync_pipelines.gate.bits import RECORD_TYPE
from sync_pipelines.gate.compiled import CompiledRule
from sync_pipelines.gate.decision import NO_RULE, DecisionUse
from sync_pipelines.gate.definition import GateFile
from sync_pipelines.gate.dmn.feel import number_or_value
from sync_pipelines.gate.levels import LEVELS, PASS, level_of_score
from sync_pipelines.secrets import printable

MAX_REASON = 1000
Row = Mapping[str, Any]
"""A record's bits, score, chosen rule and level."""


def missing_fields(definition: GateFile, row: Row) -> list[str]:
    """The required fields that a record does not have."""
    missing = []
    for index, name in enumerate(definition.required):
        if not row[f"q{index}"]:
            missing.append(name)
    return missing


@dataclass(frozen=True)
class Reasons:
    """The reasons that a gate can give."""

    definition: GateFile
    rules: Sequence[CompiledRule]
    decision: DecisionUse | None

    def reason(self, row: Row) -> tuple[str | None, str]:
        """The column to look at first, and the reason."""
        failed = self._failed(row)
        missing = missing_fields(self.definition, row)
        guilty, parts = self._guilty(row, failed)
        if missing:
            parts.append(f"Required, but missing: {', '.join(missing)}.")
        parts += self._decided(row)
        others = [rule.rule.name for rule in failed if rule not in guilty]
        if others:
            parts.append(f"Failed as well: {', '.join(others)}.")
        candidates = columns_of(guilty)
        candidates += missing
        candidates += columns_of(failed)
        column = candidates[0] if candidates else None
        text = " ".join(parts)
        return column, printable(text, MAX_REASON)

    def _failed(self, row: Row) -> list[CompiledRule]:
        failed = []
        for index, rule in enumerate(self.rules):
            if not row[f"r{index}"]:
                failed.append(rule)
        return failed

    def _guilty(self, row: Row, failed: list[CompiledRule]) -> tuple[list[CompiledRule], list[str]]:
        """The rules that decide on the level of a record, a broken one first, and a sentence about each."""
        level = row["level"]
        guilty = [rule for rule in failed if _level_of(rule) == level]
        broken = self._broken(row)
        others = [rule for rule in guilty if rule is not broken]
        parts = [f"Rule {rule.rule.name}: {rule.words}." for rule in others]
        if broken is not None:
            name = broken.rule.name
            cause = f"Rule {name} cannot be evaluated for this record: {broken.words}."
            return [broken, *others], [cause, *parts]
        if row["broken"] == RECORD_TYPE:
            parts.append("The record type cannot be evaluated for this record.")
        return guilty, parts

    def _broken(self, row: Row) -> CompiledRule | None:
        """The rule that cannot be evaluated for the record."""
        number = row["broken"]
        if number in (None, RECORD_TYPE):
            return None
        return self.rules[number]

    def _decided(self, row: Row) -> list[str]:
        """A sentence about score or decision table, where that gave the level."""
        if self.decision is None:
            return self._by_score(row, "")
        if self.decision.gives_score:
            return self._by_score(row, f" of {self.decision.file}")
        return _by_table(row, self.decision)

    def _by_score(self, row: Row, table: str) -> list[str]:
        level = row["level"]
        score = row["_score"]
        if level == PASS or level != level_of_score(self.definition, score):
            return []
        return [f"The {_score_words(score)}{table} is too low."]


def _by_table(row: Row, decision: DecisionUse) -> list[str]:
    level = row["level"]
    chosen = row["chosen"]
    score = _score_words(row["_score"])
    if chosen in (None, NO_RULE):
        if decision.default_level != level:
            return []
        return [f"{decision.file}: no rule matches ({score})."]
    if decision.levels[chosen] != level:
        return []
    rule = decision.table.rules[chosen]
    answers = ", ".join(map(number_or_value, rule.outputs))
    return [f"{decision.file} rule {chosen + 1}: {answers} ({score})."]


def _score_words(score: float | None) -> str:
    return "no score" if score is None else f"score {score:g}"


def _level_of(rule: CompiledRule) -> int:
    """The level of a record that fails the rule; PASS where that only lowers the score."""
    return LEVELS.get(rule.rule.severity, PASS)


def columns_of(rules: Sequence[CompiledRule]) -> list[str]:
    """The columns that rules look at, in the order of the rules."""
    return [name for rule in rules for name in rule.columns]
