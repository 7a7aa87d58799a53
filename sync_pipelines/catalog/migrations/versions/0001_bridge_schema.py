"""SyncFlow's connectors, entities and sync_runs, with what the ledger, the cursor and quarantine need.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE connectors (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(100) NOT NULL UNIQUE,
            base_url varchar(500) NOT NULL,
            auth_token text CHECK (auth_token IS NULL OR auth_token LIKE 'env:%'),
            target_schema varchar(63) NOT NULL,
            settings jsonb NOT NULL DEFAULT '{}',
            is_active boolean NOT NULL DEFAULT true,
            last_discovered_at timestamptz,
            last_discovery_error text,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE TABLE entities (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            connector_uid uuid NOT NULL REFERENCES connectors (uid) ON DELETE CASCADE,
            slug varchar(100) NOT NULL,
            api_name varchar(200) NOT NULL,
            description text,
            delta_strategy varchar(20) NOT NULL DEFAULT 'full'
                CHECK (delta_strategy IN ('full', 'rowversion', 'hash')),
            business_keys jsonb NOT NULL,
            target_schema varchar(63) NOT NULL DEFAULT 'public',
            target_table varchar(63) NOT NULL,
            columns jsonb NOT NULL,
            sync_enabled boolean NOT NULL DEFAULT true,
            sync_interval_seconds int NOT NULL DEFAULT 300 CHECK (sync_interval_seconds > 0),
            page_size int CHECK (page_size > 0),
            lookback_seconds int NOT NULL DEFAULT 60 CHECK (lookback_seconds >= 0),
            max_vanished_share double precision NOT NULL DEFAULT 0.5 CHECK (max_vanished_share BETWEEN 0 AND 1),
            cursor_codec varchar(20),
            last_rowversion text,
            cursor_marks jsonb NOT NULL DEFAULT '[]',
            full_refresh_pending boolean NOT NULL DEFAULT false,
            status varchar(20) NOT NULL DEFAULT 'active'
                CHECK (status IN ('active', 'action_required', 'vanished')),
            status_reason text,
            row_count bigint,
            last_sync_at timestamptz,
            last_sync_status varchar(20),
            consecutive_failures int NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            UNIQUE (connector_uid, slug),
            UNIQUE (target_schema, target_table)
        );
        CREATE TABLE sync_runs (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            entity_uid uuid NOT NULL REFERENCES entities (uid) ON DELETE CASCADE,
            started_at timestamptz NOT NULL DEFAULT now(),
            completed_at timestamptz,
            status varchar(20) NOT NULL CHECK (status IN ('running', 'success', 'failed')),
            mode varchar(10) NOT NULL CHECK (mode IN ('full', 'delta')),
            triggered_by text,
            records_fetched bigint NOT NULL DEFAULT 0,
            records_inserted bigint NOT NULL DEFAULT 0,
            records_updated bigint NOT NULL DEFAULT 0,
            records_unchanged bigint NOT NULL DEFAULT 0,
            records_superseded bigint NOT NULL DEFAULT 0,
            records_quarantined bigint NOT NULL DEFAULT 0,
            rows_deleted bigint NOT NULL DEFAULT 0,
            rowversion_start text,
            rowversion_end text,
            details jsonb NOT NULL DEFAULT '{}',
            error_message text,
            error_details jsonb,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT sync_runs_balance CHECK (status <> 'success' OR records_fetched = records_inserted
                + records_updated + records_unchanged + records_superseded + records_quarantined)
        );
        CREATE INDEX sync_runs_entity_started ON sync_runs (entity_uid, started_at DESC);
        CREATE UNIQUE INDEX sync_runs_one_running ON sync_runs (entity_uid) WHERE status = 'running';
        CREATE TABLE quarantine (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            entity_uid uuid NOT NULL REFERENCES entities (uid) ON DELETE CASCADE,
            run_uid uuid NOT NULL REFERENCES sync_runs (uid) ON DELETE CASCADE,
            first_seen_at timestamptz NOT NULL DEFAULT now(),
            last_seen_at timestamptz NOT NULL DEFAULT now(),
            times_seen int NOT NULL DEFAULT 1,
            page int,
            position int,
            business_key jsonb,
            rowversion text,
            column_name text,
            reason text NOT NULL,
            record bytea NOT NULL,
            fingerprint text NOT NULL,
            resolved_at timestamptz,
            UNIQUE (entity_uid, fingerprint)
        );
        CREATE INDEX quarantine_seen ON quarantine (entity_uid, last_seen_at DESC);
        CREATE INDEX quarantine_run ON quarantine (run_uid);
        CREATE TABLE absences (
            entity_uid uuid NOT NULL REFERENCES entities (uid) ON DELETE CASCADE,
            row_id uuid NOT NULL,
            since timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (entity_uid, row_id)
        );
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE absences, quarantine, sync_runs, entities, connectors")
