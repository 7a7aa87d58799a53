"""Rows of `bridge.probes`: the newest rowversion that a probe found of each entity, and whether the source answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.due import Reason, plan_probe_retry_seconds


@dataclass(frozen=True)
class Candidate:
    """An entity to look at.

    Attributes:
        codec: how its rowversions are compared.
        seen: the highest rowversion that its last sync read and published.
        found: the rowversion by which an earlier probe started a sync, None = never.
    """

    uid: UUID
    slug: str
    codec: str
    seen: str
    found: str | None


@dataclass(frozen=True)
class SourceHealth:
    """How the probes of a connector went lately; `silent_seconds` is left until it is probed again, 0 = now."""

    failures: int
    error: str | None
    silent_seconds: float


def source_health(database: Database, connector_uid: UUID) -> SourceHealth:
    """What is remembered of a connector's probes."""
    with database.connect() as connection:
        row = connection.execute(
            """
            SELECT probe_failures AS failures, probe_error AS error,
                   greatest(0, coalesce(extract(epoch FROM next_probe_at - now()), 0))::float AS silent_seconds
            FROM connectors WHERE uid = %s
            """,
            [connector_uid],
        ).fetchone()
    return SourceHealth(**row) if row else SourceHealth(0, None, 0)


def list_candidates(
    database: Database,
    connector_uid: UUID,
    *,
    by_cron: bool,
    interval_seconds: float,
    limit: int,
) -> list[Candidate]:
    """Entities to probe, those first that were not looked at for longest.

    Left out: what is due soon, taken, running or failing, and what has no rowversion that later ones could be compared
    with.
    """
    with database.connect() as connection:
        rows = connection.execute(
            """
            SELECT e.uid, e.slug, e.cursor_codec AS codec, e.seen_rowversion AS seen, p.found_rowversion AS found
            FROM entities e JOIN connectors c ON c.uid = e.connector_uid LEFT JOIN probes p ON p.entity_uid = e.uid
            WHERE e.connector_uid = %s AND c.is_active AND e.sync_enabled AND e.status = 'active'
              AND e.delta_strategy = 'rowversion' AND e.seen_rowversion IS NOT NULL AND e.cursor_codec IS NOT NULL
              AND e.consecutive_failures = 0 AND NOT e.full_read_due AND e.lease_uid IS NULL
              AND e.last_sync_status IN ('success', 'rejected', 'incomplete')
              AND e.due_reason IN ('interval', 'follow-up')
              AND (%s AND e.due_reason = 'interval' OR e.next_due_at > now() + interval '1 second')
              AND (p.probed_at IS NULL OR p.probed_at <= now() - %s * interval '1 second')
            ORDER BY p.probed_at NULLS FIRST, e.uid LIMIT %s
            """,
            [connector_uid, by_cron, interval_seconds, limit],
        )
        return [Candidate(**row) for row in rows]


def record_probes(
    database: Database,
    quiet: Sequence[UUID],
    news: Mapping[UUID, str],
) -> None:
    """Remember who was looked at, and make those with news due now.

    Args:
        database: where the catalog is.
        quiet: entities without news.
        news: entities with news, and the first rowversion of it.
    """
    if not quiet and not news:
        return
    uids = [*quiet, *news]
    found = [*[None] * len(quiet), *news.values()]
    with database.connect() as connection:
        connection.execute(
            """
            INSERT INTO probes AS p (entity_uid, probed_at, found_rowversion)
            SELECT uid, now(), found FROM unnest(%s::uuid[], %s::text[]) AS s (uid, found) WHERE EXISTS (SELECT FROM
                entities WHERE uid = s.uid)
            ON CONFLICT (entity_uid) DO UPDATE SET probed_at = now(),
                found_rowversion = coalesce(excluded.found_rowversion, p.found_rowversion)
            """,
            [uids, found],
        )
        connection.execute(
            "UPDATE entities SET next_due_at = now(), due_reason = %s WHERE uid = ANY(%s) AND consecutive_failures = 0",
            [Reason.CHANGED, list(news)],
        )


def record_source_health(
    database: Database,
    connector_uid: UUID,
    error: str | None,
) -> SourceHealth:
    """Remember that the source answered (None), or why it did not and how long it is left alone."""
    before = source_health(database, connector_uid)
    failures = before.failures + 1 if error else 0
    silent = plan_probe_retry_seconds(failures) if error else 0.0
    if failures or before.failures:
        with database.connect() as connection:
            connection.execute(
                """
                UPDATE connectors SET probe_failures = %s, probe_error = %s,
                    next_probe_at = CASE WHEN %s > 0 THEN now() + %s * interval '1 second' END WHERE uid = %s
                """,
                [failures, error, silent, silent, connector_uid],
            )
    return SourceHealth(failures, error, silent)
