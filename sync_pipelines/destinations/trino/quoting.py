"""Identifiers of Trino, which folds every name to lower case; its text constants are those of `model.quoting`."""

from __future__ import annotations

from sync_pipelines.model.quoting import quote as quote_as_it_is


def quote(*names: str) -> str:
    """A quoted, dot-joined identifier, folded as Trino folds it."""
    return quote_as_it_is(*(name.lower() for name in names))
