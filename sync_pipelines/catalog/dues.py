"""Which entities are due, and the leases by which one of many daemons takes them.

A lease is taken in the moment an entity is chosen for a run and ends with the entity's sync, with its run, or by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import Connection

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.due import (
    FULL_READ_TRIES,
    DueEntity,
    PlannedRun,
    Reason,
    plan_retry_seconds,
)

# With a cron the intervals rest; retries, changes and first syncs do not.
_COUNTS = "(NOT %(by_cron)s OR e.due_reason <> 'interval')"
_FULL_READ = "(e.full_read_due AND (e.due_reason <> 'retry' OR e.next_due_at <= now()))"
# Who is due soon goes along with a run that starts anyway.
_SOON = "least(60, 0.1 * e.sync_interval_seconds) * interval '1 second'"
_DUE = f"({_FULL_READ} OR ({_COUNTS} AND e.next_due_at <= now() + {_SOON}))"
_ACTIVE = "c.is_active AND e.sync_enabled AND e.status = 'active'"
_FREE = "(e.leased_until IS NULL OR e.leased_until <= now())"
# Advisory locks of runs, whoever started them; the key of `catalog.runs.lock_name`.
_HELD = """
WITH held AS MATERIALIZED (
    SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
"""
_RUNNING = "hashtextextended('sync_pipelines:' || %(bridge)s || ':entity:' || e.uid, 0) IN (SELECT key FROM held)"
_READS_ALL = (
    "(e.full_read_due OR e.full_refresh_pending OR e.delta_strategy <> 'rowversion'"
    " OR e.last_rowversion IS NULL)"
)
_ENTITY = f"""
e.uid, e.slug, e.due_reason AS reason, e.full_read_due, e.row_count, {_READS_ALL} AS reads_all,
CASE WHEN {_FULL_READ} THEN greatest(0, extract(epoch FROM now() - e.next_due_at))
     ELSE extract(epoch FROM now() - e.next_due_at) END::float AS seconds_late
"""


@dataclass(frozen=True)
class Lease:
    """Entities taken for one run that have not been synced yet."""

    uid: UUID
    entities: int
    expired: bool


def find_due(
    connection: Connection[Any],
    bridge_schema: str,
    connector_uid: UUID,
    *,
    by_cron: bool,
    known: Sequence[str] | None = None,
    queued: Mapping[str, datetime] | None = None,
) -> list[DueEntity]:
    """Entities that are due or soon will be and that nobody has taken, the latest first.

    Args:
        connection: on the catalog.
        bridge_schema: its schema.
        connector_uid: the connector.
        by_cron: a cron replaces the intervals.
        known: slugs that can be started; None = all.
        queued: slugs in unfinished runs with the creation of the run; left out until they were synced since.
    """
    queued = queued or {}
    rows = connection.execute(
        f"""{_HELD}
        SELECT {_ENTITY} FROM entities e JOIN connectors c ON c.uid = e.connector_uid
        WHERE e.connector_uid = %(connector)s AND {_ACTIVE} AND {_DUE} AND {_FREE}
          AND (%(known)s::text[] IS NULL OR e.slug = ANY(%(known)s)) AND NOT {_RUNNING}
          AND NOT EXISTS (SELECT FROM unnest(%(slugs)s::text[], %(since)s::timestamptz[]) AS q (slug, since)
            WHERE q.slug = e.slug AND (e.last_sync_at IS NULL OR e.last_sync_at < q.since))
        ORDER BY e.next_due_at, e.uid
        """,
        {
            "bridge": bridge_schema,
            "connector": connector_uid,
            "by_cron": by_cron,
            "known": None if known is None else list(known),
            "slugs": list(queued),
            "since": list(queued.values()),
        },
    )
    return [DueEntity(**row) for row in rows]


def lease_due(
    database: Database,
    connector_uid: UUID,
    plan: Callable[[list[DueEntity]], list[PlannedRun]],
    *,
    lease_seconds: float,
    by_cron: bool,
    known: Sequence[str] | None = None,
    queued: Mapping[str, datetime] | None = None,
) -> list[tuple[UUID, PlannedRun]]:
    """Take the due entities for the runs that `plan` makes of them; two daemons never take the same one.

    Returns:
        Each run with its lease; a run holds only what was really taken.
    """
    taken: list[tuple[UUID, PlannedRun]] = []
    with database.connect() as connection:
        due = find_due(
            connection,
            database.bridge_schema,
            connector_uid,
            by_cron=by_cron,
            known=known,
            queued=queued,
        )
        for run in plan(due) if due else []:
            lease = uuid4()
            rows = connection.execute(
                f"""
                UPDATE entities SET lease_uid = %(lease)s, leased_at = now(), leased_until = now() + %(seconds)s *
                    interval '1 second'
                WHERE uid IN (SELECT e.uid FROM entities e WHERE e.uid = ANY(%(uids)s) AND {_FREE} AND {_DUE} FOR
                    UPDATE SKIP LOCKED)
                RETURNING uid
                """,
                {
                    "lease": lease,
                    "seconds": lease_seconds,
                    "by_cron": by_cron,
                    "uids": [entity.uid for entity in run.entities],
                },
            )
            got = {row["uid"] for row in rows}
            if got:
                taken.append(
                    (
                        lease,
                        PlannedRun(run.kind, tuple(one for one in run.entities if one.uid in got)),
                    )
                )
    return taken


def list_leases(database: Database, connector_uid: UUID) -> list[Lease]:
    """Leases that were taken and have not ended."""
    with database.connect() as connection:
        rows = connection.execute(
            """
            SELECT lease_uid AS uid, count(*) AS entities, bool_and(leased_until <= now()) AS expired FROM entities
            WHERE connector_uid = %s AND lease_uid IS NOT NULL GROUP BY lease_uid
            """,
            [connector_uid],
        )
        return [Lease(**row) for row in rows]


def renew_leases(
    database: Database,
    leases: Sequence[UUID],
    lease_seconds: float,
) -> None:
    """Keep leases whose runs wait or run."""
    if leases:
        with database.connect() as connection:
            connection.execute(
                "UPDATE entities SET leased_until = now() + %s * interval '1 second' WHERE lease_uid = ANY(%s)",
                [lease_seconds, list(leases)],
            )


def release_lease(
    database: Database,
    lease: UUID,
    slug: str | None = None,
) -> int:
    """Give back what a lease still holds, of one entity when named; when each is due stays as it is."""
    with database.connect() as connection:
        return connection.execute(
            """
            UPDATE entities SET lease_uid = NULL, leased_at = NULL, leased_until = NULL
            WHERE lease_uid = %s AND (%s::text IS NULL OR slug = %s)
            """,
            [lease, slug, slug],
        ).rowcount


def end_lease(database: Database, lease: UUID, *, failed: bool) -> int:
    """Give back what a run left unsynced, due again after a pause; returns how many.

    Args:
        database: where the catalog is.
        lease: of the run.
        failed: the run failed, so it counts as a failure of what it left; False: somebody cancelled it.
    """
    with database.connect() as connection:
        left = connection.execute(
            "SELECT uid, sync_interval_seconds, consecutive_failures FROM entities WHERE lease_uid = %s FOR UPDATE",
            [lease],
        ).fetchall()
        for row in left:
            failures = row["consecutive_failures"] + failed
            connection.execute(
                """
                UPDATE entities SET lease_uid = NULL, leased_at = NULL, leased_until = NULL, consecutive_failures = %s,
                    due_reason = %s, next_due_at = now() + %s * interval '1 second',
                        full_read_due = full_read_due AND %s
                WHERE uid = %s
                """,
                [
                    failures,
                    Reason.RETRY,
                    plan_retry_seconds(
                        row["uid"],
                        row["sync_interval_seconds"],
                        failures,
                    ),
                    failures < FULL_READ_TRIES,
                    row["uid"],
                ],
            )
    return len(left)


def request_sync(
    database: Database,
    connector_uid: UUID,
    scheduled_at: datetime,
) -> int:
    """Make every active entity of a connector due now, because its cron has come; returns how many.

    Asked again for the same or an earlier moment, by another daemon or after a crash, it does nothing.
    """
    return _request(
        database,
        connector_uid,
        "sync_cron_at",
        scheduled_at,
        "next_due_at = now(), due_reason = 'cron'",
    )


def request_full_read(
    database: Database,
    connector_uid: UUID,
    scheduled_at: datetime,
) -> int:
    """Ask for one full read of every active entity of a connector.

    Returns how many. Once for each moment, as `request_sync`.
    """
    return _request(
        database,
        connector_uid,
        "full_refresh_cron_at",
        scheduled_at,
        "full_read_due = true",
    )


def _request(
    database: Database,
    connector_uid: UUID,
    column: str,
    scheduled_at: datetime,
    assignment: str,
) -> int:
    with database.connect() as connection:
        first = connection.execute(
            f"UPDATE connectors SET {column} = %s WHERE uid = %s AND ({column} IS NULL OR {column} < %s)",
            [scheduled_at, connector_uid, scheduled_at],
        ).rowcount
        if not first:
            return 0
        return connection.execute(
            f"""
            UPDATE entities e SET {assignment} FROM connectors c
            WHERE c.uid = e.connector_uid AND c.uid = %s AND {_ACTIVE}
            """,
            [connector_uid],
        ).rowcount


def next_due(
    database: Database,
    connector_uid: UUID,
    *,
    by_cron: bool,
) -> tuple[str, float, str] | None:
    """The entity that is due next of those nobody has taken: slug, seconds until then, reason."""
    with database.connect() as connection:
        row = connection.execute(
            f"""
            SELECT e.slug, extract(epoch FROM e.next_due_at - now())::float AS seconds, e.due_reason
            FROM entities e JOIN connectors c ON c.uid = e.connector_uid
            WHERE e.connector_uid = %(connector)s AND {_ACTIVE} AND {_FREE} AND {_COUNTS} AND e.next_due_at > now()
            ORDER BY e.next_due_at LIMIT 1
            """,
            {"connector": connector_uid, "by_cron": by_cron},
        ).fetchone()
    return (row["slug"], row["seconds"], row["due_reason"]) if row else None


def list_agenda(
    database: Database,
    connector_uid: UUID,
    *,
    by_cron: bool,
) -> list[dict[str, Any]]:
    """Every entity of a connector with when it is due, why, and what keeps it from being started.

    Returns:
        Rows of slug, seconds (until due, negative = late, None = only when asked), reason and hindrance (None =
        nothing), those that are due first.
    """
    with database.connect() as connection:
        return list(
            connection.execute(
                f"""{_HELD}
                SELECT e.slug, CASE WHEN {_FULL_READ} THEN least(0, extract(epoch FROM e.next_due_at - now()))
                         WHEN {_COUNTS} THEN extract(epoch FROM e.next_due_at - now()) END::float AS seconds,
                       CASE WHEN e.full_read_due THEN 'full reconciliation' WHEN {_COUNTS} THEN e.due_reason ELSE
                           'cron' END AS reason,
                       CASE WHEN NOT c.is_active THEN 'connector switched off' WHEN NOT e.sync_enabled THEN 'disabled'
                            WHEN e.status <> 'active' THEN replace(e.status, '_', ' ')
                            WHEN {_RUNNING} THEN 'running' WHEN NOT {_FREE} THEN 'in a run' END AS hindrance,
                       e.consecutive_failures
                FROM entities e JOIN connectors c ON c.uid = e.connector_uid
                WHERE e.connector_uid = %(connector)s ORDER BY 2 NULLS LAST, e.slug
                """,
                {
                    "bridge": database.bridge_schema,
                    "connector": connector_uid,
                    "by_cron": by_cron,
                },
            )
        )


def lease_reason(database: Database, lease: UUID, slug: str) -> str | None:
    """Why an entity was taken, in words; None when the lease is not its own any more."""
    with database.connect() as connection:
        row = connection.execute(
            "SELECT due_reason, full_read_due FROM entities WHERE lease_uid = %s AND slug = %s",
            [lease, slug],
        ).fetchone()
    return (
        None
        if row is None
        else Reason.FULL_READ.value
        if row["full_read_due"]
        else row["due_reason"]
    )
