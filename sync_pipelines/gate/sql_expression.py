"""Expressions over one record, written in SQL or by a function, checked before they judge anything."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
from polars import Expr
from polars.exceptions import PolarsError

from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.gate.document import Document, nearest
from sync_pipelines.gate.view import empty_view
from sync_pipelines.model.entity import Entity
from sync_pipelines.secrets import printable

MAX_OPERATORS = 400
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
# A sign before a number of a list is none.
_OPERATOR = re.compile(
    r"(?i)\b(?:and|or|not|when|case|between|like|ilike|in|is|then|over|cast)\b|(?<![,( ]) ?[-+*/%<>=!|&^~]+|[(\[:]"
)
# What reads beyond its own record.
_AROUND = {
    "Agg",
    "Over",
    "Rolling",
    "Explode",
    "Len",
    "Shift",
    "CumSum",
    "CumProd",
    "CumMin",
    "CumMax",
    "CumCount",
    "Rank",
    "Diff",
    "Reverse",
    "IsDuplicated",
    "IsUnique",
    "IsFirstDistinct",
    "IsLastDistinct",
    "FillNullWithStrategy",
    "Unique",
    "Mode",
    "Quantile",
    "ArgSort",
}


def compile_sql(
    document: Document,
    location: Location,
    text: str,
    entity: Entity,
    wanted: type[pl.DataType] | None,
    *,
    may_be_constant: bool = False,
) -> Expr:
    """An SQL expression over one record; where it may, one that is the same for all of them.

    Raises:
        GateDefinitionError: not SQL, an unknown column, or something about several records.
    """
    _check_size(document, location, text)
    try:
        expression = pl.sql_expr(text)
    except PolarsError as error:
        raise document.fault(f"it is no SQL expression: {first_line(error)}.", location) from None
    if (
        may_be_constant
        and not expression.meta.root_names()
        and not _looks_around(_tree(expression))
    ):
        # As many values as records.
        return pl.repeat(_constant(document, location, expression), pl.len())
    return check_expression(document, location, expression, entity, wanted)


def _check_size(
    document: Document,
    location: Location,
    text: str,
) -> None:
    """Polars nests operators and evaluates them by recursion in native code: thousands of them crash the process."""
    # One blank for any number of them, or the search would begin anew at each.
    plain = " ".join(_QUOTED.sub("", text).split())
    operators = len(_OPERATOR.findall(plain))
    if operators > MAX_OPERATORS:
        what = (
            f"it holds {operators} operators and brackets, more than the {MAX_OPERATORS} of a rule; make several"
            " rules of it, or use isin."
        )
        raise document.fault(what, location)


def _constant(
    document: Document,
    location: Location,
    expression: Expr,
) -> Any:
    try:
        return pl.select(expression).item()
    except (PolarsError, ValueError) as error:
        raise document.fault(f"it cannot be evaluated: {first_line(error)}.", location) from None


def check_expression(
    document: Document,
    location: Location,
    expression: Expr,
    entity: Entity,
    wanted: type[pl.DataType] | None,
) -> Expr:
    """The expression, if it speaks of a single record of the entity and gives the wanted type.

    Raises:
        GateDefinitionError: it does not.
    """
    known = {column.name for column in entity.columns}
    for name in expression.meta.root_names():
        if name not in known:
            raise document.fault(
                f"{entity.path} has no column {name!r}.{nearest(name, known)}",
                location,
            )
    try:
        tree = _tree(expression)
        found = empty_view(entity, 2).select(expression.alias("tried"))
    except (PolarsError, ValueError) as error:
        raise document.fault(f"it cannot be evaluated: {first_line(error)}.", location) from None
    if not expression.meta.root_names() or _looks_around(tree):
        raise document.fault(
            "it must speak of a single record's columns: no aggregates, windows or constants alone.",
            location,
        )
    if wanted is not None and found["tried"].dtype not in (wanted, pl.Null):
        raise document.fault(
            f"it gives {found['tried'].dtype}, where {wanted.__name__} is needed.",
            location,
        )
    return expression


def _tree(expression: Expr) -> Any:
    """The parts of an expression as plain data.

    Raises:
        ValueError: it is nested too deeply.
    """
    try:
        return json.loads(expression.meta.serialize(format="json"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _looks_around(tree: Any) -> bool:
    """Whether an expression reads beyond its own record, which would make the verdict depend on the batch."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if not _AROUND.isdisjoint(node):
                return True
            waiting += [inner for key, inner in node.items() if key not in ("Column", "Literal")]
        elif isinstance(node, list):
            waiting += node
        elif node in _AROUND:
            return True
    return False


def first_line(error: BaseException) -> str:
    """The beginning of an error of polars, for a message."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return printable(line.rstrip("."), 300)
