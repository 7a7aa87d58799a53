"""Rows that a full read missed: where a row can hide between two pages, only a second absence deletes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def absences_table(request: PublishRequest) -> str:
    """The quoted table of absences."""
    return f"{quote(request.bridge_schema)}.absences"


def known_absences(cursor: Any, request: PublishRequest) -> set[str]:
    """Ids of the rows that an earlier full read missed."""
    cursor.execute(
        f"SELECT row_id::text FROM {absences_table(request)} WHERE entity_uid = {literal(str(request.entity.uid))}"
    )
    return {row_id for (row_id,) in cursor.fetchall()}


def remember_absences(
    cursor: Any, request: PublishRequest, still_absent: list[str], new: Iterable[str]
) -> None:
    """Keep what is known of rows that are still absent, forget all others, and add those missed for the first time.

    Args:
        cursor: of psycopg 3, inside the publish transaction.
        request: of the run.
        still_absent: ids of rows that this read missed and that are not deleted.
        new: ids of those that are missed for the first time.
    """
    uid = str(request.entity.uid)
    cursor.execute(
        f"DELETE FROM {absences_table(request)} WHERE entity_uid = %s AND row_id <> ALL(%s::uuid[])",
        [uid, still_absent],
    )
    with cursor.copy(f"COPY {absences_table(request)} (entity_uid, row_id) FROM STDIN") as copy:
        for row_id in new:
            copy.write_row((uid, row_id))
