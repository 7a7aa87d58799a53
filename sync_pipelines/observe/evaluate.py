"""One evaluation: what is wrong now, what changes of the incidents, and the messages about it, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.deliveries import enqueue_delivery
from sync_pipelines.catalog.health import read_health
from sync_pipelines.catalog.heartbeats import Looker, beat
from sync_pipelines.catalog.incidents import (
    close_incident,
    insert_incident,
    mark_quiet,
    open_incidents,
    require_incidents,
    update_incident,
)
from sync_pipelines.catalog.webhooks import list_webhooks
from sync_pipelines.model.incident import Condition, Incident, IncidentKind, Webhook
from sync_pipelines.observe.conditions import find_conditions
from sync_pipelines.observe.diff import IncidentDiff, diff_incidents
from sync_pipelines.observe.grouping import group_conditions, without_consequences
from sync_pipelines.observe.lines import opened_line, over_line
from sync_pipelines.observe.payload import CLOSED, OPENED, incident_payload
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

_LOCK = "sync_pipelines:alerts"


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        opened: incidents that began.
        closed: incidents that are over.
        open: incidents that are open now.
        busy: another evaluation was under way, so nothing was looked at.
        dagster_silent: the sensor in Dagster is not heard of any more.
    """

    opened: tuple[Incident, ...] = ()
    closed: tuple[Incident, ...] = ()
    open: int = 0
    busy: bool = False
    dagster_silent: bool = False


def evaluate(
    database: Database,
    settings: Settings,
    find_over: Callable[[list[Incident]], Collection[UUID]] = lambda _: (),
    looker: Looker = Looker.DAGSTER,
) -> Evaluation:
    """Bring the incidents to what is wrong now, and write the messages into the outbox.

    Args:
        database: where the catalog is.
        settings: thresholds.
        find_over: returns which open incidents of the sticky kinds are over.
        looker: who looks; it is heard of, and each hears of the others.

    Raises:
        ConfigurationError: the catalog has no table of incidents yet.
        DatabaseUnavailableError: also when no connection is left.
    """
    with database.connect() as connection:
        require_incidents(connection)
        beat(connection, looker)
        if not _try_lock(connection):
            return Evaluation(busy=True)
        health = read_health(
            connection,
            database,
            window_seconds=settings.alerts.alert_failure_window_seconds,
            min_records=settings.alerts.alert_rejection_min_records,
            looker=looker,
        )
        known = open_incidents(connection)
        found = find_conditions(health, settings)
        causes = without_consequences(found, known)
        conditions = group_conditions(
            causes,
            known,
            settings.alerts.alert_group_above,
        )
        diff = diff_incidents(
            known,
            conditions,
            health.now,
            settings.alerts.alert_close_after_seconds,
            find_over(known),
        )
        opened, closed = apply_incidents(connection, diff, settings, health.now)
    return Evaluation(
        opened=tuple(opened),
        closed=tuple(closed),
        open=len(known) + len(opened) - len(closed),
        dagster_silent=any(one.kind is IncidentKind.DAGSTER_SILENT for one in conditions),
    )


def record_condition(
    database: Database,
    settings: Settings,
    condition: Condition,
) -> None:
    """Open, or renew, the incident of a condition that somebody else found."""
    with database.connect() as connection:
        require_incidents(connection)
        now = _now(connection)
        incidents = open_incidents(connection)
        known = [incident for incident in incidents if incident.key == condition.key]
        diff = diff_incidents(known, [condition], now, 0)
        apply_incidents(connection, diff, settings, now)


def close_by_hand(
    database: Database,
    settings: Settings,
    incident: Incident,
) -> bool:
    """End an incident at a person's command; False when it was over already."""
    with database.connect() as connection:
        now = _now(connection)
        diff = IncidentDiff(closed=(incident,))
        _, closed = apply_incidents(connection, diff, settings, now)
    return bool(closed)


def apply_incidents(
    connection: psycopg.Connection[Any],
    diff: IncidentDiff,
    settings: Settings,
    now: datetime,
) -> tuple[list[Incident], list[Incident]]:
    """Write a diff and its messages on the caller's transaction; returns what was opened and closed.

    Log lines are written before the commit: should it fail, the next evaluation writes them again.
    """
    for incident, condition in diff.seen:
        update_incident(connection, incident, condition)
    for incident in diff.quiet:
        mark_quiet(connection, incident)
    closed = _present(close_incident(connection, incident) for incident in diff.closed)
    opened = _present(insert_incident(connection, condition) for condition in diff.opened)
    webhooks: list[Webhook] = []
    if opened or closed:
        webhooks = list_webhooks(connection, only_active=True)
    for incident in closed:
        _enqueue(connection, webhooks, CLOSED, incident, settings, now)
        logger.warning("%s", over_line(incident.title, incident.subject))
    for incident in opened:
        _enqueue(connection, webhooks, OPENED, incident, settings, now)
        logger.error("%s", opened_line(incident))
    return opened, closed


def _present(changed: Iterable[Incident | None]) -> list[Incident]:
    """Without those that somebody else changed meanwhile."""
    return [incident for incident in changed if incident is not None]


def _enqueue(
    connection: psycopg.Connection[Any],
    webhooks: Iterable[Webhook],
    event: str,
    incident: Incident,
    settings: Settings,
    now: datetime,
) -> None:
    """Write the message about an incident for each webhook that wants its kind."""
    condition = Condition(
        incident.kind,
        incident.subject,
        incident.message,
        incident.next_command or "",
        incident.details,
    )
    body = incident_payload(
        event,
        str(incident.uid),
        condition,
        opened_at=incident.opened_at,
        at=now,
        over_since=incident.quiet_since if event == CLOSED else None,
        ui_url=settings.ui.ui_url,
    )
    for webhook in webhooks:
        if webhook.kinds is None or incident.kind in webhook.kinds:
            enqueue_delivery(connection, incident.uid, webhook, event, body)


def _now(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT now() AS now").fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


def _try_lock(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s || ':' || current_schema(), 0)) AS got",
        [_LOCK],
    ).fetchone()
    return bool(row and row["got"])
