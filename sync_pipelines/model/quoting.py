"""Identifiers and literals for statements whose tables and columns come from outside."""

from __future__ import annotations


def quote(*names: str) -> str:
    """A quoted, dot-joined identifier. Statements built with it take no parameters, so that % stays %."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A quoted text constant (standard_conforming_strings is on)."""
    return "'" + text.replace("'", "''") + "'"
