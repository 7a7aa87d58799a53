"""The health of all entities, connectors and processes, read in one statement each for the detection of incidents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any
from uuid import UUID

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.heartbeats import Heartbeat, Looker, read_heartbeats
from sync_pipelines.catalog.rejecting import read_rejecting
from sync_pipelines.errors import Category, category_of
from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.incident import IncidentKind
from sync_pipelines.model.run import RunStatus

RECENT_RUNS = 20


@dataclass(frozen=True)
class EndedRun:
    """How a run of an entity ended: `category` of its error, None when it had none."""

    completed_at: datetime
    category: Category | None


@dataclass(frozen=True)
class EntityHealth:
    """An entity of an active connector with its last ended run, its running one, and its last rejected run.

    Attributes:
        last_*: of the run that ended last.
        last_tried_again: it was one attempt of several, and the next one is under way or to come.
        recent: the last failures in a row, newest first, each counted once however often its step tried; None when
            unknown.
        running_alive: False when the process of the running run is gone, so that nobody will end it but the next run.
        rejecting_*: of its last rejected run while it is rejecting (`catalog.rejecting`).
        held_deletions: rows that wait for a decision whether they vanished.
    """

    connector: str
    slug: str
    status: EntityStatus = EntityStatus.ACTIVE
    status_reason: str | None = None
    sync_enabled: bool = True
    sync_interval_seconds: int = 300
    created_at: datetime | None = None
    last_success_at: datetime | None = None
    consecutive_failures: int = 0
    last_uid: UUID | None = None
    last_status: str | None = None
    last_seconds: float | None = None
    last_completed_at: datetime | None = None
    last_response_seconds: float | None = None
    last_error_kind: str | None = None
    last_error_category: str | None = None
    last_error_answered: bool | None = None
    last_exit_code: int | None = None
    last_is_retriable: bool | None = None
    last_tried_again: bool = False
    last_error: str | None = None
    recent: tuple[EndedRun, ...] | None = None
    last_next_command: str | None = None
    running_uid: UUID | None = None
    running_seconds: float | None = None
    running_alive: bool = False
    rejecting_uid: UUID | None = None
    rejecting_judged: int | None = None
    rejecting_quarantined: int | None = None
    held_deletions: int = 0

    @property
    def path(self) -> str:
        """`connector/slug`."""
        return f"{self.connector}/{self.slug}"

    @property
    def last_category(self) -> Category | None:
        """The category of the last run's error; None when it had none."""
        return category_of(self.last_error_category) if self.last_error_kind else None

    @property
    def last_contact_at(self) -> datetime | None:
        """When the last run ended that is known to have had an answer of the source, whatever it came to."""
        heard = self.last_completed_at if self.last_heard else None
        return max(
            (moment for moment in (heard, self.last_success_at) if moment is not None), default=None
        )

    @property
    def last_heard(self) -> bool:
        """The source answered the last run: it read to the end, or its error is an answer."""
        if self.last_error_kind is not None:
            return bool(self.last_error_answered)
        return self.last_status in (
            RunStatus.SUCCESS,
            RunStatus.REJECTED,
            RunStatus.INCOMPLETE,
        )

    def failures_with(self, category: Category) -> list[datetime]:
        """When the last failures in a row ended that were of one category, newest first."""
        if self.last_status != "failed" or self.last_completed_at is None:
            return []
        if self.recent is not None:
            return [
                run.completed_at
                for run in takewhile(lambda run: run.category is category, self.recent)
            ]
        counted = (
            self.consecutive_failures
            if self.last_tried_again
            else max(1, self.consecutive_failures)
        )
        return [self.last_completed_at] * counted if self.last_category is category else []


@dataclass(frozen=True)
class ConnectorHealth:
    """An active connector: its last discovery, and its ended runs within the window.

    Attributes:
        runs_failed: each failure once, however often its step tried, and without those that an outage of the source
            explains.
        outage_ended_at: when the last incident about its unreachable source was over.
    """

    name: str
    last_discovered_at: datetime | None = None
    last_discovery_failed_at: datetime | None = None
    last_discovery_error: str | None = None
    last_discovery_error_category: str | None = None
    last_discovery_error_answered: bool | None = None
    runs_ended: int = 0
    runs_failed: int = 0
    outage_ended_at: datetime | None = None

    @property
    def last_discovery_category(self) -> Category | None:
        """The category of the last discovery's error; None when it had none."""
        return (
            category_of(self.last_discovery_error_category) if self.last_discovery_error else None
        )


@dataclass(frozen=True)
class Health:
    """Everything at one moment of the database's clock."""

    now: datetime
    entities: tuple[EntityHealth, ...] = ()
    connectors: tuple[ConnectorHealth, ...] = ()
    connections_used: int = 0
    connections_usable: int = 100
    looker: Looker = Looker.DAGSTER
    heartbeats: tuple[Heartbeat, ...] = ()

    @property
    def resumed_at(self) -> datetime | None:
        """When somebody who looks was last heard of again after a gap; before that nothing may have been synced."""
        resumed = [
            one.resumed_at
            for one in self.heartbeats
            if one.looker != Looker.CRON and one.resumed_at is not None
        ]
        return max(resumed, default=None)

    def heard_of(self, looker: Looker) -> Heartbeat | None:
        """The heartbeat of one looker."""
        return next((one for one in self.heartbeats if one.looker == looker), None)


# Not counted: a run that somebody cancelled, which says nothing about the source; an attempt that its step repeats; and
# what an outage of the source explains, which is another incident.
_CONNECTORS = """
WITH outages AS (
    SELECT subject, opened_at, coalesce(quiet_since, closed_at) AS ended_at FROM incidents
    WHERE kind = %(outage)s AND coalesce(closed_at, now()) > now() - make_interval(secs => %(window)s)
)
SELECT c.name, c.last_discovered_at, c.last_discovery_failed_at, c.last_discovery_error,
       c.last_discovery_error_category, c.last_discovery_error_answered,
       coalesce(r.ended, 0) AS runs_ended, coalesce(r.failed, 0) AS runs_failed,
       (SELECT max(o.ended_at) FROM outages o WHERE o.subject = c.name) AS outage_ended_at
FROM connectors c LEFT JOIN (
    SELECT e.connector_uid, count(*) AS ended, count(*) FILTER (WHERE r.status = 'failed') AS failed
    FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors k ON k.uid = e.connector_uid
    WHERE r.status <> 'running' AND r.completed_at > now() - make_interval(secs => %(window)s)
      AND r.status <> 'cancelled' AND coalesce(r.error_details->>'tried_again', '') <> 'true'
      AND r.error_category IS DISTINCT FROM %(cancelled)s
      AND NOT (
          r.error_category IS NOT DISTINCT FROM %(unreachable)s
          AND EXISTS (
              SELECT FROM outages o WHERE o.subject = k.name AND r.completed_at <= coalesce(o.ended_at, now())
                AND r.completed_at > o.opened_at - make_interval(secs => %(window)s))
      )
    GROUP BY e.connector_uid
) r ON r.connector_uid = c.uid
WHERE c.is_active
"""
_ENTITIES = """
SELECT e.uid, c.name AS connector, e.slug, e.status, e.status_reason, e.sync_enabled, e.sync_interval_seconds,
    e.created_at,
       e.last_success_at, e.consecutive_failures, e.held_deletions,
       l.uid AS last_uid, l.status AS last_status, l.completed_at AS last_completed_at,
       extract(epoch FROM l.completed_at - l.started_at)::float8 AS last_seconds,
       (l.details->>'api_seconds_max')::float8 AS last_response_seconds, l.error_details->>'error' AS last_error_kind,
       l.error_category AS last_error_category,
       l.error_answered AS last_error_answered, (l.error_details->>'exit_code')::int AS last_exit_code,
       (l.error_details->>'retriable')::boolean AS last_is_retriable,
       coalesce(l.error_details->>'tried_again' = 'true', false) AS last_tried_again,
       CASE WHEN e.consecutive_failures > 1 AND l.status = 'failed' THEN ARRAY(
           SELECT jsonb_build_array(s.completed_at, s.status, s.error_category)
           FROM sync_runs s WHERE s.entity_uid = e.uid AND s.status <> 'running'
             AND coalesce(s.error_details->>'tried_again', '') <> 'true'
           ORDER BY s.started_at DESC LIMIT %(recent)s
       ) END AS recent,
       l.error_message AS last_error, l.error_details->>'next_command' AS last_next_command,
       r.uid AS running_uid, extract(epoch FROM now() - r.started_at)::float8 AS running_seconds,
       CASE WHEN r.uid IS NULL THEN false ELSE EXISTS (
           SELECT FROM pg_locks k WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
             AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (k.classid::bigint << 32) | k.objid::bigint = hashtextextended(%(lock)s || e.uid::text, 0)
       ) END AS running_alive
FROM entities e
JOIN connectors c ON c.uid = e.connector_uid AND c.is_active
LEFT JOIN sync_runs r ON r.entity_uid = e.uid AND r.status = 'running'
LEFT JOIN LATERAL (
    SELECT * FROM sync_runs s WHERE s.entity_uid = e.uid AND s.status <> 'running' ORDER BY s.started_at DESC LIMIT 1
) l ON true
ORDER BY c.name, e.slug
"""
# Without the privilege to see others' sessions their type is NULL.
_CONNECTIONS = """
SELECT now() AS now, count(*) FILTER (WHERE coalesce(backend_type, 'client backend') = 'client backend') AS used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0) AS usable
FROM pg_stat_activity
"""


def read_health(
    connection: psycopg.Connection[Any],
    database: Database,
    *,
    window_seconds: int,
    min_records: int,
    looker: Looker = Looker.DAGSTER,
) -> Health:
    """Read everything that incidents are detected from.

    Args:
        connection: with the bridge schema as its search path.
        database: for the names of the advisory locks.
        window_seconds: how far back runs are counted.
        min_records: deltas with fewer different records say nothing about the share of rejects.
        looker: who looks.
    """
    parameters = {
        "outage": IncidentKind.SOURCE_UNREACHABLE,
        "cancelled": Category.CANCELLED,
        "unreachable": Category.UNREACHABLE,
        "recent": RECENT_RUNS,
        "window": window_seconds,
        "lock": f"sync_pipelines:{database.bridge_schema}:entity:",
    }
    server = connection.execute(_CONNECTIONS).fetchone()
    assert server is not None
    rejecting = read_rejecting(connection, min_records)
    entities = connection.execute(_ENTITIES, parameters).fetchall()
    connectors = connection.execute(_CONNECTORS, parameters).fetchall()
    return Health(
        server["now"],
        tuple(_entity_health(row, rejecting) for row in entities),
        tuple(ConnectorHealth(**row) for row in connectors),
        server["used"],
        server["usable"],
        looker,
        read_heartbeats(connection),
    )


def _entity_health(row: dict[str, Any], rejecting: Mapping[UUID, dict[str, Any]]) -> EntityHealth:
    rejects = rejecting.get(row.pop("uid"), {})
    row["status"] = EntityStatus(row["status"])
    row["recent"] = _recent_failures(row["recent"])
    return EntityHealth(**{**rejects, **row})


def _recent_failures(rows: list[list[Any]] | None) -> tuple[EndedRun, ...] | None:
    """The failures before the first run that was none."""
    if rows is None:
        return None
    failed = takewhile(lambda row: row[1] == "failed", rows)
    return tuple(
        EndedRun(datetime.fromisoformat(at), category_of(category)) for at, _, category in failed
    )
