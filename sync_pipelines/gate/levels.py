"""The levels of a verdict: pass, review and reject as numbers, of which the highest counts."""

from __future__ import annotations

import polars as pl
from polars import DataFrame, Expr

from sync_pipelines.gate.definition import GateFile

PASS = 0
REVIEW = 1
REJECT = 2
LEVELS = {"pass": PASS, "review": REVIEW, "reject": REJECT}
PASS_LEVEL = pl.lit(PASS, pl.Int32)


def level_where(
    condition: Expr,
    level: int,
    otherwise: Expr = PASS_LEVEL,
) -> Expr:
    """The level where the condition is true, else another one."""
    answer = pl.lit(level, pl.Int32)
    return pl.when(condition).then(answer).otherwise(otherwise)


def level_of_broken() -> Expr:
    """The level of records for which a rule or the record type cannot be evaluated; over broken."""
    is_broken = pl.col("broken").is_not_null()
    return level_where(is_broken, REJECT)


def level_of_missing() -> Expr:
    """The level of records without a required field; over _required."""
    is_missing = ~pl.col("_required")
    return level_where(is_missing, REJECT)


def level_by_thresholds(definition: GateFile) -> Expr:
    """The level by the thresholds of the score; over _score."""
    thresholds = definition.score
    if thresholds is None:
        return PASS_LEVEL
    score = pl.col("_score").fill_null(0.0)
    is_low = score < thresholds.review_below
    is_too_low = score < thresholds.reject_below
    reviewed = level_where(is_low, REVIEW)
    return level_where(is_too_low, REJECT, reviewed)


def level_of_score(definition: GateFile, score: float | None) -> int:
    """As `level_by_thresholds`, of one score."""
    thresholds = definition.score
    if thresholds is None:
        return PASS
    known_score = score or 0.0
    if known_score < thresholds.reject_below:
        return REJECT
    return REVIEW if known_score < thresholds.review_below else PASS


def rule_bit(index: int) -> Expr:
    """Whether a rule passed, see `gate.bits`."""
    return pl.col(f"r{index}")


def numbered(letter: str, count: int) -> list[Expr]:
    """The columns r0, r1, … of a frame, say, for the letter r."""
    return [pl.col(f"{letter}{number}") for number in range(count)]


def beside(*frames: DataFrame) -> DataFrame:
    """Frames of equally many rows as one."""
    return pl.concat(frames, how="horizontal")
