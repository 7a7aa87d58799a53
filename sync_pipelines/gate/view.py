"""The columns of a batch as rules see them: by their declared names, numbers in texts as numbers."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from polars import DataFrame, Expr, Series

from sync_pipelines.model.entity import Column, Entity


def view_of(entity: Entity, names: set[str]) -> list[Expr]:
    """Expressions that make the columns of a batch (c0, c1, …) into named ones, numbers in texts into numbers."""
    view = []
    for index, column in enumerate(entity.columns):
        if column.name not in names:
            continue
        value = pl.col(f"c{index}")
        if column.type.is_number_text:
            value = value.cast(pl.Float64, strict=False)
        view.append(value.alias(column.name))
    return view


def empty_view(entity: Entity, rows: int = 0) -> DataFrame:
    """A view of nulls with the right types, to try expressions on."""
    nulls = [None] * rows
    columns = []
    for index, column in enumerate(entity.columns):
        dtype = polars_type(column)
        columns.append(Series(f"c{index}", nulls, dtype))
    names = {column.name for column in entity.columns}
    return DataFrame(columns).select(view_of(entity, names))


def polars_type(column: Column) -> pl.DataType:
    """The polars type of a column of a batch."""
    empty = Series(pa.array([], column.type.arrow))
    return empty.dtype
