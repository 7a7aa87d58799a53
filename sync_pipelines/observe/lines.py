"""How an incident is written into logs: the same line by whoever notices it, so that `up` can show it once."""

from __future__ import annotations

from sync_pipelines.model.incident import Incident
from sync_pipelines.secrets import printable

OPENED_WORD = "Incident opened"
OVER_WORD = "Incident over"


def opened_line(incident: Incident) -> str:
    """What began, about what, why, and the next command."""
    what = printable(f"{incident.title}: {incident.subject}. {incident.message}", 1000)
    return f"{OPENED_WORD}: {what} Next: {printable(incident.next_command or 'sync-pipelines alerts list', 500)}"


def over_line(title: str, subject: str) -> str:
    """What is over, about what."""
    return f"{OVER_WORD}: {printable(f'{title}: {subject}.', 1000)}"
