"""Which entities are rejecting: the one rule that the incident, the check and the word of the command line share."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

REJECTING_DAYS = 7
# One scan of an index that holds just the rejected runs; joined by the caller, since the planner cannot guess how many
# are left. A delta judges anew what it writes and what it puts into quarantine; what it reads a second time it does
# not.
_REJECTING = """
WITH rejecting AS (
    SELECT DISTINCT ON (r.entity_uid) r.entity_uid, r.uid, r.records_fetched - r.records_superseded AS judged,
           r.records_quarantined, r.started_at
    FROM sync_runs r
    WHERE r.status = 'rejected' AND r.started_at > now() - make_interval(days => %(days)s)
    ORDER BY r.entity_uid, r.started_at DESC
)
SELECT b.entity_uid, b.uid AS rejecting_uid, b.judged AS rejecting_judged, b.records_quarantined AS
    rejecting_quarantined
FROM rejecting b
WHERE NOT EXISTS (
    SELECT FROM sync_runs r WHERE r.entity_uid = b.entity_uid AND r.started_at > b.started_at
      AND r.status IN ('success', 'incomplete') AND r.details ? 'row_count'
      AND (r.mode = 'full' OR r.records_inserted + r.records_updated + r.records_quarantined
           - coalesce((r.details->>'known_rejects')::bigint, 0) >= %(min_records)s))
  AND EXISTS (SELECT FROM quarantine q WHERE q.entity_uid = b.entity_uid AND q.resolved_at IS NULL)
"""


def read_rejecting(
    connection: psycopg.Connection[Any], min_records: int
) -> dict[UUID, dict[str, Any]]:
    """Return the last rejected run of each entity that is still rejecting, by the entity's uid.

    It is rejecting until a full read, or a delta with enough new records, is a success, or nothing of it is in
    quarantine any more.

    Args:
        connection: with the bridge schema as its search path.
        min_records: deltas that judged fewer records anew say nothing about the share of rejects.
    """
    rows = connection.execute(_REJECTING, {"days": REJECTING_DAYS, "min_records": min_records})
    return {row.pop("entity_uid"): row for row in rows}
