"""How a table describes itself to a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

DeltaStrategy = Literal["full", "rowversion", "hash"]


@dataclass(frozen=True)
class TwinColumn:
    """One column as the API declares it; `data_type` is the source database's own name."""

    name: str
    data_type: str
    is_nullable: bool = True
    is_business_key: bool = False

    def describe(self, business_keys: Sequence[str]) -> dict[str, Any]:
        """Return the column as the contract words it."""
        return {
            "name": self.name,
            "data_type": self.data_type,
            "is_nullable": self.is_nullable,
            "is_business_key": self.name in business_keys,
        }
