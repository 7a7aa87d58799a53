"""The gate of an entity with what the catalog knows of it: waivers of persons, and the masks that the table was written with."""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SettingsError
from sync_pipelines.extract.records import fingerprint_of
from sync_pipelines.gate.masks import Masks
from sync_pipelines.gate.opened import OpenedGate, open_gate
from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.load.postgres.target import read_columns
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
                "SELECT fingerprint, edited_record FROM quarantine WHERE entity_uid = %s AND waived_at IS NOT NULL", [entity.uid]
            ).fetchall()
        edited = [fingerprint_of(bytes(row["edited_record"])) for row in rows if row["edited_record"] is not None]
        opened.waived = frozenset([*(row["fingerprint"] for row in rows), *edited])
    return opened


def mask_what_is_stored(cursor: Any, bridge_schema: str, stored: Entity, masks: Masks, names: frozenset[str]) -> None:
    """Take the clear values of newly masked columns out of the table and of quarantine, before the table is read anew.

    Args:
        cursor: inside the transaction that prepares the run.
        bridge_schema: the catalog.
        stored: the entity as its table is to have it.
        masks: of the entity.
        names: columns whose masks are new or changed; no business keys.
    """
    target = quote(stored.target_schema, stored.target_table)
    there = read_columns(cursor, stored.target_schema, stored.target_table)
    for column in masks.entity.columns:
        if column.name not in names or column.target_name not in there:
            continue
        name = quote(column.target_name)
        if column.name in masks.dropped:
            cursor.execute(f"ALTER TABLE {target} DROP COLUMN {name}")
        else:
            cursor.execute(f"ALTER TABLE {target} ALTER COLUMN {name} DROP NOT NULL")
            # An empty table of nulls can take any type.
            cursor.execute(f"ALTER TABLE {target} ALTER COLUMN {name} TYPE text USING NULL")
    fresh = frozenset(name for name in names if name not in masks.entity.stored_masks)
    quarantine = f"{quote(bridge_schema)}.quarantine"
    cursor.execute(f"SELECT uid, record, edited_record, column_name, reason FROM {quarantine} WHERE entity_uid = %s", [masks.entity.uid])
    only = masks.restricted(fresh)
    for uid, record, edited, column, reason in cursor.fetchall() if fresh else ():
        cursor.execute(
            f"UPDATE {quarantine} SET record = %s, edited_record = %s, reason = %s, fingerprint = %s WHERE uid = %s",
            [
                only.hide_record(bytes(record)),
                None if edited is None else only.hide_record(bytes(edited)),
                only.hide_reason(column, reason),
                # Nothing can be guessed from it, and no other record has it.
                fingerprint_of(only.hide_record(bytes(record)) + uid.bytes),
                uid,
            ],
        )


def forget_mask(database: Database, entity: Entity, column: str) -> None:
    """Agree that a column is stored in clear from now on; the next sync reads everything again.

    Raises:
        SettingsError: it was not masked.
    """
    if column not in entity.stored_masks:
        raise SettingsError(f"{entity.path} is not stored with a mask on {column!r}; masked are: {', '.join(sorted(entity.stored_masks)) or 'none'}.")
    with database.connect() as connection:
        connection.execute(
            "UPDATE entities SET masks = masks - %s::text, full_refresh_pending = true WHERE uid = %s", [column, entity.uid]
        )
