"""Rows of `bridge.quarantine`: bad records with their reason, byte for byte as the source sent them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import NotFoundError


def list_quarantine(
    database: Database,
    connector: str | None = None,
    slug: str | None = None,
    *,
    run_uid: UUID | None = None,
    limit: int = 50,
    with_resolved: bool = False,
) -> list[dict[str, Any]]:
    """The newest quarantined records without the record itself; those of which a good version came only on demand.

    Returns:
        Rows with uid, path, run_uid, first_seen_at, last_seen_at, times_seen, resolved_at, page, position, business_key,
        rowversion, column_name, reason.
    """
    with database.connect() as connection:
        return list(
            connection.execute(
                """
                SELECT q.uid, c.name || '/' || e.slug AS path, q.run_uid, q.first_seen_at, q.last_seen_at, q.times_seen,
                       q.resolved_at, q.page, q.position, q.business_key, q.rowversion, q.column_name, q.reason
                FROM quarantine q JOIN entities e ON e.uid = q.entity_uid JOIN connectors c ON c.uid = e.connector_uid
                WHERE (%(connector)s::text IS NULL OR c.name = %(connector)s)
                  AND (%(slug)s::text IS NULL OR e.slug = %(slug)s)
                  AND (%(run)s::uuid IS NULL OR q.run_uid = %(run)s)
                  AND (%(all)s OR q.resolved_at IS NULL)
                ORDER BY q.last_seen_at DESC, q.page, q.position LIMIT %(limit)s
                """,
                {"connector": connector, "slug": slug, "run": run_uid, "limit": limit, "all": with_resolved},
            )
        )


def get_quarantined(database: Database, uid: UUID) -> dict[str, Any]:
    """One quarantined record with `record` as the bytes that came over the wire.

    Raises:
        NotFoundError: no such record.
    """
    with database.connect() as connection:
        row = connection.execute(
            """
            SELECT q.*, c.name || '/' || e.slug AS path
            FROM quarantine q JOIN entities e ON e.uid = q.entity_uid JOIN connectors c ON c.uid = e.connector_uid
            WHERE q.uid = %s
            """,
            [uid],
        ).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no quarantined record {uid}.", state="", next_command="sync-pipelines quarantine list"
        )
    return row
