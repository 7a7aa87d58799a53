"""How a discovered entity differs from the stored one, and what follows: a pure diff."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines.model.types import widens


class Verdict(StrEnum):
    """What may happen with a drift."""

    SAME = "same"
    FOLLOW = "follow"
    DECIDE = "decide"


@dataclass
class Drift:
    """The differences of one entity, in words.

    Attributes:
        harmless: changes that are followed by themselves.
        breaking: changes that need a person, since they would cut, reinterpret or rematch data.
        read_everything_again: a column was added or widened, so that rows already read have new values.
    """

    harmless: list[str] = field(default_factory=list)
    breaking: list[str] = field(default_factory=list)
    read_everything_again: bool = False

    @property
    def verdict(self) -> Verdict:
        """SAME, FOLLOW or DECIDE."""
        if self.breaking:
            return Verdict.DECIDE
        return Verdict.FOLLOW if self.harmless else Verdict.SAME

    @property
    def plan(self) -> str:
        """The differences as one sentence."""
        differences = self.breaking + self.harmless
        return "; ".join(differences)


def diff_entity(stored: Entity, discovered: Entity) -> Drift:
    """Compare what the catalog knows with what the source says now."""
    drift = Drift()
    old_keys = [column.name for column in stored.business_keys]
    new_keys = [column.name for column in discovered.business_keys]
    if sorted(old_keys) != sorted(new_keys):
        old = ", ".join(old_keys)
        new = ", ".join(new_keys)
        drift.breaking.append(f"business key {old} becomes {new}")
    _compare_columns(drift, stored, discovered)
    if stored.delta_strategy is not discovered.delta_strategy:
        drift.harmless.append(
            f"delta strategy {stored.delta_strategy} becomes {discovered.delta_strategy}"
        )
        drift.read_everything_again |= discovered.delta_strategy is DeltaStrategy.ROWVERSION
    if (
        discovered.position.cursor_codec is not None
        and discovered.position.cursor_codec != stored.position.cursor_codec
    ):
        drift.harmless.append(
            f"rowversion codec {stored.position.cursor_codec or 'inferred'} becomes {discovered.position.cursor_codec}"
        )
        drift.read_everything_again |= stored.position.cursor is not None
    is_named_alike = stored.api_name == discovered.api_name
    if not is_named_alike or stored.description != discovered.description:
        drift.harmless.append("name or description changed")
    old_order = [column.name for column in stored.columns]
    new_order = [column.name for column in discovered.columns]
    if drift.verdict is Verdict.SAME and old_order != new_order:
        drift.harmless.append("order of the columns changed")
    return drift


def _compare_columns(
    drift: Drift,
    stored: Entity,
    discovered: Entity,
) -> None:
    """Add to the drift what differs in the columns."""
    old_columns = {column.name: column for column in stored.columns}
    new_columns = {column.name: column for column in discovered.columns}
    for name, column in new_columns.items():
        if name in old_columns:
            _compare_column(drift, old_columns[name], column)
        else:
            drift.harmless.append(f"column {name} {column.type.sql} is added")
            drift.read_everything_again = True
    for name in old_columns.keys() - new_columns.keys():
        drift.harmless.append(f"column {name} is gone; the table keeps its last values")


def _compare_column(drift: Drift, old: Column, new: Column) -> None:
    """Add to the drift what differs in one column."""
    name = new.name
    if old.type != new.type:
        words = f"column {name} changes from {old.type.sql} to {new.type.sql}"
        if widens(old.type, new.type):
            drift.harmless.append(f"{words} (wider)")
            drift.read_everything_again = True
        else:
            drift.breaking.append(f"{words} (not wider)")
    elif old.type.hexadecimal != new.type.hexadecimal:
        drift.harmless.append(
            f"column {name} is written as {new.data_type}, no longer as {old.data_type}"
        )
        drift.read_everything_again = True
    if old.coerce != new.coerce:
        drift.harmless.append(f"column {name} is coerced: {new.coerce or 'no longer'}")
        drift.read_everything_again = True
    if old.is_nullable != new.is_nullable:
        drift.harmless.append(
            f"column {name} {'allows' if new.is_nullable else 'no longer allows'} nulls"
        )
        drift.read_everything_again |= new.is_nullable
