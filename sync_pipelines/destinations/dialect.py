"""How a destination spells what the rules of a publish are made of; the rules themselves are beside this module."""

from __future__ import annotations

from typing import Protocol


class Quote(Protocol):
    """Quotes and joins the names of an identifier."""

    def __call__(self, *names: str) -> str:
        """The identifier."""


class Dialect(Protocol):
    """SQL of one destination.

    Attributes:
        now: an expression for this moment.
    """

    now: str

    def quote(self, *names: str) -> str:
        """A quoted, dot-joined identifier."""

    def matches(self, text: str, pattern: str) -> str:
        """A condition: the text matches a regular expression."""

    def group(self, text: str, pattern: str, number: int) -> str:
        """A group of a regular expression in a text; NULL where the text does not match."""

    def bytewise(self, text: str) -> str:
        """A text that is compared byte by byte."""

    def whole_number(self, text: str) -> str:
        """What orders whole numbers of any width; NULL where the text is none."""

    def moment(self, text: str) -> str:
        """What orders moments of ISO 8601; NULL where the text is none."""
