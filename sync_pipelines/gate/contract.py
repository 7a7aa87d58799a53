"""The contract of an entity, generated from its declared columns and checked by pandera on polars.

Types are exact already (`conform`); the contract adds what concerns whole columns: nulls, lengths and key sizes. Keys
that appear twice are no fault of a record (a row moves while we read) and are settled by the publish step.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
import pyarrow as pa

from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.types import Kind

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandera.polars as pandera
    from pandera.errors import SchemaErrors

# An index entry of PostgreSQL's btree holds at most 2704 bytes. Trino has no such index, but the list of reviews, which
# is in PostgreSQL for every destination, has; and one limit for all lets an entity change its destination.
MAX_KEY_BYTES = 2000


@dataclass(frozen=True)
class Violation:
    """One record that the contract refuses.

    Attributes:
        index: its row in the batch.
        column, reason: the first column that fails, where there is one, and why.
    """

    index: int
    column: str | None
    reason: str


@lru_cache(maxsize=1000)
def build_contract(columns: tuple[Column, ...]) -> pandera.DataFrameSchema:
    """The pandera schema of an entity's columns, named c0, c1, … in declared order."""
    keys = [
        f"c{index}"
        for index, column in enumerate(columns)
        if column.is_business_key and column.type.arrow == pa.string()
    ]
    key_bytes = (
        pl.sum_horizontal(pl.col(name).str.len_bytes().fill_null(0) for name in keys or ["c0"])
        <= MAX_KEY_BYTES
    )
    return pandera.DataFrameSchema(
        {
            f"c{index}": pandera.Column(
                dtype=_arrow_to_polars(column.type.arrow),
                nullable=column.is_nullable and not column.is_business_key,
                checks=_checks(column, key_bytes if f"c{index}" in keys[-1:] else None),
                description=column.name,
            )
            for index, column in enumerate(columns)
        },
        strict=True,
    )


def judge_batch(entity: Entity, batch: pa.Table) -> list[Violation]:
    """Check every record of a batch.

    Args:
        entity: whose contract to use.
        batch: columns c0, c1, … of `entity.columns`, any number of rows.

    Returns:
        One violation per refused record, in row order.

    Raises:
        pandera.errors.SchemaError: the batch does not even have the contract's columns and types (our own fault).
    """
    contract = build_contract(entity.columns)
    try:
        contract.validate(pl.DataFrame(batch), lazy=True)
    except SchemaErrors as errors:
        return _violations(entity, errors)
    return []


def _violations(entity: Entity, errors: SchemaErrors) -> list[Violation]:
    first: dict[int, Violation] = {}
    for case in errors.failure_cases.iter_rows(named=True):
        if case["index"] is None:
            raise errors
        column = entity.columns[int(case["column"][1:])]
        violation = Violation(case["index"], column.name, _reason(column, case["check"]))
        known = first.get(case["index"])
        if known is None or _place(entity, violation) < _place(entity, known):
            first[case["index"]] = violation
    return [first[index] for index in sorted(first)]


def _place(entity: Entity, violation: Violation) -> int:
    return next(
        place for place, column in enumerate(entity.columns) if column.name == violation.column
    )


def _reason(column: Column, check: str) -> str:
    if check == "not_nullable":
        return (
            "The business key is null."
            if column.is_business_key
            else "It is null, but declared NOT NULL."
        )
    if check == "key_bytes":
        return f"The business key is longer than the {MAX_KEY_BYTES} bytes that an index can hold."
    return f"It has more than the {column.type.length} characters of {column.data_type}; nothing is cut."


def _checks(column: Column, key_bytes: pl.Expr | None) -> list[pandera.Check]:
    checks = []
    if column.type.kind is Kind.TEXT and column.type.length is not None:
        checks.append(pandera.Check.str_length(max_value=column.type.length, name="max_length"))
    if key_bytes is not None:
        checks.append(
            pandera.Check(lambda data: data.lazyframe.select(key_bytes), name="key_bytes")
        )
    return checks


@lru_cache(maxsize=1000)
def _arrow_to_polars(arrow: pa.DataType) -> pl.DataType:
    return pl.from_arrow(pa.array([], arrow)).dtype  # type: ignore[union-attr]
