"""What the catalog keeps of a masked entity: quarantined records without clear values, and that its table is to be read
anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sync_pipelines.batches.records import fingerprint_of
from sync_pipelines.model.quoting import quote

if TYPE_CHECKING:
    from sync_pipelines.gate.masks import Masks
    from sync_pipelines.gate.remask import Remask

PENDING = "pending"


def mask_catalog(cursor: Any, remask: Remask) -> None:
    """Mask what is in quarantine, and note that the table is about to lose its clear values.

    Until the full read is through, masks of what was stored before are pending: taken back, they stop the entity like
    any that is gone, and nothing is masked twice.

    Args:
        cursor: of the transaction in which the table changes, or of one that is committed before.
        remask: which columns.
    """
    entity, bridge = remask.masks.entity, quote(remask.bridge_schema)
    fresh = frozenset(name for name in remask.names if name not in entity.position.stored_masks)
    masked = _mask_quarantine(cursor, remask, fresh, f"{bridge}.quarantine") if fresh else 0
    if entity.position.row_count is None and not masked:
        return
    cursor.execute(
        f"UPDATE {bridge}.entities SET masks = masks || %s::jsonb, full_refresh_pending = true WHERE uid = %s",
        [json.dumps(dict.fromkeys(sorted(remask.names), PENDING)), entity.uid],
    )


def _mask_quarantine(
    cursor: Any,
    remask: Remask,
    fresh: frozenset[str],
    quarantine: str,
) -> int:
    masks = remask.masks.restricted(fresh)
    cursor.execute(
        f"SELECT uid, record, edited_record, column_name, reason, business_key::text FROM {quarantine}"
        " WHERE entity_uid = %s",
        [masks.entity.uid],
    )
    rows = cursor.fetchall()
    for uid, record, edited, column, reason, key in rows:
        kept = masks.hide_record(bytes(record))
        cursor.execute(
            f"UPDATE {quarantine} SET record = %s, edited_record = %s, reason = %s, fingerprint = %s, business_key ="
            " %s WHERE uid = %s",
            [
                kept,
                None if edited is None else masks.hide_record(bytes(edited)),
                masks.hide_reason(column, reason),
                # Nothing can be guessed from it, and no other record has it.
                fingerprint_of(kept + uid.bytes),
                _hidden_key(masks, key),
                uid,
            ],
        )
    return len(rows)


def _hidden_key(masks: Masks, stored: str | None) -> str | None:
    if stored is None or not masks.keys:
        return stored
    try:
        return json.dumps(masks.hide_key(tuple(json.loads(stored))))
    except (ValueError, pa.ArrowException):
        return None  # a key from the time of another declaration
