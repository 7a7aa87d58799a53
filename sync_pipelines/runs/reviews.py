"""Rows of `bridge.reviews`: records that are in their table, but that a person should look at."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.quarantine import log_action
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.errors import NotFoundError


def list_reviews(
    database: Database,
    connector: str | None = None,
    slug: str | None = None,
    *,
    limit: int = 50,
    with_closed: bool = False,
) -> list[dict[str, Any]]:
    """Records under review, the newest first."""
    with database.connect() as connection:
        return list(
            connection.execute(
                """
                SELECT r.uid, c.name || '/' || e.slug AS path, r.business_key, r.reason, r.run_uid, r.first_seen_at,
                    r.last_seen_at,
                       r.closed_at, r.outcome
                FROM reviews r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid
                WHERE (%(connector)s::text IS NULL OR c.name = %(connector)s) AND (%(slug)s::text IS NULL OR
                    e.slug = %(slug)s)
                  AND (%(all)s OR r.closed_at IS NULL)
                ORDER BY r.last_seen_at DESC, r.uid LIMIT %(limit)s
                """,
                {"connector": connector, "slug": slug, "limit": limit, "all": with_closed},
            )
        )


def accept_review(database: Database, uid: UUID, *, author: str, reason: str) -> None:
    """Accept a record as it is: the flag goes, and comes back only when its content changes.

    Raises:
        NotFoundError: no such open review.
    """
    with database.connect() as connection:
        row = connection.execute(
            """
            UPDATE reviews r SET closed_at = now(), outcome = 'accepted' FROM entities e JOIN connectors c ON c.uid =
                e.connector_uid
            WHERE r.uid = %s AND r.closed_at IS NULL AND e.uid = r.entity_uid
            RETURNING c.name AS connector, e.slug, r.business_key, r.content_hash
            """,
            [uid],
        ).fetchone()
        if row is None:
            raise NotFoundError(
                f"There is no open review {uid}.",
                state="Nothing was changed.",
                next_command="sync-pipelines review list",
            )
        entity = get_entity(database, row["connector"], row["slug"])
        destination = open_destination(database, get_connector(database, row["connector"]), entity)
        destination.accept_review(
            entity, row["business_key"], row["content_hash"], catalog=connection
        )
        log_action(connection, entity.path, "accept", author, reason, review_uid=uid)
