"""Why one record got its verdict, and what would let it pass; and what another gate would do to records."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from sync_pipelines.gate.dmn.feel import UnaryTests
from sync_pipelines.gate.judge import NO_RULE, PASS, Gate

VERDICTS = ("pass", "review", "reject")
MAX_TOGETHER = 4
MAX_EXAMPLES = 10


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
    found = gate.decide(view, bits).row(0, named=True)
    told = bits.row(0, named=True)
    chosen = None if found["chosen"] in (None, NO_RULE) else found["chosen"] + 1
    remedies = [] if found["level"] == PASS else _remedies(gate, view, told)
    return Explanation(
        VERDICTS[found["level"]],
        found["_score"],
        [
            {
                "name": rule.rule.name,
                "asks": rule.words,
                "severity": rule.rule.severity,
                "weight": rule.rule.weight,
                "passed": None if rule.blind else told[f"r{index}"],
            }
            for index, rule in enumerate(gate.rules)
        ],
        [name for index, name in enumerate(gate.definition.required) if not told[f"q{index}"]],
        chosen,
        gate.decision.file if gate.decision else None,
        "" if found["level"] == PASS else gate.reason({**told, **found})[1],
        remedies,
        _cells(gate, view, bits) if found["level"] != PASS and not remedies else [],
    )


def _remedies(gate: Gate, view: pl.DataFrame, told: dict[str, Any]) -> list[list[str]]:
    failing = [name for name, passed in told.items() if name[0] in "rq" and not passed]
    names = {f"r{index}": rule.rule.name for index, rule in enumerate(gate.rules)}
    names |= {
        f"q{index}": f"required {name}" for index, name in enumerate(gate.definition.required)
    }
    for together in [
        *range(1, min(MAX_TOGETHER, len(failing)) + 1),
        *([len(failing)] if len(failing) > MAX_TOGETHER else []),
    ]:
        sets = list(itertools.combinations(failing, together))
        bits = pl.DataFrame(
            [
                {
                    **told,
                    **dict.fromkeys(changed, True),
                    "broken": None if f"r{told['broken']}" in changed else told["broken"],
                }
                for changed in sets
            ]
        )
        views = pl.concat([view] * len(sets))
        levels = gate.decide(views, bits)["level"].to_list()
        if helpful := [
            [names[name] for name in changed]
            for changed, level in zip(sets, levels, strict=True)
            if level == PASS
        ]:
            return helpful
    return []


def _cells(gate: Gate, view: pl.DataFrame, bits: pl.DataFrame) -> list[str]:
    """For every rule of the table that lets pass, the conditions that the record does not meet."""
    if gate.decision is None or gate.decision.table.aggregation is not None:
        return []
    inputs = gate.table_inputs(view, bits)
    table = gate.decision.table
    told = []
    for number, rule in enumerate(table.rules):
        if gate.decision.levels[number] == PASS:
            unmet = [
                f"{one.name} {_shown(test)}"
                for index, (one, test) in enumerate(zip(table.inputs, rule.tests, strict=True))
                if not inputs.select(test.expression(pl.col(f"i{index}"))).item()
            ]
            told.append(f"rule {number + 1} asks for {' and '.join(unmet)}")
    return told


def _shown(test: UnaryTests) -> str:
    return test.text.strip()


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

    def add(self, keys: list[str], old: list[str], new: list[tuple[str, str]]) -> None:
        """Count records by their old verdict and their new one with its reason."""
        for key, before, (after, reason) in zip(keys, old, new, strict=True):
            self.records += 1
            self.moved[before, after] += 1
            if before != after and len(self.examples) < MAX_EXAMPLES:
                self.examples.append({"key": key, "now": before, "then": after, "reason": reason})

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        moved = [
            {"now": now, "then": then, "records": count}
            for (now, then), count in sorted(self.moved.items())
        ]
        return {
            "records": self.records,
            "verdicts": moved,
            "failed": dict(self.failed),
            "examples": self.examples,
        }
