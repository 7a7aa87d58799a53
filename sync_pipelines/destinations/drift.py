"""How a table follows its source, and why it cannot, in words that all destinations use; each names the way out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sync_pipelines.errors import SchemaDriftError
from sync_pipelines.model.entity import BRIDGE_COLUMNS, Entity


@dataclass(frozen=True)
class TablePlan:
    """Statements that bring the table to the entity's columns, and what they do in words."""

    statements: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def check_may_be_made(entity: Entity, *, rebuild: bool) -> None:
    """Refuse to make a missing table anew when only a delta would come into it.

    Raises:
        SchemaDriftError: the table held rows.
    """
    if entity.last_sync_at is not None and entity.row_count and not rebuild:
        raise SchemaDriftError(
            f"The table {entity.table} is gone although it held {entity.row_count} rows.",
            where=dict(entity.where),
            next_command=f"sync-pipelines sync {entity.path} --full-refresh",
        )


def check_is_ours(entity: Entity, stored: Collection[str]) -> None:
    """Refuse a table of that name that somebody else made.

    Raises:
        SchemaDriftError: one of our own columns is missing.
    """
    missing = [name for name in BRIDGE_COLUMNS if name not in stored]
    if missing:
        raise SchemaDriftError(
            f"The table {entity.table} exists but is not ours: it has no column {missing[0]}.",
            where=dict(entity.where),
            state="It was left untouched.",
            next_command=f"rename it, then sync-pipelines sync {entity.path} --full-refresh",
        )


def lost_column(entity: Entity, name: str) -> SchemaDriftError:
    """A declared column is gone from the table, and a delta could not fill it."""
    return SchemaDriftError(
        f"The table {entity.table} has lost the column {name}, which only reading everything again can fill.",
        where=dict(entity.where),
        next_command=f"sync-pipelines sync {entity.path} --full-refresh",
    )


def check_can_follow(entity: Entity, refused: Sequence[str]) -> None:
    """Refuse changes that would cut, reinterpret or drop data.

    Raises:
        SchemaDriftError: lists each of them.
    """
    if refused:
        raise SchemaDriftError(
            f"The table {entity.table} cannot follow its source without loss: " + "; ".join(refused) + ".",
            where=dict(entity.where),
            next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}"
            "  (keeps the old table under another name and reads everything again)",
        )
