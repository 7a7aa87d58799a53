"""How many records the answers of a read say that there are."""

from __future__ import annotations


class StatedTotal:
    """The total that every answer of a read states."""

    def __init__(self) -> None:
        self._totals: set[int | None] = set()

    def begin(self) -> None:
        """Another read begins."""
        self._totals.clear()

    def note(self, total: int | None) -> None:
        """Take in the total of an answer; None where it states none."""
        self._totals.add(total)

    @property
    def total(self) -> int | None:
        """The total; None where an answer states none, or another one."""
        if len(self._totals) != 1:
            return None
        (total,) = self._totals
        return total
