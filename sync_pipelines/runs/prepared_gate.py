"""The gate of an entity with what the catalog knows of it: waivers of persons, and the masks that the table was written
with.
"""

from __future__ import annotations

from sync_pipelines.batches.records import fingerprint_of
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SettingsError
from sync_pipelines.gate.opened import OpenedGate, open_gate
from sync_pipelines.model.entity import Entity
from sync_pipelines.settings import Settings


def prepare_gate(database: Database, settings: Settings, entity: Entity) -> OpenedGate | None:
    """The gate of an entity, ready for a run; None when it has none.

    Raises:
        GateDefinitionError, SecretMissingError, MaskLostError: it cannot be used as it is.
    """
    opened = open_gate(settings.gates, entity)
    if opened is not None and opened.gate.judges:
        with database.connect() as connection:
            rows = connection.execute(
                "SELECT fingerprint, edited_record FROM quarantine WHERE entity_uid = %s AND waived_at IS NOT NULL",
                [entity.uid],
            ).fetchall()
        edited = [
            fingerprint_of(bytes(row["edited_record"]))
            for row in rows
            if row["edited_record"] is not None
        ]
        opened.waived = frozenset([*(row["fingerprint"] for row in rows), *edited])
    return opened


def forget_mask(database: Database, entity: Entity, column: str) -> None:
    """Agree that a column is stored in clear from now on; the next sync reads everything again.

    Raises:
        SettingsError: it was not masked.
    """
    if column not in entity.position.stored_masks:
        raise SettingsError(
            f"{entity.path} is not stored with a mask on {column!r}; masked are:"
            f" {', '.join(sorted(entity.position.stored_masks)) or 'none'}."
        )
    with database.connect() as connection:
        connection.execute(
            "UPDATE entities SET masks = masks - %s::text, full_refresh_pending = true WHERE uid = %s",
            [column, entity.uid],
        )
