"""Declared sources: a connector's kind and declaration; S1's sync_log and S3's errors as views.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE connectors
            ADD COLUMN kind varchar(20) NOT NULL DEFAULT 'apismith' CHECK (kind IN ('apismith', 'rest', 'openapi')),
            ADD COLUMN declaration jsonb,
            ADD CONSTRAINT connectors_declared CHECK ((kind = 'apismith') = (declaration IS NULL));
        CREATE VIEW sync_log AS
            SELECT r.uid AS id, c.name AS connector, e.slug AS entity, r.started_at, r.completed_at, r.status,
                r.records_fetched AS records_processed, r.records_inserted, r.records_updated,
                r.records_quarantined AS records_failed, r.error_message
            FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid;
        CREATE VIEW errors AS
            SELECT r.uid AS id, jsonb_build_object('connector', c.name, 'entity', e.slug, 'run', r.uid, 'kind', 'run',
                    'error', r.error_message, 'details', r.error_details) AS message, r.completed_at AS created_at
            FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid
            WHERE r.status = 'failed'
            UNION ALL
            SELECT q.uid, jsonb_build_object('connector', c.name, 'entity', e.slug, 'run', q.run_uid, 'kind', 'record',
                    'error', q.reason, 'column', q.column_name, 'key', q.business_key), q.last_seen_at
            FROM quarantine q JOIN entities e ON e.uid = q.entity_uid JOIN connectors c ON c.uid = e.connector_uid
            WHERE q.resolved_at IS NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP VIEW errors, sync_log;
        ALTER TABLE connectors DROP CONSTRAINT connectors_declared, DROP COLUMN declaration, DROP COLUMN kind;
        """
    )
