"""Incidents, webhooks and the outbox of their messages; when an entity last succeeded, and how a discovery failed.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE entities ADD COLUMN last_success_at timestamptz;
        UPDATE entities e SET last_success_at = (
            SELECT max(r.completed_at) FROM sync_runs r WHERE r.entity_uid = e.uid AND r.status = 'success'
        );
        ALTER TABLE connectors
            ADD COLUMN last_discovery_failed_at timestamptz,
            ADD COLUMN last_discovery_error_kind varchar(100);
        CREATE INDEX sync_runs_completed ON sync_runs (completed_at) WHERE status <> 'running';
        CREATE INDEX sync_runs_rejecting ON sync_runs (entity_uid, started_at DESC)
            WHERE status = 'success' AND records_quarantined > 0;
        CREATE TABLE incidents (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            kind varchar(40) NOT NULL,
            subject text NOT NULL,
            message text NOT NULL,
            next_command text,
            details jsonb NOT NULL DEFAULT '{}',
            opened_at timestamptz NOT NULL DEFAULT now(),
            last_seen_at timestamptz NOT NULL DEFAULT now(),
            quiet_since timestamptz,
            closed_at timestamptz,
            CHECK (closed_at IS NULL OR quiet_since IS NOT NULL)
        );
        CREATE UNIQUE INDEX incidents_one_open ON incidents (kind, subject) WHERE closed_at IS NULL;
        CREATE INDEX incidents_opened ON incidents (opened_at DESC);
        CREATE TABLE webhooks (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(100) NOT NULL UNIQUE,
            url text NOT NULL,
            secret text NOT NULL CHECK (secret LIKE 'env:%'),
            kinds text[],
            is_active boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE deliveries (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            sequence bigint GENERATED ALWAYS AS IDENTITY,
            incident_uid uuid NOT NULL REFERENCES incidents (uid) ON DELETE CASCADE,
            webhook_uid uuid NOT NULL REFERENCES webhooks (uid) ON DELETE CASCADE,
            event varchar(40) NOT NULL,
            body text NOT NULL,
            attempts int NOT NULL DEFAULT 0,
            next_attempt_at timestamptz NOT NULL DEFAULT now(),
            last_status int,
            last_error text,
            delivered_at timestamptz,
            given_up_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(),
            UNIQUE (incident_uid, webhook_uid, event)
        );
        CREATE INDEX deliveries_waiting ON deliveries (webhook_uid, sequence)
            WHERE delivered_at IS NULL AND given_up_at IS NULL;
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE deliveries, webhooks, incidents;
        DROP INDEX sync_runs_completed, sync_runs_rejecting;
        ALTER TABLE connectors DROP COLUMN last_discovery_failed_at, DROP COLUMN last_discovery_error_kind;
        ALTER TABLE entities DROP COLUMN last_success_at;
        """
    )
