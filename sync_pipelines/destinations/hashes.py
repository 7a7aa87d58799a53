"""SQL for `_bridge_hash`: the fingerprint of the columns that the hash covers, a colon, the hash of the content.

A row whose hash covers other columns than the entity has now is compared by its content.
"""

from __future__ import annotations

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal

CONTENT_CHARACTERS = 32
_LOST = literal("lost:")


def hash_prefix(entity: Entity) -> str:
    """A constant: what the hash of every row begins with that covers the entity's columns."""
    return literal(f"{entity.columns_fingerprint}:")


def stored_hash(entity: Entity, content_hash: str = "s.hash") -> str:
    """The value of `_bridge_hash` for the hash of a content."""
    return f"{hash_prefix(entity)} || {content_hash}"


def covers_columns(entity: Entity, stored: str = "t._bridge_hash") -> str:
    """A condition: the hash covers the columns that the entity has now."""
    return f"starts_with({stored}, {hash_prefix(entity)})"


def content_hash(stored: str = "t._bridge_hash") -> str:
    """The hash of the content within `_bridge_hash`."""
    return f"substr({stored}, length({stored}) - {CONTENT_CHARACTERS - 1})"


def distrust_hashes(table: str, condition: str) -> str:
    """The statement that lets rows be compared by content from now on.

    Args:
        table: quoted.
        condition: which rows.
    """
    return f"UPDATE {table} SET _bridge_hash = {_LOST} || _bridge_hash WHERE {condition}"


def is_trusted() -> str:
    """A condition: nobody has distrusted the hash of the row yet."""
    return f"NOT starts_with(_bridge_hash, {_LOST})"
