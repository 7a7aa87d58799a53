"""The verdicts of a gate: rules, score and decision table over a whole batch, and a reason for every record that does
not simply pass.

A verdict is the worst of: rules that failed (by their severity), required fields that miss, and the decision table or
else the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa
from polars import DataFrame, Expr, Series

from sync_pipelines.gate.bits import bits_of
from sync_pipelines.gate.compiled import CompiledRule
from sync_pipelines.gate.contract import Violation
from sync_pipelines.gate.decision import NO_RULE, DecisionUse
from sync_pipelines.gate.definition import GateFile
from sync_pipelines.gate.levels import (
    LEVELS,
    PASS,
    PASS_LEVEL,
    REJECT,
    REVIEW,
    beside,
    level_by_thresholds,
    level_of_broken,
    level_of_missing,
    level_where,
    numbered,
    rule_bit,
)
from sync_pipelines.gate.reasons import Reasons, Row, columns_of
from sync_pipelines.gate.tally import Tally
from sync_pipelines.gate.view import view_of
from sync_pipelines.model.entity import Entity

_FACTS = ["_score", "_required", "_failed"]
_LEVEL = pl.col("level")
_BEST_SCORE = 100.0


@dataclass(frozen=True)
class Verdicts:
    """Judgement of a batch.

    Attributes:
        rejects: records that go to quarantine, in row order.
        reviews: for every row, why it is to be reviewed, or null; None when no row is.
    """

    rejects: list[Violation]
    reviews: pa.Array | None = None


@dataclass(frozen=True)
class Gate:
    """The gate of an entity, ready to judge batches."""

    entity: Entity
    definition: GateFile
    rules: tuple[CompiledRule, ...]
    record_type: Expr | None
    decision: DecisionUse | None

    @cached_property
    def judges(self) -> bool:
        """False when the file holds masks only."""
        return bool(self.rules or self.definition.required or self.decision)

    @cached_property
    def may_review(self) -> bool:
        """Whether a record of this gate can be flagged for review."""
        severities = {rule.rule.severity for rule in self.rules}
        if "review" in severities:
            return True
        score = self.definition.score
        if score is not None and score.review_below > 0:
            return True
        return self.decision is not None and self.decision.may_review

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.definition, self.rules, self.decision)

    @cached_property
    def _names(self) -> set[str]:
        """The columns that the gate looks at."""
        columns = [column.name for column in self.entity.columns]
        names = set(columns_of(self.rules))
        names.update(self.definition.required)
        for expression in self._expressions:
            names.update(expression.meta.root_names())
        names.intersection_update(columns)
        # The first column gives the number of records, whatever the gate looks at.
        names.add(columns[0])
        return names

    @property
    def _expressions(self) -> list[Expr]:
        """Conditions of rules, the record type and the inputs of the decision table."""
        found = []
        for rule in self.rules:
            if rule.when is not None:
                found.append(rule.when)
        if self.record_type is not None:
            found.append(self.record_type)
        if self.decision is not None:
            found += self.decision.sources
        return found

    @cached_property
    def _wanted(self) -> list[str]:
        """The columns of a batch that the gate looks at."""
        wanted = []
        for index, column in enumerate(self.entity.columns):
            if column.name in self._names:
                wanted.append(f"c{index}")
        return wanted

    @cached_property
    def _view(self) -> list[Expr]:
        return view_of(self.entity, self._names)

    def view(self, batch: pa.Table) -> DataFrame:
        """The columns of a batch that the gate looks at, by their declared names."""
        wanted = batch.select(self._wanted)
        return DataFrame(wanted).select(self._view)

    def bits(self, view: DataFrame) -> DataFrame:
        """What rules, required fields and record type say of each record, see `gate.bits`."""
        return bits_of(
            view,
            self.rules,
            self.definition.required,
            self.record_type,
        )

    def decide(self, view: DataFrame, bits: DataFrame) -> DataFrame:
        """Score, chosen rule of the decision table (null or -1 where none) and level per record."""
        facts = self._facts(bits)
        decision = self.decision
        if decision is None:
            return self._decide_by_score(bits, facts)
        inputs = self.table_inputs(view, bits)
        hits = inputs.select(decision.matches)
        if decision.gives_score:
            number = decision.table.aggregated()
            score = hits.select(_score=number.cast(pl.Float64))
            facts = facts.with_columns(score.to_series())
            return self._decide_by_score(bits, facts)
        return self._decide_by_table(bits, facts, hits, decision)

    def _decide_by_score(self, bits: DataFrame, facts: DataFrame) -> DataFrame:
        levels = [
            self._level_of_rules(),
            level_of_broken(),
            level_of_missing(),
            level_by_thresholds(self.definition),
        ]
        whole = beside(bits, facts)
        return whole.select(
            "_score",
            chosen=pl.lit(None, pl.Int32),
            level=pl.max_horizontal(levels),
        )

    def _decide_by_table(
        self,
        bits: DataFrame,
        facts: DataFrame,
        hits: DataFrame,
        decision: DecisionUse,
    ) -> DataFrame:
        choice = decision.chosen()
        answers = hits.select(chosen=choice.fill_null(NO_RULE))
        answered = decision.answered_level(answers["chosen"])
        answers = answers.with_columns(_answer=answered)
        levels = [
            self._level_of_rules(),
            level_of_broken(),
            pl.col("_answer"),
        ]
        if not decision.uses_required:
            levels.append(level_of_missing())
        whole = beside(bits, facts, answers)
        level = pl.max_horizontal(levels)
        return whole.select("_score", "chosen", level=level)

    def _facts(self, bits: DataFrame) -> DataFrame:
        """What the gate knows of each record beside its columns: _score, _required and _failed."""
        required = numbered("q", len(self.definition.required))
        failed = [passed.not_().cast(pl.Int32) for passed in self._rule_bits()]
        failed_rules = pl.sum_horizontal(failed or [pl.lit(0)])
        facts = bits.with_columns(
            _score=self._score(),
            _required=pl.all_horizontal(required or [pl.lit(True)]),
            _failed=failed_rules.cast(pl.Float64),
        )
        return facts.select(_FACTS)

    def table_inputs(self, view: DataFrame, bits: DataFrame) -> DataFrame:
        """The values of the decision table's inputs, as i0, i1, …"""
        assert self.decision is not None
        kind = pl.col("kind")
        record_type = bits.select(_record_type=kind.cast(pl.String))
        facts = self._facts(bits)
        given = beside(view, facts, record_type)
        sources = enumerate(self.decision.sources)
        inputs = [source.alias(f"i{index}") for index, source in sources]
        return given.select(inputs)

    def _rule_bits(self) -> list[Expr]:
        """Whether each rule passed."""
        return numbered("r", len(self.rules))

    def _score(self) -> Expr:
        total = sum(rule.rule.weight for rule in self.rules)
        if not total:
            return pl.lit(_BEST_SCORE)
        parts: list[Expr] = []
        for index, rule in enumerate(self.rules):
            weight = rule.rule.weight
            if weight:
                passed = rule_bit(index).cast(pl.Float64)
                parts.append(passed * weight)
        score = pl.sum_horizontal(parts) * (_BEST_SCORE / total)
        return score.round(6)

    def _level_of_rules(self) -> Expr:
        """The worst severity of the rules that failed."""
        levels = [PASS_LEVEL]
        for index, rule in enumerate(self.rules):
            severity = rule.rule.severity
            if severity != "score":
                has_failed = ~rule_bit(index)
                levels.append(level_where(has_failed, LEVELS[severity]))
        return pl.max_horizontal(levels)

    def judge(
        self,
        batch: pa.Table,
        violations: list[Violation],
        tally: Tally,
    ) -> Verdicts:
        """Judge a batch whose contract was checked.

        Args:
            batch: columns c0, c1, … of the entity as declared.
            violations: what the contract refused; those records are judged no further.
            tally: counts on.
        """
        if not self.judges:
            tally.rejected += len(violations)
            tally.passed += len(batch) - len(violations)
            return Verdicts(violations)
        view = self.view(batch)
        bits = self.bits(view)
        decided = self.decide(view, bits)
        outcome = beside(bits.drop("kind"), decided)
        if violations:
            outcome = _without_level_of(violations, outcome)
        self._count(outcome, len(violations), tally)
        return self._verdicts(outcome, violations)

    def _count(
        self,
        outcome: DataFrame,
        refused: int,
        tally: Tally,
    ) -> None:
        judged = outcome
        if refused:
            judged = outcome.filter(_LEVEL.is_not_null())
        failures = [passed.not_().sum() for passed in self._rule_bits()]
        levels = map(_count_of, LEVELS.values())
        counts = judged.select(*failures, *levels)
        sums = counts.row(0, named=True)
        tally.passed += sums["level0"]
        tally.reviewed += sums["level1"]
        tally.rejected += sums["level2"] + refused
        for index, rule in enumerate(self.rules):
            failed = sums[f"r{index}"]
            if failed:
                tally.failed[rule.rule.name] += failed
        if self.decision is None or self.decision.gives_score:
            return
        chosen = judged["chosen"].value_counts()
        for number, count in chosen.iter_rows():
            name = "no rule" if number in (None, NO_RULE) else f"rule {number + 1}"
            tally.decided[name] += count

    def _verdicts(self, outcome: DataFrame, violations: list[Violation]) -> Verdicts:
        """The verdicts with reasons, worked out once for each pattern of bits and not once for each record."""
        numbered_rows = outcome.with_row_index("row")
        flagged = numbered_rows.filter(_LEVEL > PASS)
        if flagged.is_empty():
            return Verdicts(violations)
        flagged = self._with_reasons(flagged)
        rejected = flagged.filter(_LEVEL == REJECT)
        rows = rejected.select("row", "column", "reason").iter_rows()
        rejects = [Violation(*row) for row in rows]
        rejects += violations
        rejects.sort(key=lambda violation: violation.index)
        review = flagged.filter(_LEVEL == REVIEW)
        if review.is_empty():
            return Verdicts(rejects)
        reviews = _placed(review, len(outcome))
        return Verdicts(rejects, reviews)

    def _with_reasons(self, flagged: DataFrame) -> DataFrame:
        pattern = [name for name in flagged.columns if name != "row"]
        kinds = flagged.select(pattern).unique(maintain_order=True)
        rows = kinds.iter_rows(named=True)
        pairs = map(self.reason, rows)
        columns, texts = zip(*pairs, strict=True)
        reasons = Series("reason", texts, pl.String)
        guilty = Series("column", columns, pl.String)
        return flagged.join(
            kinds.with_columns(reasons, guilty),
            on=pattern,
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )

    def reason(self, row: Row) -> tuple[str | None, str]:
        """The column to look at first and the reason, of a record's bits, score, chosen rule and level.

        Holds no value of the record.
        """
        return self._reasons.reason(row)


def _without_level_of(violations: Sequence[Violation], outcome: DataFrame) -> DataFrame:
    """The outcome without a level for the records that the contract refused."""
    indexes = [violation.index for violation in violations]
    refused = Series(indexes, dtype=pl.UInt32)
    rows = pl.int_range(pl.len(), dtype=pl.UInt32)
    is_refused = rows.is_in(refused.implode())
    level = pl.when(is_refused).then(None).otherwise(_LEVEL)
    return outcome.with_columns(level=level)


def _count_of(level: int) -> Expr:
    is_level = _LEVEL.eq(level)
    return is_level.sum().alias(f"level{level}")


def _placed(review: DataFrame, rows: int) -> pa.Array:
    """The reason of each row that is to be reviewed, null for the others."""
    row = Series("row", range(rows), dtype=pl.UInt32)
    placed = row.to_frame().join(
        review.select("row", "reason"),
        on="row",
        how="left",
        maintain_order="left",
    )
    reasons = placed["reason"].to_arrow()
    return reasons.cast(pa.string())
