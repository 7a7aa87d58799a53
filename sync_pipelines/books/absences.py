"""Rows that a full read missed: where a row can hide between two pages, only a second absence deletes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def absences_table(request: PublishRequest) -> str:
    """The quoted table of absences."""
    return f"{quote(request.bridge_schema)}.absences"


def missed_before(request: PublishRequest) -> str:
    """A query of the ids of rows that an earlier full read missed, too."""
    return f"SELECT a.row_id FROM {absences_table(request)} a WHERE {_of_entity(request)} AND a.since < now()"


def known_absences(cursor: Any, request: PublishRequest) -> frozenset[str]:
    """Ids of the rows that an earlier full read missed, as texts."""
    cursor.execute(f"SELECT row_id::text FROM ({missed_before(request)}) AS a")
    return frozenset(row_id for (row_id,) in cursor.fetchall())


def note_absences(
    cursor: Any,
    request: PublishRequest,
    rows: str,
    arguments: Sequence[Any] | None = None,
) -> int:
    """Note rows that are missed for the first time.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        rows: a query of their ids; a percent sign is doubled where it has arguments.
        arguments: of that query.

    Returns:
        How many were noted.
    """
    cursor.execute(
        f"INSERT INTO {absences_table(request)} (entity_uid, row_id)"
        f" SELECT {literal(str(request.entity.uid))}::uuid, f.row_id FROM ({rows}) AS f (row_id)",
        arguments,
    )
    return int(cursor.rowcount)


def forget_absences(
    cursor: Any,
    request: PublishRequest,
    still_absent: str,
    arguments: Sequence[Any] | None = None,
) -> None:
    """Forget rows that are back, or that are deleted now.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        still_absent: a query of the ids of all others; as for `note_absences`.
        arguments: of that query.
    """
    cursor.execute(
        f"DELETE FROM {absences_table(request)} a WHERE {_of_entity(request)} AND NOT EXISTS"
        f" (SELECT 1 FROM ({still_absent}) AS f (row_id) WHERE f.row_id = a.row_id)",
        arguments,
    )


def _of_entity(request: PublishRequest) -> str:
    return f"a.entity_uid = {literal(str(request.entity.uid))}"
