"""Identifiers and literals of Trino, which folds every name to lower case."""

from __future__ import annotations


def quote(*names: str) -> str:
    """A quoted, dot-joined identifier, folded as Trino folds it."""
    return ".".join('"' + name.lower().replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A quoted text constant."""
    return "'" + text.replace("'", "''") + "'"
