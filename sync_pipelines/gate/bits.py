"""The bits of a gate: which rules each record of a batch passes, and which required fields it has.

A row per record: r0, r1, … which rules passed; q0, q1, … which required fields are there; kind, the record type;
broken, the rule that cannot be evaluated for the record (RECORD_TYPE = not its type), null where all can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl
from polars import DataFrame, Expr, Series
from polars.exceptions import PolarsError

from sync_pipelines.gate.compiled import CompiledRule

RECORD_TYPE = -1
Bit = Series | Expr


def bits_of(
    view: DataFrame,
    rules: Sequence[CompiledRule],
    required: Sequence[str],
    record_type: Expr | None,
) -> DataFrame:
    """What rules, required fields and record type say of each record of a view."""
    kind = _kind_of(record_type)
    there = [_is_there(view, name) for name in required]
    none_broken = pl.lit(None, pl.Int32)
    try:
        passed = [rule.passes(view) for rule in rules]
        return _selected(view, passed, there, kind, none_broken)
    except PolarsError:
        # A value breaks an expression, a cast say: its record must not stop the others.
        return _bits_by_halves(view, rules, there, kind)


def _kind_of(record_type: Expr | None) -> Expr:
    if record_type is None:
        return pl.lit(None, pl.String)
    return record_type.cast(pl.String)


def _bits_by_halves(
    view: DataFrame,
    rules: Sequence[CompiledRule],
    there: Sequence[Bit],
    kind: Expr,
) -> DataFrame:
    """The bits where an expression cannot be evaluated for some records, which are marked as broken."""
    passed: list[Bit] = []
    broken: list[Expr] = []
    for index, rule in enumerate(rules):
        bits = _by_halves(view, partial(_passing, rule))
        passed.append(bits.fill_null(False))
        broken.append(_number_where_null(index, bits))
    has_kind = _by_halves(view, partial(_has_kind, kind))
    broken.append(_number_where_null(RECORD_TYPE, has_kind))
    kinds = _kinds_where(view, has_kind, kind)
    first_broken = pl.coalesce(broken)
    return _selected(view, passed, there, kinds, first_broken)


def _kinds_where(
    view: DataFrame,
    has_kind: Series,
    kind: Expr,
) -> Series:
    """The record types of the records that have one, null for the others."""
    nothing = [None] * len(view)
    kinds = Series("kind", nothing, pl.String)
    if not has_kind.any():
        return kinds
    is_found = has_kind.fill_null(False)
    with_kind = view.filter(is_found)
    found = with_kind.select(kind).to_series()
    places = has_kind.arg_true()
    return kinds.scatter(places, found)


def _selected(
    view: DataFrame,
    passed: Sequence[Bit],
    there: Sequence[Bit],
    kind: Bit,
    broken: Expr,
) -> DataFrame:
    # As many rows as records, whatever else there is.
    judged = pl.repeat(True, pl.len())
    bits: dict[str, Bit] = {"judged": judged}
    for index, bit in enumerate(passed):
        bits[f"r{index}"] = bit
    for index, bit in enumerate(there):
        bits[f"q{index}"] = bit
    return view.select(**bits, kind=kind, broken=broken)


def _is_there(view: DataFrame, name: str) -> Expr:
    value = pl.col(name)
    there = value.is_not_null()
    if view.schema[name] != pl.String:
        return there
    has_letters = value.str.strip_chars() != ""
    return there & has_letters.fill_null(False)


def _by_halves(view: DataFrame, evaluate: Callable[[DataFrame], Series]) -> Series:
    """One boolean per record, null for those that raise; found by halving the batch."""
    try:
        return evaluate(view)
    except PolarsError:
        if len(view) <= 1:
            unknown = [None] * len(view)
            return Series("found", unknown, pl.Boolean)
    middle = len(view) // 2
    first = _by_halves(view[:middle], evaluate)
    second = _by_halves(view[middle:], evaluate)
    return pl.concat([first, second])


def _passing(rule: CompiledRule, view: DataFrame) -> Series:
    passed = rule.passes(view).alias("found")
    return view.select(passed).to_series()


def _has_kind(kind: Expr, view: DataFrame) -> Series:
    has_kind = kind.is_not_null().alias("found")
    return view.select(has_kind).to_series()


def _number_where_null(number: int, bits: Series) -> Expr:
    literal = pl.lit(number, pl.Int32)
    return pl.when(bits.is_null()).then(literal)
