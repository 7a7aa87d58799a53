"""When the flag of a review goes from a row."""

from __future__ import annotations

from sync_pipelines.destinations.hashes import content_hash
from sync_pipelines.model.entity import REVIEW_COLUMN
from sync_pipelines.model.quoting import literal


def has_accepted_content(accepted_hash: str, row: str = "t.") -> str:
    """A condition: the row is flagged, and its content is still the one that a person accepted.

    Args:
        accepted_hash: the hash of that content.
        row: what names the row before its columns.
    """
    stored = content_hash(f"{row}_bridge_hash")
    return f"{row}{REVIEW_COLUMN} IS NOT NULL AND {stored} = {literal(accepted_hash)}"
