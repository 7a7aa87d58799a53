"""What the catalog keeps of a masked entity: quarantined records without clear values, and that its table is to be read anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sync_pipelines.extract.records import fingerprint_of
from sync_pipelines.load.postgres.quoting import quote

if TYPE_CHECKING:
    from sync_pipelines.load.destination import Remask

PENDING = "pending"


def mask_catalog(cursor: Any, remask: Remask) -> None:
    """Mask what lies in quarantine, and note that the table is about to lose its clear values.

    Until the full read is through, the masks are pending: taken back before, they stop the entity like any that is gone.

    Args:
        cursor: of the transaction in which the table changes, or of one that is committed before.
        remask: which columns.
    """
    entity, bridge = remask.masks.entity, quote(remask.bridge_schema)
    fresh = frozenset(name for name in remask.names if name not in entity.stored_masks)
    if fresh:
        _mask_quarantine(cursor, remask, fresh, f"{bridge}.quarantine")
    cursor.execute(
        f"UPDATE {bridge}.entities SET masks = masks || %s::jsonb, full_refresh_pending = true WHERE uid = %s",
        [json.dumps(dict.fromkeys(sorted(remask.names), PENDING)), entity.uid],
    )


def _mask_quarantine(cursor: Any, remask: Remask, fresh: frozenset[str], quarantine: str) -> None:
    masks = remask.masks.restricted(fresh)
    cursor.execute(f"SELECT uid, record, edited_record, column_name, reason FROM {quarantine} WHERE entity_uid = %s", [masks.entity.uid])
    for uid, record, edited, column, reason in cursor.fetchall():
        kept = masks.hide_record(bytes(record))
        cursor.execute(
            f"UPDATE {quarantine} SET record = %s, edited_record = %s, reason = %s, fingerprint = %s WHERE uid = %s",
            [
                kept,
                None if edited is None else masks.hide_record(bytes(edited)),
                masks.hide_reason(column, reason),
                # Nothing can be guessed from it, and no other record has it.
                fingerprint_of(kept + uid.bytes),
                uid,
            ],
        )
