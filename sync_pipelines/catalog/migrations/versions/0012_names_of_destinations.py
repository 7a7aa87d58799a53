"""Destinations are those that the program knows, so that a new one needs no change of the catalog.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("connectors", "entities"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_destination_check")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_destination_check"
            " CHECK (destination ~ '^[a-z][a-z0-9_]{0,19}$')"
        )


def downgrade() -> None:
    for table in ("connectors", "entities"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_destination_check")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_destination_check"
            " CHECK (destination IN ('postgres', 'trino')) NOT VALID"
        )
