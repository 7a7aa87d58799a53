"""How a run ended in six words instead of three, deletions that wait, and records that vanished from quarantine.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ERRORS = """
    CREATE OR REPLACE VIEW errors AS
        SELECT r.uid AS id, jsonb_build_object('connector', c.name, 'entity', e.slug, 'run', r.uid, 'kind', 'run',
                'error', r.error_message, 'details', r.error_details) AS message, r.completed_at AS created_at
        FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid
        WHERE r.status IN ({statuses})
        UNION ALL
        SELECT q.uid, jsonb_build_object('connector', c.name, 'entity', e.slug, 'run', q.run_uid, 'kind', 'record',
                'error', q.reason, 'column', q.column_name, 'key', q.business_key), q.last_seen_at
        FROM quarantine q JOIN entities e ON e.uid = q.entity_uid JOIN connectors c ON c.uid = e.connector_uid
        WHERE q.resolved_at IS NULL;
"""


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE sync_runs DROP CONSTRAINT sync_runs_status_check, DROP CONSTRAINT sync_runs_balance;
        UPDATE sync_runs SET status = 'cancelled' WHERE status = 'failed' AND error_details->>'error' =
            'InterruptedRunError';
        UPDATE sync_runs SET status = 'incomplete' WHERE status = 'failed' AND error_details->>'error' =
            'IncompleteAnswerError';
        UPDATE entities SET last_sync_status = (
            SELECT r.status FROM sync_runs r WHERE r.entity_uid = entities.uid ORDER BY r.started_at DESC LIMIT 1
        ) WHERE last_sync_status = 'failed' AND EXISTS (SELECT FROM sync_runs r WHERE r.entity_uid = entities.uid);
        ALTER TABLE sync_runs
            ADD CONSTRAINT sync_runs_status_check
                CHECK (status IN ('running', 'success', 'rejected', 'incomplete', 'failed', 'cancelled')),
            ADD CONSTRAINT sync_runs_balance CHECK ((status NOT IN ('success', 'rejected') AND NOT details
                ? 'row_count')
                OR records_fetched = records_inserted + records_updated + records_unchanged + records_superseded
                + records_quarantined);
        DROP INDEX sync_runs_rejecting;
        CREATE INDEX sync_runs_rejecting ON sync_runs (entity_uid, started_at DESC) WHERE status = 'rejected';
        ALTER TABLE entities ADD COLUMN held_deletions bigint NOT NULL DEFAULT 0;
        CREATE INDEX quarantine_open ON quarantine (entity_uid) WHERE resolved_at IS NULL;
        ALTER TABLE quarantine DROP CONSTRAINT quarantine_resolution_check,
            ADD CONSTRAINT quarantine_resolution_check
                CHECK (resolution IN ('superseded', 'released', 'expired', 'rebuilt', 'vanished'));
        """
        + _ERRORS.format(statuses="'failed', 'rejected', 'incomplete'")
    )


def downgrade() -> None:
    op.execute(
        _ERRORS.format(statuses="'failed'")
        + """
        UPDATE quarantine SET resolution = 'superseded' WHERE resolution = 'vanished';
        ALTER TABLE quarantine DROP CONSTRAINT quarantine_resolution_check,
            ADD CONSTRAINT quarantine_resolution_check CHECK (resolution IN ('superseded', 'released',
                'expired', 'rebuilt'));
        DROP INDEX quarantine_open;
        ALTER TABLE entities DROP COLUMN held_deletions;
        ALTER TABLE sync_runs DROP CONSTRAINT sync_runs_status_check, DROP CONSTRAINT sync_runs_balance;
        UPDATE sync_runs SET status = CASE WHEN details ? 'row_count' THEN 'success' ELSE 'failed' END
            WHERE status IN ('rejected', 'incomplete', 'cancelled');
        UPDATE entities SET last_sync_status = CASE last_sync_status WHEN 'cancelled' THEN 'failed' ELSE 'success' END
            WHERE last_sync_status IN ('rejected', 'incomplete', 'cancelled');
        ALTER TABLE sync_runs
            ADD CONSTRAINT sync_runs_status_check CHECK (status IN ('running', 'success', 'failed')),
            ADD CONSTRAINT sync_runs_balance CHECK (status <> 'success' OR records_fetched = records_inserted
                + records_updated + records_unchanged + records_superseded + records_quarantined);
        DROP INDEX sync_runs_rejecting;
        CREATE INDEX sync_runs_rejecting ON sync_runs (entity_uid, started_at DESC)
            WHERE status = 'success' AND records_quarantined > 0;
        """
    )
