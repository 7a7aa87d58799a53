"""When an entity is due and why, who has taken it, what the last probe saw; a connector's crons; slots of a rate limit.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE connectors
            ADD COLUMN sync_cron text,
            ADD COLUMN full_refresh_cron text,
            ADD COLUMN discovery_cron text,
            ADD COLUMN time_zone text,
            ADD COLUMN sync_cron_at timestamptz,
            ADD COLUMN full_refresh_cron_at timestamptz,
            ADD COLUMN probe_changes boolean NOT NULL DEFAULT true,
            ADD COLUMN probe_failures int NOT NULL DEFAULT 0,
            ADD COLUMN probe_error text,
            ADD COLUMN next_probe_at timestamptz;
        ALTER TABLE entities
            ADD COLUMN next_due_at timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN due_reason text NOT NULL DEFAULT 'first sync',
            ADD COLUMN full_read_due boolean NOT NULL DEFAULT false,
            ADD COLUMN lease_uid uuid,
            ADD COLUMN leased_at timestamptz,
            ADD COLUMN leased_until timestamptz,
            ADD COLUMN seen_rowversion text,
            ADD CONSTRAINT entities_lease_whole CHECK ((lease_uid IS NULL) = (leased_until IS NULL)
                AND (lease_uid IS NULL) = (leased_at IS NULL));
        UPDATE entities SET due_reason = 'interval' WHERE last_sync_at IS NOT NULL;
        UPDATE entities e SET seen_rowversion = r.details->>'rowversion_last'
        FROM (SELECT DISTINCT ON (entity_uid) entity_uid, details FROM sync_runs
              WHERE status = 'success' AND details->>'rowversion_last' IS NOT NULL
              ORDER BY entity_uid, started_at DESC) r
        WHERE r.entity_uid = e.uid AND e.delta_strategy = 'rowversion';
        CREATE INDEX entities_due ON entities (connector_uid, next_due_at) WHERE sync_enabled AND status = 'active';
        CREATE INDEX entities_full_read_due ON entities (connector_uid) WHERE full_read_due;
        CREATE INDEX entities_leased ON entities (connector_uid) WHERE lease_uid IS NOT NULL;
        -- Apart from entities, whose wide rows need not be copied for every probe.
        CREATE TABLE probes (
            entity_uid uuid PRIMARY KEY REFERENCES entities (uid) ON DELETE CASCADE,
            probed_at timestamptz NOT NULL,
            found_rowversion text
        );
        CREATE TABLE request_slots (
            source text PRIMARY KEY,
            next_at timestamptz NOT NULL
        );
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE request_slots, probes;
        ALTER TABLE entities DROP COLUMN next_due_at, DROP COLUMN due_reason, DROP COLUMN full_read_due,
            DROP COLUMN lease_uid, DROP COLUMN leased_at, DROP COLUMN leased_until,
            DROP COLUMN seen_rowversion;
        ALTER TABLE connectors DROP COLUMN sync_cron, DROP COLUMN full_refresh_cron, DROP COLUMN discovery_cron,
            DROP COLUMN time_zone, DROP COLUMN sync_cron_at, DROP COLUMN full_refresh_cron_at,
            DROP COLUMN probe_changes, DROP COLUMN probe_failures, DROP COLUMN probe_error,
            DROP COLUMN next_probe_at;
        """
    )
