"""Where an entity's rows go, and how that place is reached.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE connectors
            ADD COLUMN destination varchar(20) NOT NULL DEFAULT 'postgres' CHECK (destination IN ('postgres', 'trino')),
            ADD COLUMN destination_settings jsonb NOT NULL DEFAULT '{}';
        ALTER TABLE entities
            ADD COLUMN destination varchar(20) NOT NULL DEFAULT 'postgres' CHECK (destination IN ('postgres', 'trino'));
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE entities DROP COLUMN destination")
    op.execute("ALTER TABLE connectors DROP COLUMN destination, DROP COLUMN destination_settings")
