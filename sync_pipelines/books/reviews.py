"""The list of reviews: which rows a person should look at, kept equal to what a run leaves in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync_pipelines.books.keys import Key, parse_key
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def reviews_table(request: PublishRequest) -> str:
    """The quoted table of reviews."""
    return f"{quote(request.bridge_schema)}.reviews"


def is_accepted(request: PublishRequest) -> str:
    """A condition over r: a person accepted a content of the run's entity as it is."""
    return f"{_of_entity(request)} AND r.outcome = 'accepted'"


def is_open(request: PublishRequest) -> str:
    """A condition over r: a row of the run's entity waits for a person."""
    return f"{_of_entity(request)} AND r.closed_at IS NULL"


def read_accepted(cursor: Any, request: PublishRequest) -> frozenset[tuple[Key, str]]:
    """Keys and content hashes that a person accepted; empty where nothing is ever flagged."""
    if not request.entity.has_review:
        return frozenset()
    return frozenset(_read_reviews(cursor, request, is_accepted(request)))


def read_open(cursor: Any, request: PublishRequest) -> dict[Key, str]:
    """Content hashes of the open reviews by key; empty where nothing is ever flagged."""
    if not request.entity.has_review:
        return {}
    return dict(_read_reviews(cursor, request, is_open(request)))


def _read_reviews(
    cursor: Any,
    request: PublishRequest,
    condition: str,
) -> list[tuple[Key, str]]:
    cursor.execute(
        f"SELECT r.business_key::text, r.content_hash FROM {reviews_table(request)} r"
        f" WHERE {condition}"
    )
    return [(parse_key(key), content_hash) for key, content_hash in cursor.fetchall()]


def _of_entity(request: PublishRequest) -> str:
    return f"r.entity_uid = {literal(str(request.entity.uid))}"


def settle_reviews(
    cursor: Any,
    request: PublishRequest,
    keys: str,
    arguments: Sequence[Any] | None = None,
) -> None:
    """Close open reviews whose row carries no flag any more.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        keys: a query of business keys (jsonb) without a flag; a percent sign is doubled where it has arguments.
        arguments: of that query.
    """
    cursor.execute(
        f"UPDATE {reviews_table(request)} r SET closed_at = now(), outcome = 'settled'"
        f" FROM ({keys}) AS f (business_key)"
        f" WHERE {is_open(request)} AND r.business_key = f.business_key",
        arguments,
    )


def list_flagged(
    cursor: Any,
    request: PublishRequest,
    rows: str,
    arguments: Sequence[Any] | None = None,
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
