"""When each of those who look for incidents was last heard of.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE heartbeats (
            looker varchar(40) PRIMARY KEY,
            last_at timestamptz NOT NULL DEFAULT now(),
            pause_seconds double precision NOT NULL DEFAULT 0,
            resumed_at timestamptz
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE heartbeats")
