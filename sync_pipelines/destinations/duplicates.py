"""Proof that no business key is in a table twice."""

from __future__ import annotations

from collections.abc import Iterable


def count_duplicates(table: str, keys: Iterable[str]) -> str:
    """The query that counts keys that are in a table more than once.

    Args:
        table: quoted.
        keys: its quoted columns.
    """
    repeated = f"SELECT 1 AS one FROM {table} GROUP BY {', '.join(keys)} HAVING count(*) > 1"
    return f"SELECT count(*) FROM ({repeated}) d"
