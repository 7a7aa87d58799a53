"""The kinds of sources are those that the program knows, so that a new one needs no change of the catalog.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE connectors DROP CONSTRAINT connectors_kind_check")
    op.execute(
        "ALTER TABLE connectors ADD CONSTRAINT connectors_kind_check CHECK (kind ~ '^[a-z][a-z0-9_]{0,19}$')"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE connectors DROP CONSTRAINT connectors_kind_check")
    op.execute(
        "ALTER TABLE connectors ADD CONSTRAINT connectors_kind_check"
        " CHECK (kind IN ('apismith', 'rest', 'openapi')) NOT VALID"
    )
