"""The verdicts of a gate: rules, score and decision table over a whole batch, and a reason for every record that does
not simply pass.

A verdict is the worst of: rules that failed (by their severity), required fields that miss, and the decision table or
else the score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import polars as pl
import pyarrow as pa

from sync_pipelines.gate.compiled import CompiledRule, view_of
from sync_pipelines.gate.contract import Violation
from sync_pipelines.gate.definition import GateFile
from sync_pipelines.gate.dmn.feel import number_or_value
from sync_pipelines.gate.dmn.table import DecisionTable, HitPolicy
from sync_pipelines.model.entity import Entity
from sync_pipelines.secrets import printable

PASS = 0
REVIEW = 1
REJECT = 2
LEVELS = {"pass": PASS, "review": REVIEW, "reject": REJECT}
NO_RULE = -1
RECORD_TYPE = -1
MAX_REASON = 1000
_FACTS = ["_score", "_required", "_failed"]
_PASS = pl.lit(PASS, pl.Int32)


@dataclass
class Tally:
    """What a gate did in a run.

    Attributes:
        passed, reviewed, rejected: records by verdict; those that cannot be decoded or that the contract refuses are
        rejected, too.
        waived: of those that passed, the ones for which a person waived the rules.
        failed: records that failed each rule, by its name.
        decided: records by rule of the decision table, "rule 3", and "no rule".
    """

    passed: int = 0
    reviewed: int = 0
    rejected: int = 0
    waived: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)

    def waive(self, count: int) -> None:
        """So many of the rejected ones pass, because a person waived the rules for them."""
        self.rejected -= count
        self.passed += count
        self.waived += count

    def as_dict(self) -> dict[str, Any]:
        """The tally as JSON-ready data."""
        return {
            **vars(self),
            "failed": dict(self.failed),
            "decided": dict(sorted(self.decided.items())),
        }


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
class DecisionUse:
    """A decision table bound to an entity.

    Attributes:
        sources: per input, an expression over the view and the bits that gives its value.
        levels: per rule, the verdict.
        default_level: where no rule matches.
        file: its name, for reasons.
    """

    table: DecisionTable
    sources: tuple[pl.Expr, ...]
    levels: tuple[int, ...]
    default_level: int
    file: str
    uses_required: bool

    @cached_property
    def matches(self) -> list[pl.Expr]:
        """The table's rules over i0, i1, …"""
        return self.table.matches()

    def chosen(self) -> pl.Expr:
        """The rule that answers; of a COLLECT without aggregation the one with the worst verdict."""
        if self.table.policy is not HitPolicy.COLLECT:
            return self.table.chosen()
        order = sorted(range(len(self.levels)), key=lambda number: -self.levels[number])
        matches = [pl.when(pl.col(f"m{number}")).then(pl.lit(number, pl.Int32)) for number in order]
        return pl.coalesce(matches)


@dataclass(frozen=True)
class Gate:
    """The gate of an entity, ready to judge batches.

    Its bits, a row per record: r0, r1, … which rules passed; q0, q1, … which required fields are there; kind, the
    record type; broken, the rule that cannot be evaluated for the record (RECORD_TYPE = not its type), null where all
    can.
    """

    entity: Entity
    definition: GateFile
    rules: tuple[CompiledRule, ...]
    record_type: pl.Expr | None
    decision: DecisionUse | None

    @cached_property
    def judges(self) -> bool:
        """False when the file holds masks only."""
        return bool(self.rules or self.definition.required or self.decision)

    @cached_property
    def may_review(self) -> bool:
        """Whether a record of this gate can be flagged for review."""
        if any(rule.rule.severity == "review" for rule in self.rules):
            return True
        score = self.definition.score
        if score is not None and score.review_below > 0:
            return True
        decision = self.decision
        return decision is not None and REVIEW in (*decision.levels, decision.default_level)

    @cached_property
    def _names(self) -> set[str]:
        names = set(_columns_of(self.rules))
        names.update(self.definition.required)
        expressions = [rule.when for rule in self.rules if rule.when is not None]
        if self.record_type is not None:
            expressions.append(self.record_type)
        if self.decision is not None:
            expressions += self.decision.sources
        for expression in expressions:
            names.update(expression.meta.root_names())
        columns = [column.name for column in self.entity.columns]
        # The first column tells how many records there are, whatever the gate looks at.
        return names.intersection(columns) | {columns[0]}

    @cached_property
    def _view(self) -> list[pl.Expr]:
        return view_of(self.entity, self._names)

    def view(self, batch: pa.Table) -> pl.DataFrame:
        """The columns of a batch that the gate looks at, by their declared names."""
        wanted = [
            f"c{index}"
            for index, column in enumerate(self.entity.columns)
            if column.name in self._names
        ]
        return pl.DataFrame(batch.select(wanted)).select(self._view)

    def bits(self, view: pl.DataFrame) -> pl.DataFrame:
        """What rules, required fields and record type say of each record."""
        nothing = pl.lit(None, pl.Int32).alias("broken")
        kind = (
            pl.lit(None, pl.String)
            if self.record_type is None
            else self.record_type.cast(pl.String)
        )
        try:
            return self._bits(view, [rule.passes(view) for rule in self.rules], kind, nothing)
        except pl.exceptions.PolarsError:
            # A value breaks an expression, a cast say: its record must not stop the others.
            return self._bits_by_halves(view, kind)

    def _bits_by_halves(self, view: pl.DataFrame, kind: pl.Expr) -> pl.DataFrame:
        """The bits where an expression cannot be evaluated for some records, which are marked as broken."""
        found = [_by_halves(view, partial(_passing, rule)) for rule in self.rules]
        has_kind = kind.is_not_null().alias("found")
        kinds = _by_halves(view, lambda part: part.select(has_kind).to_series())
        numbered = [*enumerate(found), (RECORD_TYPE, kinds)]
        broken = [pl.when(bits.is_null()).then(pl.lit(index, pl.Int32)) for index, bits in numbered]
        types = pl.Series("kind", [None] * len(view), pl.String)
        if kinds.any():
            with_kind = view.filter(kinds.fill_null(False))
            types = types.scatter(
                kinds.arg_true(), with_kind.select(kind.alias("kind")).to_series()
            )
        passed: list[pl.Series | pl.Expr] = [bits.fill_null(False) for bits in found]
        return self._bits(view, passed, types, pl.coalesce(broken).alias("broken"))

    def _bits(
        self,
        view: pl.DataFrame,
        found: list[pl.Series | pl.Expr],
        kind: pl.Series | pl.Expr,
        broken: pl.Expr,
    ) -> pl.DataFrame:
        required = [_is_there(view, name) for name in self.definition.required]
        # As many rows as records, whatever else there is.
        bits: list[pl.Series | pl.Expr] = [pl.repeat(True, pl.len()).alias("judged")]
        bits += [bit.alias(f"r{index}") for index, bit in enumerate(found)]
        bits += [bit.alias(f"q{index}") for index, bit in enumerate(required)]
        return view.select(*bits, kind.alias("kind"), broken)

    def decide(self, view: pl.DataFrame, bits: pl.DataFrame) -> pl.DataFrame:
        """Score, chosen rule of the decision table (null or -1 where none) and level per record."""
        facts = self._facts(bits)
        levels = [self._severity(), _level_of_broken(), facts_level(self.definition, self.decision)]
        none_chosen = pl.lit(None, pl.Int32).alias("chosen")
        if self.decision is None:
            whole = pl.concat([bits, facts], how="horizontal")
            return whole.select("_score", none_chosen, level=pl.max_horizontal(levels))
        hits = self.table_inputs(view, bits).select(self.decision.matches)
        table = self.decision.table
        if table.aggregation is not None:
            score = hits.select(table.aggregated().cast(pl.Float64).alias("_score"))
            whole = pl.concat([bits, facts.with_columns(score.to_series())], how="horizontal")
            levels = [self._severity(), _level_of_broken(), facts_level(self.definition, None)]
            return whole.select("_score", none_chosen, level=pl.max_horizontal(levels))
        chosen = hits.select(self.decision.chosen().fill_null(NO_RULE).alias("chosen")).to_series()
        rules = [*range(len(self.decision.levels)), NO_RULE]
        answers = [*self.decision.levels, self.decision.default_level]
        answer = chosen.replace_strict(rules, answers, return_dtype=pl.Int32)
        whole = pl.concat(
            [bits, facts, pl.DataFrame({"chosen": chosen, "_answer": answer})], how="horizontal"
        )
        return whole.select(
            "_score", "chosen", level=pl.max_horizontal([*levels, pl.col("_answer")])
        )

    def _facts(self, bits: pl.DataFrame) -> pl.DataFrame:
        required = [pl.col(f"q{index}") for index in range(len(self.definition.required))]
        failed = [(~pl.col(f"r{index}")).cast(pl.Int32) for index in range(len(self.rules))]
        facts = bits.with_columns(
            _score=self._score(),
            _required=pl.all_horizontal(required or [pl.lit(True)]),
            _failed=pl.sum_horizontal(failed or [pl.lit(0)]).cast(pl.Float64),
        )
        return facts.select(_FACTS)

    def table_inputs(self, view: pl.DataFrame, bits: pl.DataFrame) -> pl.DataFrame:
        """What the decision table is asked about, as i0, i1, …"""
        assert self.decision is not None
        record_type = bits.select(pl.col("kind").cast(pl.String).alias("_record_type"))
        given = pl.concat([view, self._facts(bits), record_type], how="horizontal")
        inputs = [source.alias(f"i{index}") for index, source in enumerate(self.decision.sources)]
        return given.select(inputs)

    def _score(self) -> pl.Expr:
        total = sum(rule.rule.weight for rule in self.rules)
        if not total:
            return pl.lit(100.0)
        parts = [
            pl.col(f"r{index}").cast(pl.Float64) * rule.rule.weight
            for index, rule in enumerate(self.rules)
            if rule.rule.weight
        ]
        return (pl.sum_horizontal(parts) * (100.0 / total)).round(6)

    def _severity(self) -> pl.Expr:
        worst = [
            _level_where(~pl.col(f"r{index}"), LEVELS[rule.rule.severity])
            for index, rule in enumerate(self.rules)
            if rule.rule.severity != "score"
        ]
        return pl.max_horizontal([*worst, _PASS])

    def judge(self, batch: pa.Table, violations: list[Violation], tally: Tally) -> Verdicts:
        """Judge a batch whose contract was checked.

        Args:
            batch: columns c0, c1, … of the entity as declared.
            violations: what the contract refused; those records are judged no further.
            tally: counts on.
        """
        rows = len(batch)
        if not self.judges:
            tally.rejected += len(violations)
            tally.passed += rows - len(violations)
            return Verdicts(violations)
        view = self.view(batch)
        bits = self.bits(view)
        outcome = pl.concat([bits.drop("kind"), self.decide(view, bits)], how="horizontal")
        if violations:
            refused = pl.Series([violation.index for violation in violations], dtype=pl.UInt32)
            is_refused = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(refused.implode())
            outcome = outcome.with_columns(
                level=pl.when(is_refused).then(None).otherwise(pl.col("level"))
            )
        self._count(outcome, len(violations), tally)
        return self._told(outcome, violations)

    def _count(self, outcome: pl.DataFrame, refused: int, tally: Tally) -> None:
        judged = outcome.filter(pl.col("level").is_not_null()) if refused else outcome
        failures = [(~pl.col(f"r{index}")).sum() for index in range(len(self.rules))]
        levels = [
            (pl.col("level") == level).sum().alias(f"level{level}")
            for level in (PASS, REVIEW, REJECT)
        ]
        sums = judged.select(failures + levels).row(0, named=True)
        tally.passed += sums["level0"]
        tally.reviewed += sums["level1"]
        tally.rejected += sums["level2"] + refused
        for index, rule in enumerate(self.rules):
            if sums[f"r{index}"]:
                tally.failed[rule.rule.name] += sums[f"r{index}"]
        if self.decision is not None and self.decision.table.aggregation is None:
            for number, count in judged["chosen"].value_counts().iter_rows():
                tally.decided["no rule" if number in (None, NO_RULE) else f"rule {number + 1}"] += (
                    count
                )

    def _told(self, outcome: pl.DataFrame, violations: list[Violation]) -> Verdicts:
        """Reasons, worked out once for each pattern of bits and not once for each record."""
        if not (outcome["level"] > PASS).any():
            return Verdicts(violations)
        flagged = outcome.with_row_index("row").filter(pl.col("level") > PASS)
        pattern = [name for name in flagged.columns if name != "row"]
        kinds = flagged.select(pattern).unique(maintain_order=True)
        pairs = [self.reason(row) for row in kinds.iter_rows(named=True)]
        columns, reasons_of_kinds = zip(*pairs, strict=True)
        reasons = kinds.with_columns(
            pl.Series("reason", reasons_of_kinds, pl.String),
            pl.Series("column", columns, pl.String),
        )
        flagged = flagged.join(
            reasons, on=pattern, how="left", nulls_equal=True, maintain_order="left"
        )
        rejected = flagged.filter(pl.col("level") == REJECT)
        rejects = [
            Violation(*row) for row in rejected.select("row", "column", "reason").iter_rows()
        ]
        review = flagged.filter(pl.col("level") == REVIEW).select("row", "reason")
        reviews = None
        if len(review):
            places = pl.DataFrame({"row": pl.Series(range(len(outcome)), dtype=pl.UInt32)})
            placed = places.join(review, on="row", how="left", maintain_order="left")
            reviews = placed["reason"].to_arrow().cast(pa.string())
        in_order = sorted([*violations, *rejects], key=lambda violation: violation.index)
        return Verdicts(in_order, reviews)

    def reason(self, row: dict[str, Any]) -> tuple[str | None, str]:
        """The column to look at first and the reason, of a record's bits, score, chosen rule and level.

        Holds no value of the record.
        """
        failed = [rule for index, rule in enumerate(self.rules) if not row[f"r{index}"]]
        missing = [
            name for index, name in enumerate(self.definition.required) if not row[f"q{index}"]
        ]
        guilty, parts = self._guilty(row, failed)
        if missing:
            parts.append(f"Required, but missing: {', '.join(missing)}.")
        parts += self._decided(row)
        others = [rule.rule.name for rule in failed if rule not in guilty]
        if others:
            parts.append(f"Failed as well: {', '.join(others)}.")
        candidates = [*_columns_of(guilty), *missing, *_columns_of(failed)]
        column = candidates[0] if candidates else None
        return column, printable(" ".join(parts), MAX_REASON)

    def _guilty(
        self, row: dict[str, Any], failed: list[CompiledRule]
    ) -> tuple[list[CompiledRule], list[str]]:
        """The rules that decide on the level of a record, a broken one first, and a sentence about each."""
        guilty = [rule for rule in failed if LEVELS.get(rule.rule.severity, PASS) == row["level"]]
        broken = None if row["broken"] in (None, RECORD_TYPE) else self.rules[row["broken"]]
        others = [rule for rule in guilty if rule is not broken]
        parts = [f"Rule {rule.rule.name}: {rule.words}." for rule in others]
        if broken is not None:
            parts.insert(
                0, f"Rule {broken.rule.name} cannot be evaluated for this record: {broken.words}."
            )
            return [broken, *others], parts
        if row["broken"] == RECORD_TYPE:
            parts.append("The record type cannot be evaluated for this record.")
        return guilty, parts

    def _decided(self, row: dict[str, Any]) -> list[str]:
        score = f"score {row['_score']:g}" if row["_score"] is not None else "no score"
        level = row["level"]
        decision = self.decision
        if decision is None or decision.table.aggregation is not None:
            table = "" if decision is None else f" of {decision.file}"
            is_too_low = level and level == _level_of_score(self.definition, row["_score"])
            return [f"The {score}{table} is too low."] if is_too_low else []
        chosen = row["chosen"]
        if chosen in (None, NO_RULE):
            return (
                [f"{decision.file}: no rule matches ({score})."]
                if decision.default_level == level
                else []
            )
        if decision.levels[chosen] != level:
            return []
        answers = map(number_or_value, decision.table.rules[chosen].outputs)
        return [f"{decision.file} rule {chosen + 1}: {', '.join(answers)} ({score})."]


def _level_where(condition: pl.Expr, level: int, otherwise: pl.Expr = _PASS) -> pl.Expr:
    return pl.when(condition).then(pl.lit(level, pl.Int32)).otherwise(otherwise)


def _level_of_broken() -> pl.Expr:
    return _level_where(pl.col("broken").is_not_null(), REJECT)


def _by_halves(view: pl.DataFrame, evaluate: Callable[[pl.DataFrame], pl.Series]) -> pl.Series:
    """One boolean per record, null for those that raise; found by halving the batch."""
    try:
        return evaluate(view)
    except pl.exceptions.PolarsError:
        if len(view) <= 1:
            return pl.Series("found", [None] * len(view), pl.Boolean)
        middle = len(view) // 2
        return pl.concat([_by_halves(view[:middle], evaluate), _by_halves(view[middle:], evaluate)])


def _passing(rule: CompiledRule, view: pl.DataFrame) -> pl.Series:
    return view.select(rule.passes(view).alias("found")).to_series()


def _columns_of(rules: Sequence[CompiledRule]) -> list[str]:
    return [name for rule in rules for name in rule.columns]


def facts_level(definition: GateFile, decision: DecisionUse | None) -> pl.Expr:
    """The level by required fields and, where no table decides, by the score; over _score and _required."""
    missing = _level_where(~pl.col("_required"), REJECT)
    if decision is not None:
        return _PASS if decision.uses_required else missing
    return pl.max_horizontal([missing, _threshold_level(definition)])


def _threshold_level(definition: GateFile) -> pl.Expr:
    if definition.score is None:
        return _PASS
    score = pl.col("_score").fill_null(0.0)
    reviewed = _level_where(score < definition.score.review_below, REVIEW)
    return _level_where(score < definition.score.reject_below, REJECT, reviewed)


def _level_of_score(definition: GateFile, score: float | None) -> int:
    if definition.score is None:
        return PASS
    if (score or 0.0) < definition.score.reject_below:
        return REJECT
    return REVIEW if (score or 0.0) < definition.score.review_below else PASS


def _is_there(view: pl.DataFrame, name: str) -> pl.Expr:
    there = pl.col(name).is_not_null()
    return (
        there & (pl.col(name).str.strip_chars() != "").fill_null(False)
        if view.schema[name] == pl.String
        else there
    )
