"""The contract of an entity, generated from its declared columns and checked by pandera on polars.

`batches` makes the types exact; the contract adds what concerns whole columns: nulls, lengths and key sizes. Keys
that appear twice are no fault of a record (a row moves while we read) and are settled by the publish step.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl
import pyarrow as pa

from sync_pipelines.gate.view import polars_type
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
    declared: dict[str, pandera.Column] = {}
    last_key = None
    keys: list[pl.Expr] = []
    for index, column in enumerate(columns):
        name = f"c{index}"
        declared[name] = pandera.Column(
            dtype=polars_type(column),
            nullable=column.is_nullable and not column.is_business_key,
            checks=_checks(column),
            description=column.name,
        )
        is_text = column.type.arrow == pa.string()
        if column.is_business_key and is_text:
            keys.append(pl.col(name))
            last_key = declared[name]
    if last_key is not None:
        # One check over all texts of the key.
        last_key.checks.append(_key_check(keys))
    return pandera.DataFrameSchema(declared, strict=True)


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
    first_places: dict[int, int] = {}
    for case in errors.failure_cases.iter_rows(named=True):
        if case["index"] is None:
            raise errors
        index: int = case["index"]
        place = int(case["column"].removeprefix("c"))
        if index not in first_places or place < first_places[index]:
            column = entity.columns[place]
            reason = _reason(column, case["check"])
            first_places[index] = place
            first[index] = Violation(index, column.name, reason)
    return [first[index] for index in sorted(first)]


def _reason(column: Column, check: str) -> str:
    if check == "not_nullable" and column.is_business_key:
        return "The business key is null."
    if check == "not_nullable":
        return "It is null, but declared NOT NULL."
    if check == "key_bytes":
        return f"The business key is longer than the {MAX_KEY_BYTES} bytes that an index can hold."
    return f"It has more than the {column.type.length} characters of {column.data_type}; nothing is cut."


def _checks(column: Column) -> list[pandera.Check]:
    longest = column.type.length
    if column.type.kind is not Kind.TEXT or longest is None:
        return []
    check = pandera.Check.str_length(max_value=longest, name="max_length")
    return [check]


def _key_check(keys: list[pl.Expr]) -> pandera.Check:
    """Whether the texts of a key together fit an index entry."""
    sizes = [key.str.len_bytes() for key in keys]
    known_sizes = [size.fill_null(0) for size in sizes]
    fits = pl.sum_horizontal(known_sizes) <= MAX_KEY_BYTES

    def check(data: Any) -> Any:
        return data.lazyframe.select(fits)

    return pandera.Check(check, name="key_bytes")
