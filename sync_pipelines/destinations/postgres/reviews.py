"""The flags of reviews in a table beside the catalog, and the list of reviews that follows them."""

from __future__ import annotations

from typing import Any

from sync_pipelines.books.reviews import list_flagged, of_entity, reviews_table, settle_reviews
from sync_pipelines.model.entity import REVIEW_COLUMN
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import quote


def drop_accepted_reviews(cursor: Any, request: PublishRequest) -> None:
    """Take the flag off staged records that a person accepted with this very content."""
    entity = request.entity
    if entity.has_review:
        cursor.execute(
            f"UPDATE {quote(entity.staging_schema, entity.records_table)} s SET review = NULL FROM"
            f" {reviews_table(request)} r"
            f" WHERE s.review IS NOT NULL AND {of_entity(request)} AND r.outcome = 'accepted'"
            f" AND r.business_key = {_staged_key(request)} AND r.content_hash = s.hash"
        )


def keep_reviews(cursor: Any, request: PublishRequest, *, filled: bool) -> int:
    """Bring the list of reviews to what this run left in the table; returns how many rows of the run are flagged.

    Args:
        cursor: inside the publish transaction, after the merge.
        request: of the run.
        filled: the records went straight into the target and not through staging.
    """
    entity = request.entity
    if not entity.has_review:
        return 0
    reviews, key = reviews_table(request), _row_key(request)
    rows = f"{quote(entity.target_schema, entity.target_table)} t"
    if filled:
        cursor.execute(
            f"UPDATE {rows} SET {REVIEW_COLUMN} = NULL FROM {reviews} r WHERE t.{REVIEW_COLUMN} IS NOT NULL AND"
            f" {of_entity(request)}"
            f" AND r.outcome = 'accepted' AND r.business_key = {key} AND r.content_hash = right(t._bridge_hash, 32)"
        )
    else:
        rows += f" JOIN {quote(entity.staging_schema, entity.records_table)} s ON {_match(request)}"
    cursor.execute(
        f"SELECT EXISTS (SELECT FROM {reviews} r WHERE {of_entity(request)} AND r.closed_at IS NULL)"
    )
    if cursor.fetchone()[0]:
        settle_reviews(cursor, request, f"SELECT {key} FROM {rows} WHERE t.{REVIEW_COLUMN} IS NULL")
    flagged = (
        f"SELECT {key}, t.{REVIEW_COLUMN}, right(t._bridge_hash, 32) FROM {rows}"
        f" WHERE t.{REVIEW_COLUMN} IS NOT NULL"
    )
    return list_flagged(cursor, request, flagged)


def _match(request: PublishRequest) -> str:
    places = _key_places(request)
    keys = zip(request.entity.business_keys, places, strict=True)
    return " AND ".join(f"t.{quote(column.target_name)} = s.{place}" for column, place in keys)


def _staged_key(request: PublishRequest) -> str:
    return _key_array([f"s.{place}" for place in _key_places(request)])


def _row_key(request: PublishRequest) -> str:
    return _key_array([f"t.{quote(column.target_name)}" for column in request.entity.business_keys])


def _key_places(request: PublishRequest) -> list[str]:
    return [
        f"c{index}" for index, column in enumerate(request.entity.columns) if column.is_business_key
    ]


def _key_array(expressions: list[str]) -> str:
    texts = ", ".join(f"{expression}::text" for expression in expressions)
    return f"jsonb_build_array({texts})"
