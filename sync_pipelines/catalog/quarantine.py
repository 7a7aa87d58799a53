"""Rows of `bridge.quarantine`: bad records with their reason, byte for byte as the source sent them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import NotFoundError


def list_quarantine(
    database: Database,
    connector: str | None = None,
    slug: str | None = None,
    *,
    run_uid: UUID | None = None,
    reason: str | None = None,
    rule: str | None = None,
    text: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
    with_resolved: bool = False,
    with_record: bool = False,
) -> list[dict[str, Any]]:
    """The newest quarantined records; settled ones, and the records themselves, only on demand.

    Args:
        database, connector, slug, run_uid, limit: where to look, and how much.
        reason: part of the reason, in any case.
        rule: name of a rule of the gate, or "rule 3" of a decision table.
        text: part of the record or of its key, in any case.
        since: last seen at or after.
        with_resolved: also those that are settled.
        with_record: also `record`, the bytes that came over the wire.

    Returns:
        Rows with uid, path, run_uid, first_seen_at, last_seen_at, times_seen, resolved_at, resolution, waived_at,
        is_edited, page, position, business_key, rowversion, column_name, reason.
    """
    with database.connect() as connection:
        return list(
            connection.execute(
                f"""
                SELECT {"q.record, " if with_record else ""}q.uid, c.name || '/' || e.slug AS path, q.run_uid,
                    q.first_seen_at, q.last_seen_at, q.times_seen,
                       q.resolved_at, q.resolution, q.waived_at, q.edited_record IS NOT NULL AS is_edited, q.page,
                           q.position, q.business_key, q.rowversion, q.column_name, q.reason
                FROM quarantine q JOIN entities e ON e.uid = q.entity_uid JOIN connectors c ON c.uid = e.connector_uid
                WHERE (%(connector)s::text IS NULL OR c.name = %(connector)s)
                  AND (%(slug)s::text IS NULL OR e.slug = %(slug)s)
                  AND (%(run)s::uuid IS NULL OR q.run_uid = %(run)s)
                  AND (%(reason)s::text IS NULL OR strpos(lower(q.reason), lower(%(reason)s)) > 0)
                  AND (%(rule)s::text IS NULL OR q.reason ~* ('(Rule |Failed as well: ([A-Za-z0-9_]+, )*|[.]dmn )' ||
                      %(rule)s || '[:,. ]'))
                  AND (%(text)s::text IS NULL OR strpos(lower(convert_from(q.record, 'SQL_ASCII')), lower(%(text)s)) > 0
                       OR strpos(lower(q.business_key::text), lower(%(text)s)) > 0)
                  AND (%(since)s::timestamptz IS NULL OR q.last_seen_at >= %(since)s)
                  AND (%(all)s OR q.resolved_at IS NULL)
                ORDER BY q.last_seen_at DESC, q.page, q.position LIMIT %(limit)s
                """,
                {
                    "connector": connector,
                    "slug": slug,
                    "run": run_uid,
                    "limit": limit,
                    "all": with_resolved,
                    "reason": reason,
                    "rule": None if rule is None else re.escape(rule),
                    "text": text,
                    "since": since,
                },
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
            f"There is no quarantined record {uid}.",
            state="",
            next_command="sync-pipelines quarantine list",
        )
    return row


def open_of(connection: psycopg.Connection[Any], uids: Sequence[UUID]) -> set[UUID]:
    """Those of some records that nobody and nothing has settled."""
    return {
        row["uid"]
        for row in connection.execute(
            "SELECT uid FROM quarantine WHERE uid = ANY(%s) AND resolved_at IS NULL", [list(uids)]
        )
    }


def set_edited(
    connection: psycopg.Connection[Any],
    uid: UUID,
    record: bytes,
) -> None:
    """Keep an edited version beside the record as it came."""
    connection.execute("UPDATE quarantine SET edited_record = %s WHERE uid = %s", [record, uid])


def set_waived(connection: psycopg.Connection[Any], uid: UUID) -> None:
    """Let a record pass the rules of its gate from now on."""
    connection.execute("UPDATE quarantine SET waived_at = now() WHERE uid = %s", [uid])


def expire_records(
    database: Database,
    connector: str | None,
    slug: str | None,
    *,
    days: int,
    author: str,
    reason: str,
) -> int:
    """Settle records that were last seen more than so many days ago.

    Returns how many. One that is sent again opens again.
    """
    with database.connect() as connection:
        rows = connection.execute(
            """
            UPDATE quarantine q SET resolved_at = now(), resolution = 'expired'
            FROM entities e JOIN connectors c ON c.uid = e.connector_uid
            WHERE e.uid = q.entity_uid AND q.resolved_at IS NULL AND q.last_seen_at < now() -
                make_interval(days => %(days)s)
              AND (%(connector)s::text IS NULL OR c.name = %(connector)s) AND (%(slug)s::text IS NULL OR
                  e.slug = %(slug)s)
            RETURNING q.uid, c.name || '/' || e.slug AS path
            """,
            {"days": days, "connector": connector, "slug": slug},
        ).fetchall()
        for row in rows:
            log_action(
                connection,
                row["path"],
                "expire",
                author,
                reason,
                record_uid=row["uid"],
                details={"days": days},
            )
    return len(rows)


def log_action(
    connection: psycopg.Connection[Any],
    path: str,
    action: str,
    author: str,
    reason: str,
    *,
    record_uid: UUID | None = None,
    review_uid: UUID | None = None,
    run_uid: UUID | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Write down who did what and why; the database refuses to change it afterwards."""
    connection.execute(
        """
        INSERT INTO quarantine_log (entity_path, action, author, reason, record_uid, review_uid, run_uid, details)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            path,
            action,
            author,
            reason,
            record_uid,
            review_uid,
            run_uid,
            Jsonb(details or {}),
        ],
    )


def list_log(
    database: Database,
    path: str | None = None,
    *,
    record_uid: UUID | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """What persons did, newest first."""
    with database.connect() as connection:
        return list(
            connection.execute(
                """
                SELECT happened_at, entity_path AS path, record_uid, review_uid, action, author, reason, run_uid,
                    details FROM quarantine_log
                WHERE (%(path)s::text IS NULL OR entity_path = %(path)s OR entity_path LIKE %(path)s || '/%%')
                  AND (%(uid)s::uuid IS NULL OR record_uid = %(uid)s)
                ORDER BY sequence DESC LIMIT %(limit)s
                """,
                {"path": path, "uid": record_uid, "limit": limit},
            )
        )
