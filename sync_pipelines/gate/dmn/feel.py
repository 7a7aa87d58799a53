"""FEEL unary tests (the cells of a decision table): `-`, literals, comparisons, intervals, lists, `not(…)`.

Logic is FEEL's: equality with null is false, a comparison with null is neither true nor false, and what is not true
does not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeGuard

import polars as pl
from polars import Expr

Value = str | float | bool | date | None
Kind = Literal["string", "number", "boolean", "date"]
MAX_ORDERED_TESTS = 500
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\")|date\s*\(\s*(?P<date>\"[^\"]*\")\s*\)|@(?P<at>\"[^\"]*\")"
    r"|(?P<number>-?(?:\d+(?:\.(?!\.)\d*)?|\.(?!\.)\d+))|(?P<range>\.\.)|(?P<operator><=|>=|!=|<|>|=)"
    r"|(?P<word>[A-Za-z]+)|(?P<sign>[\[\](),-]))"
)
_WORDS = {"true": True, "false": False, "null": None}
_CODE_POINT = re.compile(r"\\u([0-9a-fA-F]{4})")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class FeelError(ValueError):
    """A text that is not of the part of FEEL that is supported."""


@dataclass(frozen=True)
class Comparison:
    """`< 5`, `= "a"`, `null`; an operand alone is an equality."""

    operator: str
    value: Value

    def expression(self, value: Expr) -> Expr:
        """True, false, or null where FEEL cannot say."""
        literal = pl.lit(self.value)
        match self.operator:
            case "=" if self.value is None:
                return value.is_null()
            case "!=" if self.value is None:
                return value.is_not_null()
            case "=":
                return value.eq_missing(literal)
            case "!=":
                return value.ne_missing(literal)
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

    def expression(self, value: Expr) -> Expr:
        """True, false, or null where FEEL cannot say."""
        low = pl.lit(self.low)
        high = pl.lit(self.high)
        above = value >= low if self.low_closed else value > low
        below = value <= high if self.high_closed else value < high
        return above & below

    def values(self) -> Iterator[Value]:
        """The literals."""
        yield self.low
        yield self.high


@dataclass(frozen=True)
class UnaryTests:
    """A whole cell: any of the tests, or none of them.

    Attributes:
        tests: empty means `-`, which matches everything.
    """

    text: str
    tests: tuple[Comparison | Interval, ...] = ()
    negated: bool = False

    def expression(self, value: Expr) -> Expr:
        """True where the cell matches, never null."""
        if not self.tests:
            return value.is_null() | value.is_not_null()  # as long as the column
        tests = list(_each(self.tests, value))
        found = pl.any_horizontal(tests)
        matches = ~found if self.negated else found
        return matches.fill_null(False)

    def values(self) -> Iterator[Value]:
        """The literals of all tests."""
        for test in self.tests:
            yield from test.values()

    @property
    def kinds(self) -> set[Kind]:
        """Kinds of the literals."""
        return {kind_of(value) for value in self.values() if value is not None}


def _each(tests: tuple[Comparison | Interval, ...], value: Expr) -> Iterator[Expr]:
    """What each test says; all equalities of one kind in one look-up, since a cell may list very many of them."""
    listed: dict[Kind, list[Value]] = {}
    for test in tests:
        if _is_equality(test) and test.value is not None:
            kind = kind_of(test.value)
            literals = listed.setdefault(kind, [])
            literals.append(test.value)
        else:
            yield test.expression(value)
    for literals in listed.values():
        # As equality in FEEL: null equals no literal.
        yield value.is_in(literals).fill_null(False)


def _is_equality(test: Comparison | Interval) -> TypeGuard[Comparison]:
    return isinstance(test, Comparison) and test.operator == "="


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
    ordered = [test for test in found if not _is_equality(test)]
    if len(ordered) > MAX_ORDERED_TESTS:
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
    _check_bounds(low, high, tokens.text)
    return Interval(
        low,
        high,
        low_closed=opening == "[",
        high_closed=closing == "]",
    )


def _check_bounds(low: Value, high: Value, text: str) -> None:
    """Refuse an interval whose bounds have no order, or the wrong one."""
    kinds: set[Kind] = set()
    if low is not None and high is not None:
        kinds = {kind_of(low), kind_of(high)}
    if kinds not in ({"number"}, {"date"}):
        raise FeelError(
            f"an interval goes from a number to a number or from a date to a date, in {text!r}."
        )
    if low > high:  # type: ignore[operator]
        raise FeelError(f"the interval {text!r} begins above its end.")


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
        case "word" if text in _WORDS:
            return _WORDS[text]
    raise FeelError(
        f"{text or 'the end'!r} is not supported here; a cell holds -, literals, comparisons, intervals,"
        " lists and not(…)."
    )


def _unquoted(text: str) -> str:
    inner = _CODE_POINT.sub(_character, text[1:-1])
    return _ESCAPED.sub(_unescaped, inner)


def _character(found: re.Match[str]) -> str:
    code_point = int(found[1], 16)
    return chr(code_point)


def _unescaped(found: re.Match[str]) -> str:
    letter = found[1]
    return _ESCAPES.get(letter, letter)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens: list[tuple[str, str]] = []
        self._next = 0
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise FeelError(f"{stripped[position : position + 30]!r} is not understood.")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            position = match.end()

    def peek(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            return ("end", "")
        return self._tokens[self._next]

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self._next += 1
        return token

    def expect(self, sign: str) -> None:
        if self.take() != ("sign", sign):
            raise FeelError(f"{sign!r} is missing in {self.text!r}.")

    def end(self) -> None:
        kind, text = self.peek()
        if kind != "end":
            raise FeelError(f"{text!r} is too much in {self.text!r}.")


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
