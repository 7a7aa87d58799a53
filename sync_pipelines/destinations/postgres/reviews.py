"""The flags of reviews in a table beside the catalog, and the list of reviews that follows them."""

from __future__ import annotations

from typing import Any

from sync_pipelines.books.keys import key_json
from sync_pipelines.books.reviews import (
    is_accepted,
    is_open,
    list_flagged,
    reviews_table,
    settle_reviews,
)
from sync_pipelines.destinations.hashes import content_hash
from sync_pipelines.destinations.verdicts import match_keys
from sync_pipelines.model.entity import REVIEW_COLUMN
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.staged import staged_keys
from sync_pipelines.model.tables import records_of, target_of


def drop_accepted_reviews(cursor: Any, request: PublishRequest) -> None:
    """Take the flag off staged records that a person accepted with this very content."""
    entity = request.entity
    if not entity.has_review:
        return
    key = key_json(f"s.{name}" for name in staged_keys(entity))
    cursor.execute(
        f"UPDATE {records_of(entity)} s SET review = NULL FROM {reviews_table(request)} r"
        f" WHERE s.review IS NOT NULL AND {is_accepted(request)}"
        f" AND r.business_key = {key} AND r.content_hash = s.hash"
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
    key = key_json(f"t.{quote(column.target_name)}" for column in entity.business_keys)
    rows = f"{target_of(entity)} t"
    if filled:
        _drop_accepted_rows(cursor, request, rows, key)
    else:
        rows += f" JOIN {records_of(entity)} s ON {match_keys(quote, entity)}"
    cursor.execute(
        f"SELECT EXISTS (SELECT FROM {reviews_table(request)} r WHERE {is_open(request)})"
    )
    if cursor.fetchone()[0]:
        settle_reviews(cursor, request, f"SELECT {key} FROM {rows} WHERE t.{REVIEW_COLUMN} IS NULL")
    flagged = (
        f"SELECT {key}, t.{REVIEW_COLUMN}, {content_hash()} FROM {rows}"
        f" WHERE t.{REVIEW_COLUMN} IS NOT NULL"
    )
    return list_flagged(cursor, request, flagged)


def _drop_accepted_rows(
    cursor: Any,
    request: PublishRequest,
    rows: str,
    key: str,
) -> None:
    """As `drop_accepted_reviews`, of rows that did not go through staging."""
    cursor.execute(
        f"UPDATE {rows} SET {REVIEW_COLUMN} = NULL FROM {reviews_table(request)} r"
        f" WHERE t.{REVIEW_COLUMN} IS NOT NULL AND {is_accepted(request)}"
        f" AND r.business_key = {key} AND r.content_hash = {content_hash()}"
    )
