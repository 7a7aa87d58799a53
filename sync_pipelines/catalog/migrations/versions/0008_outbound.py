"""Which secret of a connector may go where, which addresses need not be public, and fingerprints of secrets.

Revision ID: 0008
Revises: 0007
"""

import json

from alembic import op
from sqlalchemy import text

from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Connector
from sync_pipelines.network.origins import origin_of
from sync_pipelines.network.outbound import addresses_of, agreement, named_by, wanted_secrets

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE connectors ADD COLUMN agreed jsonb NOT NULL DEFAULT '{}';
        ALTER TABLE webhooks ADD COLUMN private_origins text[] NOT NULL DEFAULT '{}';
        CREATE TABLE secret_fingerprints (
            reference text NOT NULL,
            key_id text NOT NULL,
            length integer NOT NULL CHECK (length >= 8),
            head bytea NOT NULL,
            digest bytea NOT NULL,
            seen_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (reference, key_id, digest)
        );
        """
    )
    connection = op.get_bind()
    rows = connection.execute(
        text(
            "SELECT uid, name, base_url, auth_token, target_schema, destination_settings, declaration FROM connectors"
        )
    )
    for row in rows.mappings().all():
        # A person registered it when nobody was asked; what worked goes on working.
        connector = Connector(**row)
        try:
            agreed = agreement(
                wanted_secrets(connector),
                named_by(addresses_of(connector).values(), allow_private=True),
            )
        except (
            SyncError,
            ValueError,
        ):  # an address that never worked; whoever corrects it agrees to it
            agreed = agreement((), ())
        connection.execute(
            text("UPDATE connectors SET agreed = CAST(:agreed AS jsonb) WHERE uid = :uid"),
            {"agreed": json.dumps(agreed | {"by": "migration 0008"}), "uid": row["uid"]},
        )
    for row in (
        connection.execute(text("SELECT uid, url FROM webhooks WHERE url LIKE 'http%'"))
        .mappings()
        .all()
    ):
        connection.execute(
            text(
                "UPDATE webhooks SET private_origins = ARRAY[CAST(:origin AS text)] WHERE uid = :uid"
            ),
            {"origin": origin_of(row["url"]), "uid": row["uid"]},
        )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE secret_fingerprints;
        ALTER TABLE webhooks DROP COLUMN private_origins;
        ALTER TABLE connectors DROP COLUMN agreed;
        """
    )
