"""Why one record got its verdict, and what would let it pass; and what another gate would do to records."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa
from polars import DataFrame

from sync_pipelines.gate.decision import NO_RULE
from sync_pipelines.gate.dmn.feel import UnaryTests
from sync_pipelines.gate.judge import Gate
from sync_pipelines.gate.levels import PASS
from sync_pipelines.gate.reasons import missing_fields

VERDICTS = ("pass", "review", "reject")
MAX_TOGETHER = 4
MAX_EXAMPLES = 10
Row = dict[str, Any]
Bits = tuple[str, ...]
"""Names of bits, see `gate.bits`."""


@dataclass(frozen=True)
class Explanation:
    """One record before its gate.

    Attributes:
        verdict: pass, review or reject.
        rules: per rule its name, words, severity, weight and whether it passed; None where masks hide what it looks at.
        missing: required fields that are not there.
        chosen: number of the rule of the decision table that answered, from 1.
        remedies: the smallest sets of rules and fields that would have to pass; any one of them is enough.
        cells: where no rule or field helps, what keeps the record from the rules of the table that let pass.
    """

    verdict: str
    score: float | None
    rules: list[dict[str, Any]]
    missing: list[str]
    chosen: int | None
    table: str | None
    reason: str
    remedies: list[list[str]] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)


def explain(gate: Gate, batch: pa.Table) -> Explanation:
    """Explain the first record of a batch of declared columns; its contract must hold."""
    view = gate.view(batch.slice(0, 1))
    bits = gate.bits(view)
    row = bits.row(0, named=True)
    decisions = gate.decide(view, bits)
    decided = decisions.row(0, named=True)
    chosen = decided["chosen"]
    explanation = Explanation(
        verdict=VERDICTS[decided["level"]],
        score=decided["_score"],
        rules=_rules(gate, row),
        missing=missing_fields(gate.definition, row),
        chosen=None if chosen in (None, NO_RULE) else chosen + 1,
        table=gate.decision.file if gate.decision else None,
        reason="",
    )
    if decided["level"] == PASS:
        return explanation
    _, reason = gate.reason(row | decided)
    remedies = _remedies(gate, view, row)
    cells = [] if remedies else _cells(gate, view, bits)
    return replace(explanation, reason=reason, remedies=remedies, cells=cells)


def _rules(gate: Gate, row: Row) -> list[Row]:
    rules = []
    for index, rule in enumerate(gate.rules):
        passed = row[f"r{index}"]
        shown = {
            "name": rule.rule.name,
            "asks": rule.words,
            "severity": rule.rule.severity,
            "weight": rule.rule.weight,
            "passed": None if rule.blind else passed,
        }
        rules.append(shown)
    return rules


def _remedies(
    gate: Gate,
    view: DataFrame,
    row: Row,
) -> list[list[str]]:
    """The smallest sets of failing rules and fields that let the record pass when they do."""
    names = _names_of_bits(gate)
    failing = [bit for bit in names if not row[bit]]
    sizes = list(range(1, len(failing) + 1))
    if len(failing) > MAX_TOGETHER:
        sizes = [*sizes[:MAX_TOGETHER], len(failing)]
    for size in sizes:
        sets = list(itertools.combinations(failing, size))
        rows = [_with_passing(row, bits) for bits in sets]
        views = pl.concat([view] * len(sets))
        decided = gate.decide(views, DataFrame(rows))
        helpful = decided["level"].eq(PASS).arg_true()
        if len(helpful):
            return [_named(sets[place], names) for place in helpful]
    return []


def _named(bits: Bits, names: dict[str, str]) -> list[str]:
    return [names[bit] for bit in bits]


def _names_of_bits(gate: Gate) -> dict[str, str]:
    names = {}
    for index, rule in enumerate(gate.rules):
        names[f"r{index}"] = rule.rule.name
    for index, name in enumerate(gate.definition.required):
        names[f"q{index}"] = f"required {name}"
    return names


def _with_passing(row: Row, bits: Bits) -> Row:
    """The bits of a record as they would be if some more passed."""
    changed = row | dict.fromkeys(bits, True)
    broken_rule = f"r{row['broken']}"
    if broken_rule in bits:
        changed["broken"] = None
    return changed


def _cells(
    gate: Gate,
    view: DataFrame,
    bits: DataFrame,
) -> list[str]:
    """For every rule of the table that lets pass, the conditions that the record does not meet."""
    decision = gate.decision
    if decision is None or decision.gives_score:
        return []
    table = decision.table
    inputs = gate.table_inputs(view, bits)
    names = [one.name for one in table.inputs]
    sentences = []
    for number, rule in enumerate(table.rules):
        if decision.levels[number] == PASS:
            conditions = _unmet(inputs, names, rule.tests)
            unmet = " and ".join(conditions)
            sentences.append(f"rule {number + 1} asks for {unmet}")
    return sentences


def _unmet(
    inputs: DataFrame,
    names: Sequence[str],
    tests: Sequence[UnaryTests],
) -> Iterator[str]:
    """The conditions of a rule that the inputs of a record do not meet."""
    for index, test in enumerate(tests):
        is_met = test.expression(pl.col(f"i{index}"))
        if not inputs.select(is_met).item():
            yield f"{names[index]} {test.text.strip()}"


@dataclass
class Shadow:
    """What another gate would do: records by old and new verdict, and examples of those that change.

    Attributes:
        examples: key, old verdict, new verdict and the new reason.
    """

    records: int = 0
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        keys: list[str],
        old: list[str],
        new: list[tuple[str, str]],
    ) -> None:
        """Count records by their old verdict and their new one with its reason."""
        records = zip(keys, old, new, strict=True)
        for key, before, (after, reason) in records:
            self.records += 1
            self.moved[before, after] += 1
            if before != after and len(self.examples) < MAX_EXAMPLES:
                example = {
                    "key": key,
                    "now": before,
                    "then": after,
                    "reason": reason,
                }
                self.examples.append(example)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        verdicts = []
        for (now, then), count in sorted(self.moved.items()):
            moved = {
                "now": now,
                "then": then,
                "records": count,
            }
            verdicts.append(moved)
        return {
            "records": self.records,
            "verdicts": verdicts,
            "failed": dict(self.failed),
            "examples": self.examples,
        }
