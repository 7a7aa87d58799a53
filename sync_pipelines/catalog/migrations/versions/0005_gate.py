"""The gate: masks of an entity, records to be reviewed, what persons did with quarantined records, and the trail of it.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE entities ADD COLUMN masks jsonb NOT NULL DEFAULT '{}';
        ALTER TABLE quarantine
            ADD COLUMN resolution varchar(20)
                CHECK (resolution IN ('superseded', 'released', 'expired', 'rebuilt')),
            ADD COLUMN edited_record bytea,
            ADD COLUMN waived_at timestamptz;
        UPDATE quarantine SET resolution = 'superseded' WHERE resolved_at IS NOT NULL;
        CREATE INDEX quarantine_waived ON quarantine (entity_uid) WHERE waived_at IS NOT NULL;
        CREATE TABLE reviews (
            uid uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            entity_uid uuid NOT NULL REFERENCES entities (uid) ON DELETE CASCADE,
            business_key jsonb NOT NULL,
            reason text NOT NULL,
            content_hash text NOT NULL,
            run_uid uuid REFERENCES sync_runs (uid) ON DELETE SET NULL,
            first_seen_at timestamptz NOT NULL DEFAULT now(),
            last_seen_at timestamptz NOT NULL DEFAULT now(),
            closed_at timestamptz,
            outcome varchar(20) CHECK (outcome IN ('accepted', 'settled')),
            CHECK ((closed_at IS NULL) = (outcome IS NULL)),
            UNIQUE (entity_uid, business_key)
        );
        CREATE INDEX reviews_open ON reviews (entity_uid, last_seen_at DESC) WHERE closed_at IS NULL;
        CREATE TABLE quarantine_log (
            sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            happened_at timestamptz NOT NULL DEFAULT now(),
            entity_path text NOT NULL,
            record_uid uuid,
            review_uid uuid,
            action varchar(20) NOT NULL,
            author text NOT NULL,
            reason text NOT NULL,
            run_uid uuid,
            details jsonb NOT NULL DEFAULT '{}'
        );
        CREATE INDEX quarantine_log_record ON quarantine_log (record_uid);
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'quarantine_log is only ever added to'; END $$;
        CREATE TRIGGER quarantine_log_append_only BEFORE UPDATE OR DELETE ON quarantine_log
            FOR EACH ROW EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER quarantine_log_kept BEFORE TRUNCATE ON quarantine_log
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE quarantine_log, reviews;
        DROP FUNCTION refuse_change();
        ALTER TABLE quarantine DROP COLUMN resolution, DROP COLUMN edited_record, DROP COLUMN waived_at;
        ALTER TABLE entities DROP COLUMN masks;
        """
    )
