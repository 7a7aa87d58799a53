"""Which rows are marked because their newest record was rejected; a good record of the key takes the mark off.

By the mark a reader sees that a row is the last good version and not the current one.
"""

from __future__ import annotations

from sync_pipelines.destinations.dialect import Dialect
from sync_pipelines.destinations.verdicts import row_is_newer
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import REJECTED_COLUMN, Entity


def is_to_mark(dialect: Dialect, entity: Entity, codec: Codec | None) -> str:
    """A condition: the row t is live, has no mark yet, and is not newer than the rejected record s of its key."""
    conditions = ["NOT t._bridge_deleted"]
    newer = row_is_newer(dialect, codec)
    if newer is not None:
        conditions.append(f"NOT {newer}")
    if entity.has_rejected:
        conditions.append(f"t.{REJECTED_COLUMN} IS NULL")
    return " AND ".join(conditions)
