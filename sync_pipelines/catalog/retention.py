"""How long `bridge.sync_runs` are kept."""

from __future__ import annotations

from sync_pipelines.catalog.database import Database

BATCH_RUNS = 1000


def purge_sync_runs(
    database: Database,
    after_days: int,
    batch_runs: int = BATCH_RUNS,
) -> int:
    """Delete ended runs that started more than `after_days` ago; one transaction per batch.

    Kept whatever their age: runs that a quarantined record names (the record would be deleted with them), the newest
    run and the newest success of each entity.

    Returns:
        How many were deleted.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: what was deleted before stays deleted.
    """
    total = 0
    while True:
        with database.connect() as connection:
            deleted = connection.execute(
                """
                DELETE FROM sync_runs WHERE uid IN (
                    SELECT old.uid FROM sync_runs old
                    WHERE old.started_at < now() - make_interval(days => %s) AND old.status <> 'running'
                      AND NOT EXISTS (SELECT FROM quarantine q WHERE q.run_uid = old.uid)
                      AND EXISTS (SELECT FROM sync_runs newer WHERE newer.entity_uid = old.entity_uid
                            AND (newer.started_at, newer.uid) > (old.started_at, old.uid)
                            AND (NOT old.details ? 'row_count' OR newer.details ? 'row_count'))
                    LIMIT %s FOR UPDATE SKIP LOCKED)
                """,
                [after_days, batch_runs],
            ).rowcount
        total += deleted
        if deleted < batch_runs:
            return total
