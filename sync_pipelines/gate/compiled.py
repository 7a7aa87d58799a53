"""Rules as something that runs: each gives one boolean per record, from pandera's built-in checks, functions, or SQL
expressions.
"""

from __future__ import annotations

import inspect
import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from polars import DataFrame, Expr, Series
from polars.exceptions import PolarsError

from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.gate.definition import Rule
from sync_pipelines.gate.document import Document, nearest
from sync_pipelines.gate.rules import registered_rules, signature_of
from sync_pipelines.gate.sql_expression import check_expression, compile_sql, first_line
from sync_pipelines.gate.view import empty_view
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.types import INTEGER_BITS, Kind

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandera.polars as pandera

# Built-in checks of pandera on polars that say something of a single record; unique_values_eq speaks of a whole column.
CHECKS = (
    "equal_to",
    "not_equal_to",
    "greater_than",
    "greater_than_or_equal_to",
    "less_than",
    "less_than_or_equal_to",
    "in_range",
    "isin",
    "notin",
    "str_matches",
    "str_contains",
    "str_startswith",
    "str_endswith",
    "str_length",
    "eq",
    "ne",
    "gt",
    "ge",
    "lt",
    "le",
    "between",
)
_SHARED_ARGUMENTS = {"args", "kwargs"}


@dataclass(frozen=True)
class CompiledRule:
    """A rule that is ready to run.

    Attributes:
        columns: names of the columns that it looks at.
        check: runs by itself over the view of a batch; or None where `expression` is the check.
        words: what it asks for, without any value of a record.
        blind: it looks at masked values, so that it cannot be judged any more.
    """

    rule: Rule
    columns: tuple[str, ...]
    check: Any
    expression: Expr | None
    when: Expr | None
    words: str
    blind: bool = False

    def passing(self, entity: Entity) -> CompiledRule:
        """This rule for records whose values it cannot see: it passes."""
        first = pl.col(entity.columns[0].name)
        return CompiledRule(
            self.rule,
            (),
            None,
            first.is_null() | first.is_not_null(),
            None,
            self.words,
            blind=True,
        )

    def passes(self, view: DataFrame) -> Series | Expr:
        """One boolean per record, never null."""
        result: Series | Expr
        if self.check is not None:
            result = self.check(view.lazy(), self.rule.column).check_output.collect().to_series()
        else:
            assert self.expression is not None
            result = self.expression.fill_null(self.rule.nulls == "pass")
        return result if self.when is None else result | ~self.when.fill_null(False)


def compile_rule(
    document: Document,
    index: int,
    rule: Rule,
    entity: Entity,
) -> CompiledRule:
    """Check a rule against its entity and make it ready to run.

    Raises:
        GateDefinitionError: names file, line, key and the nearest valid name.
    """
    place: Location = ("rules", index)
    columns = {column.name: column for column in entity.columns}
    named = [rule.column] if rule.column else rule.columns
    for name in named:
        if name not in columns:
            key = (*place, "column" if rule.column else "columns")
            raise document.fault(
                f"{entity.path} has no column {name!r}.{nearest(name, columns)}",
                key,
            )
    when = None
    if rule.when is not None:
        when = compile_sql(document, (*place, "when"), rule.when, entity, pl.Boolean)
    if rule.check is not None:
        assert rule.column is not None
        return _builtin(document, place, rule, columns[rule.column], entity, when)
    if rule.function is not None:
        expression = _function(document, place, rule, named, entity)
        words = f"{', '.join(named)}: {rule.function}{_arguments(rule)}"
    else:
        assert rule.expression is not None
        expression_place = (*place, "expression")
        expression = compile_sql(document, expression_place, rule.expression, entity, pl.Boolean)
        named = list(dict.fromkeys(expression.meta.root_names()))
        words = rule.expression
    return CompiledRule(
        rule,
        tuple(named),
        None,
        expression,
        when,
        rule.message or words,
    )


def _builtin(
    document: Document,
    place: Location,
    rule: Rule,
    column: Column,
    entity: Entity,
    when: Expr | None,
) -> CompiledRule:
    if rule.check not in CHECKS:
        hint = nearest(rule.check, CHECKS)
        if rule.check == "unique_values_eq":
            hint = " unique_values_eq speaks of a whole column, not of a record."
        raise document.fault(
            f"pandera has no check {rule.check!r} for records.{hint}",
            (*place, "check"),
        )
    make = getattr(pandera.Check, rule.check)
    arguments = _check_arguments(document, place, rule, column, make)
    try:
        check = make(**arguments, ignore_na=rule.nulls == "pass")
        tried = check(empty_view(entity, 2).lazy(), column.name)
        tried.check_output.collect()
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        re.error,
        PolarsError,
    ) as error:
        check_words = f"{rule.check}{_arguments(rule)}"
        what = (
            f"{check_words} does not go with {column.name} ({column.data_type}):"
            f" {first_line(error)}."
        )
        key = "arguments" if rule.arguments else "check"
        raise document.fault(what, (*place, key)) from None
    words = f"{column.name}: {rule.check}{_arguments(rule)}"
    return CompiledRule(
        rule,
        (column.name,),
        check,
        None,
        when,
        rule.message or words,
    )


def _check_arguments(
    document: Document,
    place: Location,
    rule: Rule,
    column: Column,
    make: Any,
) -> dict[str, Any]:
    """The arguments of a built-in check, which `make` makes, in the types in which polars compares them."""
    known = set(inspect.signature(make).parameters) - _SHARED_ARGUMENTS
    arguments = {}
    for name, value in rule.arguments.items():
        if name not in known:
            what = f"{rule.check} takes no {name!r}.{nearest(name, known)}"
            raise document.fault(what, (*place, "arguments", name))
        arguments[name] = _fitting(value, column)
    return arguments


def _function(
    document: Document,
    place: Location,
    rule: Rule,
    names: list[str],
    entity: Entity,
) -> Expr:
    functions = registered_rules()
    if rule.function not in functions:
        raise document.fault(
            f"no function {rule.function!r} is registered with @rule.{nearest(rule.function, functions)}",
            (*place, "function"),
        )
    function = functions[rule.function]
    try:
        expression = function(*(pl.col(name) for name in names), **rule.arguments)
    except Exception as error:  # a person's function may raise anything; the message names the rule
        raise document.fault(
            f"{rule.function}{signature_of(function)} failed: {type(error).__name__}: {error}.",
            place,
        ) from error
    if not isinstance(expression, Expr):
        raise document.fault(
            f"{rule.function} must return a polars expression, not {type(expression).__name__}.",
            (*place, "function"),
        )
    return check_expression(
        document,
        (*place, "function"),
        expression,
        entity,
        pl.Boolean,
    )


def _arguments(rule: Rule) -> str:
    parts = [f"{name}={value}" for name, value in rule.arguments.items()]
    return f"({', '.join(parts)})"


def _fitting(value: Any, column: Column) -> Any:
    """A value of YAML in the type in which polars compares it exactly with the column."""
    if isinstance(value, list):
        return [_fitting(one, column) for one in value]
    kind = column.type.kind
    if isinstance(value, datetime) and kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        moment = aware.astimezone(UTC)
        return moment if kind is Kind.TIMESTAMPTZ else moment.replace(tzinfo=None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return _fitting_number(value, column)


def _fitting_number(value: float, column: Column) -> Any:
    kind = column.type.kind
    if kind is Kind.NUMERIC and not column.type.is_number_text:
        return Decimal(str(value))
    if kind in (Kind.DOUBLE, Kind.REAL, Kind.NUMERIC):
        return float(value)
    return int(value) if kind in INTEGER_BITS and float(value).is_integer() else value
