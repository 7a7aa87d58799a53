"""The body of a message: JSON after standardwebhooks, with a line of text for chats, and nothing secret inside."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sync_pipelines.model.incident import TITLES, Condition, IncidentKind
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.secrets import redact_data

OPENED = "incident.opened"
CLOSED = "incident.closed"
TEST = "test"


def incident_payload(
    event: str,
    uid: str,
    condition: Condition,
    *,
    opened_at: datetime,
    at: datetime,
    over_since: datetime | None,
    ui_url: str | None,
) -> str:
    """The body of a message about an incident.

    Args:
        event: `incident.opened` or `incident.closed`.
        uid: of the incident.
        condition: what is, or was, wrong.
        opened_at: when it was first seen.
        at: when this message was made.
        over_since: when it was first found gone; None while it goes on.
        ui_url: address of the Dagster UI, for the link.
    """
    title = TITLES[condition.kind]
    sign = "🔴" if event == OPENED else "✅ Over:"
    return _dump(
        {
            "type": event,
            "timestamp": at.isoformat(),
            "text": f"{sign} {title}: {condition.subject}. {condition.message} Next: {condition.next_command}",
            "data": {
                "incident": uid,
                "kind": str(condition.kind),
                "title": title,
                "subject": condition.subject,
                "message": condition.message,
                "details": condition.details,
                "since": opened_at.isoformat(),
                "over_since": over_since.isoformat() if over_since else None,
                "next_command": condition.next_command,
                "url": ui_link(ui_url, condition.kind, condition.subject),
            },
        }
    )


def probe_payload(at: datetime) -> str:
    """The body of a test message."""
    text = "sync_pipelines can reach you. Nothing is wrong; this is a test."
    return _dump(
        {
            "type": TEST,
            "timestamp": at.isoformat(),
            "text": text,
            "data": {"message": text},
        }
    )


def ui_link(ui_url: str | None, kind: IncidentKind, subject: str) -> str | None:
    """The page of the Dagster UI that shows the subject; None when the UI's address is not known."""
    if not ui_url:
        return None
    base = ui_url.rstrip("/")
    if kind is IncidentKind.RUN_FAILED:
        return f"{base}/runs"
    if kind in (IncidentKind.DATABASE_CONNECTIONS, IncidentKind.DATABASE_UNAVAILABLE):
        return base
    connector, slash, slug = subject.partition("/")
    return f"{base}/assets/{quote(connector)}" + (
        f"/{quote(asset_name_for(slug))}" if slash else ""
    )


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(
        redact_data(data),
        ensure_ascii=False,
        separators=(",", ":"),
        default=str,
    )
