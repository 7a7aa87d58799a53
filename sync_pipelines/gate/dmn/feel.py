"""FEEL unary tests (the cells of a decision table): `-`, literals, comparisons, intervals, lists, `not(…)`.

Logic is FEEL's: equality with null is false, a comparison with null is neither true nor false, and what is not true
does not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import polars as pl

Value = str | float | bool | date | None
Kind = Literal["string", "number", "boolean", "date"]
MAX_ORDERED_TESTS = 500
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\")|date\s*\(\s*(?P<date>\"[^\"]*\")\s*\)|@(?P<at>\"[^\"]*\")"
    r"|(?P<number>-?(?:\d+(?:\.(?!\.)\d*)?|\.(?!\.)\d+))|(?P<range>\.\.)|(?P<operator><=|>=|!=|<|>|=)"
    r"|(?P<word>[A-Za-z]+)|(?P<sign>[\[\](),-]))"
)


class FeelError(ValueError):
    """A text that is not of the part of FEEL that is supported."""


@dataclass(frozen=True)
class Comparison:
    """`< 5`, `= "a"`, `null`; an operand alone is an equality."""

    operator: str
    value: Value

    def expression(self, value: pl.Expr) -> pl.Expr:
        """True, false, or null where FEEL cannot say."""
        literal = pl.lit(self.value)
        match self.operator:
            case "=":
                return value.is_null() if self.value is None else value.eq_missing(literal)
            case "!=":
                return value.is_not_null() if self.value is None else value.ne_missing(literal)
            case "<":
                return value < literal
            case "<=":
                return value <= literal
            case ">":
                return value > literal
        return value >= literal

    def values(self) -> Iterator[Value]:
        """The literals."""
        yield self.value


@dataclass(frozen=True)
class Interval:
    """`[1..5)`; either end open or closed."""

    low: Value
    high: Value
    low_closed: bool
    high_closed: bool

    def expression(self, value: pl.Expr) -> pl.Expr:
        """True, false, or null where FEEL cannot say."""
        above = value >= pl.lit(self.low) if self.low_closed else value > pl.lit(self.low)
        below = value <= pl.lit(self.high) if self.high_closed else value < pl.lit(self.high)
        return above & below

    def values(self) -> Iterator[Value]:
        """The literals."""
        yield from (self.low, self.high)


@dataclass(frozen=True)
class UnaryTests:
    """A whole cell: any of the tests, or none of them.

    Attributes:
        tests: empty means `-`, which matches everything.
    """

    text: str
    tests: tuple[Comparison | Interval, ...] = ()
    negated: bool = False

    def expression(self, value: pl.Expr) -> pl.Expr:
        """True where the cell matches, never null."""
        if not self.tests:
            return value.is_null() | value.is_not_null()  # as long as the column
        found = pl.any_horizontal(list(_each(self.tests, value)))
        return (~found if self.negated else found).fill_null(False)

    def values(self) -> Iterator[Value]:
        """The literals of all tests."""
        for test in self.tests:
            yield from test.values()

    @property
    def kinds(self) -> set[Kind]:
        """Kinds of the literals."""
        return {kind_of(value) for value in self.values() if value is not None}


def _each(tests: tuple[Comparison | Interval, ...], value: pl.Expr) -> Iterator[pl.Expr]:
    """What each test says; all equalities of one kind in one look-up, since a cell may list very many of them."""
    listed: dict[Kind, list[Value]] = {}
    for test in tests:
        if isinstance(test, Comparison) and test.operator == "=" and test.value is not None:
            listed.setdefault(kind_of(test.value), []).append(test.value)
        else:
            yield test.expression(value)
    for literals in listed.values():
        # As equality in FEEL: null equals no literal.
        yield value.is_in(literals).fill_null(False)


def kind_of(value: Value) -> Kind:
    """FEEL's name of a value's type."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    return "date" if isinstance(value, date) else "number"


def parse_tests(text: str) -> UnaryTests:
    """Parse a cell.

    Raises:
        FeelError: says at which place, and what is supported.
    """
    if text.strip() in ("", "-"):
        return UnaryTests(text)
    tokens = _Tokens(text)
    if tokens.peek() == ("word", "not"):
        tokens.take()
        tokens.expect("(")
        tests = _tests(tokens)
        tokens.expect(")")
        tokens.end()
        return UnaryTests(text, tests, negated=True)
    tests = _tests(tokens)
    tokens.end()
    return UnaryTests(text, tests)


def parse_literals(text: str) -> tuple[Value, ...]:
    """Parse literals separated by commas: an output entry, or a list of output values.

    Raises:
        FeelError: anything but literals.
    """
    tokens = _Tokens(text)
    found = [_literal(tokens)]
    while tokens.peek() == ("sign", ","):
        tokens.take()
        found.append(_literal(tokens))
    tokens.end()
    return tuple(found)


def _tests(tokens: _Tokens) -> tuple[Comparison | Interval, ...]:
    found = [_test(tokens)]
    while tokens.peek() == ("sign", ","):
        tokens.take()
        found.append(_test(tokens))
    if (
        sum(not isinstance(test, Comparison) or test.operator != "=" for test in found)
        > MAX_ORDERED_TESTS
    ):
        raise FeelError(f"a cell holds at most {MAX_ORDERED_TESTS} comparisons and intervals.")
    return tuple(found)


def _test(tokens: _Tokens) -> Comparison | Interval:
    kind, text = tokens.peek()
    if kind == "operator":
        tokens.take()
        value = _literal(tokens)
        if text not in ("=", "!=") and isinstance(value, str | bool | None):
            raise FeelError(f"{text} compares numbers and dates only, not {value!r}.")
        return Comparison(text, value)
    if kind == "sign" and text in ("[", "]", "("):
        return _interval(tokens)
    return Comparison("=", _literal(tokens))


def _interval(tokens: _Tokens) -> Interval:
    opening = tokens.take()[1]
    low = _literal(tokens)
    if tokens.take() != ("range", ".."):
        raise FeelError(f"an interval is written [low..high], in {tokens.text!r}.")
    high = _literal(tokens)
    kind, closing = tokens.take()
    if kind != "sign" or closing not in (")", "]", "["):
        raise FeelError(f"the interval does not end, in {tokens.text!r}.")
    kinds = {kind_of(low), kind_of(high)} if low is not None and high is not None else set()
    if kinds not in ({"number"}, {"date"}):
        raise FeelError(
            f"an interval goes from a number to a number or from a date to a date, in {tokens.text!r}."
        )
    if low > high:  # type: ignore[operator]
        raise FeelError(f"the interval {tokens.text!r} begins above its end.")
    return Interval(low, high, opening == "[", closing == "]")


def _literal(tokens: _Tokens) -> Value:
    kind, text = tokens.take()
    match kind:
        case "string":
            return _unquoted(text)
        case "date" | "at":
            try:
                return date.fromisoformat(text[1:-1])
            except ValueError:
                raise FeelError(f"{text} is no date.") from None
        case "number":
            return float(text)
        case "word" if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
    raise FeelError(
        f"{text or 'the end'!r} is not supported here; a cell holds -, literals, comparisons, intervals,"
        " lists and not(…)."
    )


def _unquoted(text: str) -> str:
    inner = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text[1:-1])
    return re.sub(
        r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), inner
    )


class _Tokens:
    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise FeelError(f"{stripped[position : position + 30]!r} is not understood.")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            position = match.end()
        self._next = 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self._next += 1
        return token

    def expect(self, sign: str) -> None:
        if self.take() != ("sign", sign):
            raise FeelError(f"{sign!r} is missing in {self.text!r}.")

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise FeelError(f"{self.peek()[1]!r} is too much in {self.text!r}.")


def number_or_value(value: Any) -> str:
    """A value as FEEL writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, date):
        return f'date("{value.isoformat()}")'
    return f"{value:g}"
