"""The list of reviews: which rows a person should look at, kept equal to what a run leaves in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def reviews_table(request: PublishRequest) -> str:
    """The quoted table of reviews."""
    return f"{quote(request.bridge_schema)}.reviews"


def of_entity(request: PublishRequest, alias: str = "r") -> str:
    """SQL: a review belongs to the entity of the run."""
    return f"{alias}.entity_uid = {literal(str(request.entity.uid))}"


def settle_reviews(
    cursor: Any, request: PublishRequest, keys: str, arguments: Sequence[Any] | None = None
) -> None:
    """Close open reviews whose row carries no flag any more.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        keys: a query of business keys (jsonb) without a flag; a percent sign is doubled where it has arguments.
        arguments: of that query.
    """
    cursor.execute(
        f"UPDATE {reviews_table(request)} r SET closed_at = now(), outcome = 'settled' FROM ({keys}) AS f"
        " (business_key)"
        f" WHERE {of_entity(request)} AND r.closed_at IS NULL AND r.business_key = f.business_key",
        arguments,
    )


def list_flagged(
    cursor: Any, request: PublishRequest, rows: str, arguments: Sequence[Any] | None = None
) -> int:
    """Open a review for each flagged row, or note that it was seen again.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        rows: a query of business key (jsonb), reason and content hash of flagged rows; as for `settle_reviews`.
        arguments: of that query.

    Returns:
        How many rows of the run are flagged.
    """
    cursor.execute(
        f"INSERT INTO {reviews_table(request)} AS r (entity_uid, run_uid, business_key, reason, content_hash)"
        f" SELECT {literal(str(request.entity.uid))}::uuid, {literal(str(request.run_uid))}::uuid, f.* FROM"
        f" ({rows}) AS f"
        " ON CONFLICT (entity_uid, business_key) DO UPDATE SET reason = excluded.reason, content_hash ="
        " excluded.content_hash,"
        " run_uid = excluded.run_uid, last_seen_at = now(), closed_at = NULL, outcome = NULL,"
        " first_seen_at = CASE WHEN r.closed_at IS NULL THEN r.first_seen_at ELSE now() END",
        arguments,
    )
    return int(cursor.rowcount)
