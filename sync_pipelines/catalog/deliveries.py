"""Rows of `bridge.deliveries`, the outbox: messages written in the transaction that opens or closes an incident."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from sync_pipelines.model.incident import Webhook

_WAITING = "delivered_at IS NULL AND given_up_at IS NULL"


def enqueue_delivery(
    connection: psycopg.Connection[Any],
    incident_uid: UUID,
    webhook: Webhook,
    event: str,
    body: str,
) -> None:
    """Put a message into the outbox; once for each incident, receiver and event."""
    connection.execute(
        """
        INSERT INTO deliveries (incident_uid, webhook_uid, event, body) VALUES (%s, %s, %s, %s)
        ON CONFLICT (incident_uid, webhook_uid, event) DO NOTHING
        """,
        [incident_uid, webhook.uid, event, body],
    )


def claim_delivery(
    connection: psycopg.Connection[Any],
    webhook: Webhook,
    lease_seconds: float,
) -> dict[str, Any] | None:
    """Take the oldest message of a receiver that is due, and count the attempt; None when nothing is due.

    It is due again after the lease, should this process die. A message about the end of an incident waits for the one
    about its beginning.
    """
    return connection.execute(
        f"""
        UPDATE deliveries SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => %s)
        WHERE uid = (
            SELECT uid FROM deliveries d WHERE webhook_uid = %s AND {_WAITING} AND next_attempt_at <= now()
              AND NOT EXISTS (
                SELECT FROM deliveries earlier WHERE earlier.incident_uid = d.incident_uid
                  AND earlier.webhook_uid = d.webhook_uid AND earlier.sequence < d.sequence
                  AND earlier.delivered_at IS NULL AND earlier.given_up_at IS NULL)
            ORDER BY sequence LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING uid, event, body, attempts
        """,
        [lease_seconds, webhook.uid],
    ).fetchone()


def mark_delivered(
    connection: psycopg.Connection[Any],
    uid: UUID,
    status: int,
) -> None:
    """The receiver took the message."""
    connection.execute(
        "UPDATE deliveries SET delivered_at = now(), last_status = %s, last_error = NULL WHERE uid = %s",
        [status, uid],
    )


def mark_failed(
    connection: psycopg.Connection[Any],
    uid: UUID,
    status: int | None,
    error: str,
    retry_seconds: float | None,
) -> None:
    """The attempt failed; without `retry_seconds` it was the last one."""
    connection.execute(
        """
        UPDATE deliveries SET last_status = %(status)s, last_error = %(error)s,
            next_attempt_at = now() + make_interval(secs => coalesce(%(retry)s::float8, 0)),
            given_up_at = CASE WHEN %(retry)s::float8 IS NULL THEN now() END
        WHERE uid = %(uid)s AND delivered_at IS NULL
        """,
        {"status": status, "error": error, "retry": retry_seconds, "uid": uid},
    )


def switch_off_webhook(
    connection: psycopg.Connection[Any],
    webhook: Webhook,
    error: str,
) -> None:
    """The receiver is gone for good (410): send it nothing more."""
    connection.execute("UPDATE webhooks SET is_active = false WHERE uid = %s", [webhook.uid])
    connection.execute(
        "UPDATE deliveries SET given_up_at = now(), last_error = coalesce(last_error, %s) WHERE webhook_uid = %s"
        f" AND {_WAITING}",
        [error, webhook.uid],
    )
