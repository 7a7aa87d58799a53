"""How a table is now: quarantine, open decisions, the last failure and the next run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.rejecting import read_rejecting
from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.run import RunStatus
from sync_pipelines.model.verdict import RejectionLimits

_OVERVIEW = """
SELECT e.uid, c.name AS connector, e.slug, e.status, e.status_reason, e.sync_enabled, e.next_due_at, e.last_success_at,
    e.held_deletions,
       coalesce(q.open, 0) AS open_quarantine, q.since AS open_since,
       l.status AS last_status, l.error_message AS last_error, l.error_details->>'next_command' AS last_next_command,
       p.uid AS published_uid, p.status AS published_status, coalesce(p.details->'undeclared', '[]') AS undeclared,
       coalesce((p.details->>'duplicate_keys')::bigint, 0) AS duplicate_keys
FROM entities e JOIN connectors c ON c.uid = e.connector_uid AND c.is_active
LEFT JOIN (
    SELECT entity_uid, count(*) AS open, min(first_seen_at) AS since FROM quarantine WHERE resolved_at IS NULL GROUP
        BY entity_uid
) q ON q.entity_uid = e.uid
LEFT JOIN LATERAL (
    SELECT * FROM sync_runs r WHERE r.entity_uid = e.uid AND r.status <> 'running' ORDER BY r.started_at DESC LIMIT 1
) l ON true
LEFT JOIN LATERAL (
    SELECT * FROM sync_runs r WHERE r.entity_uid = e.uid AND r.details ? 'row_count' AND r.triggered_by NOT LIKE
        'release by %%'
    ORDER BY r.started_at DESC LIMIT 1
) p ON true
WHERE (%(connector)s::text IS NULL OR c.name = %(connector)s) AND (%(slug)s::text IS NULL OR e.slug = %(slug)s)
ORDER BY c.name, e.slug
"""


@dataclass(frozen=True)
class TableOverview:
    """A table as it is now.

    Attributes:
        held_deletions: rows that wait for a decision whether they vanished.
        open_quarantine, open_since: records in quarantine that nobody and nothing has settled, and since when.
        last_*: of the run that ended last; the error of one that was no success.
        published_*: of the last read that wrote its records.
        undeclared: fields that the last read found and that the source does not declare.
        duplicate_keys: keys that two rows of the table had after the last read.
        is_rejecting: a read was rejected, and no later one says better (`catalog.rejecting`).
    """

    connector: str
    slug: str
    status: EntityStatus = EntityStatus.ACTIVE
    status_reason: str | None = None
    sync_enabled: bool = True
    next_due_at: datetime | None = None
    last_success_at: datetime | None = None
    held_deletions: int = 0
    open_quarantine: int = 0
    open_since: datetime | None = None
    last_status: RunStatus | None = None
    last_error: str | None = None
    last_next_command: str | None = None
    published_uid: UUID | None = None
    published_status: RunStatus | None = None
    undeclared: tuple[str, ...] = ()
    duplicate_keys: int = 0
    is_rejecting: bool = False

    @property
    def path(self) -> str:
        """`connector/slug`."""
        return f"{self.connector}/{self.slug}"

    @property
    def is_stopped(self) -> bool:
        """The source changed, and nothing is synced until a person decides."""
        return self.status is EntityStatus.ACTION_REQUIRED

    @property
    def trouble(self) -> tuple[str, str] | None:
        """What somebody should look at first, in one sentence, with the command for it; None when all is well."""
        if self.is_stopped:
            reason = self.status_reason or "It waits for a decision."
            return reason, accept_command(self.connector, self.slug)
        if self.last_error and self.last_status is not RunStatus.SUCCESS:
            return self.last_error, self.last_next_command or f"sync-pipelines runs {self.path}"
        if self.held_deletions:
            return (
                f"A full read missed {self.held_deletions} rows; they stay until somebody decides.",
                f"sync-pipelines sync {self.path} --full-refresh --accept-vanished, if it is true",
            )
        if self.open_quarantine:
            return (
                f"{self.open_quarantine} records are in quarantine.",
                f"sync-pipelines quarantine list {self.path}",
            )
        return None


def accept_command(connector: str, slug: str) -> str:
    """What lets a stopped entity follow its source."""
    return f"sync-pipelines discover {connector} --accept {slug}"


def list_table_overviews(
    database: Database,
    connector: str | None = None,
    slug: str | None = None,
) -> list[TableOverview]:
    """The tables of active connectors, by path; of one connector or one entity when named."""
    with database.connect() as connection:
        rows = connection.execute(_OVERVIEW, {"connector": connector, "slug": slug}).fetchall()
        rejecting = read_rejecting(connection, RejectionLimits().min_records)
    return [_table_overview(row, rejecting) for row in rows]


def _table_overview(row: dict[str, Any], rejecting: Collection[UUID]) -> TableOverview:
    uid = row.pop("uid")
    typed = {
        "status": EntityStatus(row["status"]),
        "last_status": _run_status(row["last_status"]),
        "published_status": _run_status(row["published_status"]),
        "undeclared": tuple(row["undeclared"]),
    }
    return TableOverview(**{**row, **typed}, is_rejecting=uid in rejecting)


def _run_status(written: str | None) -> RunStatus | None:
    return RunStatus(written) if written else None
