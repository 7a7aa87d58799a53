"""What a gate did in a run, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """What a gate did in a run.

    Attributes:
        passed, reviewed, rejected: records by verdict; those that cannot be decoded or that the contract refuses are
        rejected, too.
        waived: of those that passed, the ones for which a person waived the rules.
        failed: records that failed each rule, by its name.
        decided: records by rule of the decision table, "rule 3", and "no rule".
    """

    passed: int = 0
    reviewed: int = 0
    rejected: int = 0
    waived: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)

    def waive(self, count: int) -> None:
        """So many of the rejected ones pass, because a person waived the rules for them."""
        self.rejected -= count
        self.passed += count
        self.waived += count

    def as_dict(self) -> dict[str, Any]:
        """The tally as JSON-ready data."""
        in_order = sorted(self.decided.items())
        return {
            **vars(self),
            "failed": dict(self.failed),
            "decided": dict(in_order),
        }
