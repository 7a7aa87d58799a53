"""Rows that PostgreSQL refuses among many that it takes, found by halving: its error shows that there is one, but
not which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

Write = Callable[[int, int], int]
"""Writes the rows from a place up to another one, which is not included; returns how many were written."""


def write_by_halves(
    cursor: Any,
    count: int,
    write: Write,
    is_refusal: Callable[[BaseException], bool],
) -> tuple[int, list[tuple[int, psycopg.Error]]]:
    """Write rows, but for those that PostgreSQL refuses.

    Args:
        cursor: inside a transaction, which `write` uses.
        count: how many rows there are.
        write: writes some of them.
        is_refusal: whether an error is about a row; any other is raised.

    Returns:
        How many rows were written, and place and error of each refused one, ascending.
    """
    refused: list[tuple[int, psycopg.Error]] = []

    def attempt(start: int, stop: int) -> int:
        if start == stop:
            return 0
        cursor.execute("SAVEPOINT before_rows")
        try:
            written = write(start, stop)
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT before_rows; RELEASE SAVEPOINT before_rows")
            if stop - start == 1:
                refused.append((start, error))
                return 0
            middle = start + (stop - start) // 2
            return attempt(start, middle) + attempt(middle, stop)
        cursor.execute("RELEASE SAVEPOINT before_rows")
        return written

    return attempt(0, count), refused
