"""Columns whose masks are new or changed, so that what is stored of them must go."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.gate.masks import Masks
from sync_pipelines.model.entity import Column


@dataclass(frozen=True)
class Remask:
    """Columns of which everything that is stored must go before the table is read anew.

    Attributes:
        masks: of the entity.
        names: columns whose masks are new or changed.
        bridge_schema: the catalog, where quarantine is.
    """

    masks: Masks
    names: frozenset[str]
    bridge_schema: str

    def refused_key(self, key: Column) -> ConfigurationError:
        """Rows cannot be found again under another key."""
        entity = self.masks.entity
        return ConfigurationError(
            f"The business key {key.name} is to be hashed in another way than in the rows of {entity.table} that"
            " are there.",
            where=dict(entity.where),
            next_command=f"empty or rename the table {entity.table}, then sync-pipelines sync {entity.path}"
            " --full-refresh",
        )
