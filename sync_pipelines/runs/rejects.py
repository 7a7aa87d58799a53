"""Rejects of a read: as a staged table, and as a person looks at them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.page import Page
from sync_pipelines.batches.records import Reject, fingerprint_of, key_of, raw_bytes
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.staged import rejects_schema


def rejects_table(rejects: list[Reject]) -> pa.Table:
    """Rejects as they are staged, see `model.staged.rejects_schema`."""
    rows = []
    for reject in rejects:
        key = json.dumps(reject.business_key) if reject.business_key else None
        row = {
            "page": reject.page,
            "position": reject.position,
            "column_name": reject.column,
            "reason": reject.reason,
            "business_key": key,
            "rowversion": reject.rowversion,
            "fingerprint": fingerprint_of(reject.record),
            "record": "\\x" + reject.record.hex(),
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=rejects_schema())


def reject_at(
    page: Page,
    index: int,
    column: str | None,
    reason: str,
    entity: Entity,
) -> Reject:
    """A reject of the good record `index` of a page."""
    position = page.position(index)
    raw = page.raw_records[position]
    record = raw_bytes(raw)
    key = key_of(raw, entity)
    return Reject(page.number, position, reason, column, record, key, page.rowversions[index])


def sample_of(reject: Reject) -> dict[str, Any]:
    """A reject as {page, key, column, reason}."""
    return {
        "page": reject.page,
        "key": " / ".join(reject.business_key) if reject.business_key else None,
        "column": reject.column,
        "reason": reject.reason,
    }


def reject_refused(page: Page, entity: Entity) -> None:
    """Move the records that the source's reader refused to the rejects of their page."""
    kept = []
    for index in range(len(page.rowversions)):
        position = page.position(index)
        if position not in page.refused:
            kept.append(index)
            continue
        column, reason = page.refused[position]
        page.rejects.append(reject_at(page, index, column, reason, entity))
    page.keep(kept)
    page.refused = {}
