"""Rows of `bridge.incidents`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import ConfigurationError, NotFoundError
from sync_pipelines.model.incident import Condition, Incident, IncidentKind
from sync_pipelines.secrets import redact_data

_FIELDS = "uid, kind, subject, message, next_command, details, opened_at, last_seen_at, quiet_since, closed_at"
_WAITING = "count(*) FILTER (WHERE delivered_at IS NULL AND given_up_at IS NULL)"


def require_incidents(connection: psycopg.Connection[Any]) -> None:
    """Make sure that the catalog is new enough to hold incidents.

    Raises:
        ConfigurationError: names the command that upgrades it.
    """
    row = connection.execute(
        "SELECT to_regclass('incidents') IS NOT NULL AND to_regclass('heartbeats') IS NOT NULL AS found"
    ).fetchone()
    if row is None or not row["found"]:
        raise ConfigurationError(
            "The catalog holds no incidents yet: it is missing or older than this program.",
            state="Nothing was looked at.",
            next_command="sync-pipelines doctor --migrate",
        )


def incident_from_row(row: dict[str, Any]) -> Incident:
    """Build an incident from its row."""
    return Incident(
        **{**{name: row[name] for name in _FIELDS.split(", ")}, "kind": IncidentKind(row["kind"])}
    )


def open_incidents(connection: psycopg.Connection[Any]) -> list[Incident]:
    """The incidents that are not over, oldest first."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM incidents WHERE closed_at IS NULL ORDER BY opened_at, uid"
    )
    return [incident_from_row(row) for row in rows]


def insert_incident(connection: psycopg.Connection[Any], condition: Condition) -> Incident | None:
    """Open an incident; None when somebody else opened it at the same moment."""
    row = connection.execute(
        f"""
        INSERT INTO incidents (kind, subject, message, next_command, details) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO NOTHING RETURNING {_FIELDS}
        """,
        [condition.kind, condition.subject, *_texts(condition)],
    ).fetchone()
    return incident_from_row(row) if row else None


def update_incident(
    connection: psycopg.Connection[Any],
    incident: Incident,
    condition: Condition,
) -> None:
    """The condition is still there, or there again."""
    connection.execute(
        """
        UPDATE incidents SET message = %s, next_command = %s, details = %s, last_seen_at = now(), quiet_since = NULL
        WHERE uid = %s AND closed_at IS NULL
        """,
        [*_texts(condition), incident.uid],
    )


def mark_quiet(connection: psycopg.Connection[Any], incident: Incident) -> None:
    """The condition was found gone for the first time."""
    connection.execute(
        "UPDATE incidents SET quiet_since = now() WHERE uid = %s AND quiet_since IS NULL AND closed_at IS NULL",
        [incident.uid],
    )


def close_incident(connection: psycopg.Connection[Any], incident: Incident) -> Incident | None:
    """End an incident; None when somebody else ended it at the same moment."""
    row = connection.execute(
        f"""
        UPDATE incidents SET closed_at = now(), quiet_since = coalesce(quiet_since, now())
        WHERE uid = %s AND closed_at IS NULL RETURNING {_FIELDS}
        """,
        [incident.uid],
    ).fetchone()
    return incident_from_row(row) if row else None


def list_incidents(
    database: Database,
    *,
    only_open: bool = False,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """The newest incidents as rows, open ones first, with how many of their messages were delivered, wait, or were
    given up.
    """
    with database.connect() as connection:
        require_incidents(connection)
        return list(
            connection.execute(
                f"""
                SELECT i.*, d.delivered, d.waiting, d.given_up FROM incidents i CROSS JOIN LATERAL (
                    SELECT count(delivered_at) AS delivered, count(given_up_at) AS given_up, {_WAITING} AS waiting
                    FROM deliveries WHERE incident_uid = i.uid
                ) d
                WHERE i.closed_at IS NULL OR NOT %s ORDER BY i.closed_at IS NOT NULL, i.opened_at DESC, i.uid LIMIT %s
                """,
                [only_open, limit],
            )
        )


def get_incident(database: Database, uid: UUID) -> tuple[Incident, list[dict[str, Any]]]:
    """One incident and its messages, each with the webhook's name.

    Raises:
        NotFoundError: no such incident.
    """
    with database.connect() as connection:
        require_incidents(connection)
        row = connection.execute(
            f"SELECT {_FIELDS} FROM incidents WHERE uid = %s", [uid]
        ).fetchone()
        messages = connection.execute(
            """
            SELECT d.uid, w.name AS webhook, d.event, d.created_at, d.attempts, d.delivered_at, d.given_up_at,
                   d.next_attempt_at, d.last_status, d.last_error
            FROM deliveries d JOIN webhooks w ON w.uid = d.webhook_uid WHERE d.incident_uid = %s ORDER BY d.sequence
            """,
            [uid],
        ).fetchall()
    if row is None:
        raise NotFoundError(
            f"There is no incident {uid}.", state="", next_command="sync-pipelines alerts list"
        )
    return incident_from_row(row), messages


def _texts(condition: Condition) -> list[Any]:
    """Message, next command and details; what they quote may be older than a secret that is known by now."""
    return [
        redact_data(condition.message),
        redact_data(condition.next_command),
        Jsonb(redact_data(condition.details)),
    ]
