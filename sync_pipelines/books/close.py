"""The last page of a run's books: its row in `sync_runs` and the entity's cursor, inside the publish transaction."""

from __future__ import annotations

import json
from typing import Any

from sync_pipelines.errors import SupersededRunError
from sync_pipelines.model.publish import (
    Publication,
    PublishRequest,
    ReadPosition,
    ReadResult,
    judge_run,
)
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger, Mode
from sync_pipelines.model.verdict import Verdict, freshens


def close_books(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    publication: Publication,
) -> None:
    """Write the run as finished, with the verdict on it, and move the entity's cursor.

    A rejected run without one good record makes no table fresh. How many deletions wait is known by full reads.

    Raises:
        SupersededRunError: the run is not open any more.
    """
    _close_run(cursor, request, read, publication)
    _move_entity(cursor, request, read, publication)


def finish_without_load(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    ledger: Ledger,
) -> Publication:
    """Close the books of a run that writes no row; the caller owns the transaction."""
    row_count = request.entity.position.row_count or 0
    publication = Publication(ledger, row_count, verdict=judge_run(request, ledger, row_count))
    close_books(cursor, request, read, publication)
    return publication


def _close_run(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    publication: Publication,
) -> None:
    ledger = publication.ledger
    verdict = publication.verdict
    cursor.execute(
        f"""
        UPDATE {quote(request.bridge_schema)}.sync_runs SET status = %s, completed_at = clock_timestamp(),
            records_fetched = %s,
            records_inserted = %s, records_updated = %s, records_unchanged = %s, records_superseded = %s,
            records_quarantined = %s, rows_deleted = %s, rowversion_end = %s, details = %s,
            error_message = %s, error_details = %s
        WHERE uid = %s AND status = 'running'
        """,
        (
            str(verdict.status),
            ledger.fetched,
            ledger.inserted,
            ledger.updated,
            ledger.unchanged,
            ledger.superseded,
            ledger.quarantined,
            ledger.deleted,
            read.position.cursor,
            _details(read, publication),
            verdict.reason,
            _trouble(verdict) if verdict.reason else None,
            str(request.run_uid),
        ),
    )
    if cursor.rowcount != 1:
        raise SupersededRunError(
            f"The run {request.run_uid} is not open any more.",
            where=dict(request.entity.where),
        )


def _details(read: ReadResult, publication: Publication) -> str:
    """What the run's row shows beside its counts, as JSON."""
    warnings = [*read.details.get("warnings", ()), *publication.warnings]
    details = {
        **read.details,
        "known_rejects": 0,
        **publication.details,
        "missing": publication.missing,
        "row_count": publication.row_count,
        "held_deletions": publication.held,
        "warnings": warnings,
    }
    return json.dumps(details, default=str)


def _trouble(verdict: Verdict) -> str:
    """Why the run is no success, as JSON."""
    trouble = {
        "error": verdict.status.title(),
        "what": verdict.reason,
        "next_command": verdict.next_command,
        "retriable": False,
    }
    return json.dumps(trouble)


def _move_entity(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    publication: Publication,
) -> None:
    lease = f"{literal(str(request.lease))}::uuid" if request.lease else "NULL"
    others = f"lease_uid IS DISTINCT FROM {lease}"
    cursor.execute(
        f"""
        UPDATE {quote(request.bridge_schema)}.entities SET last_sync_status = %(status)s,
            last_rowversion = %(cursor)s, cursor_codec = %(codec)s, cursor_marks = %(marks)s,
            row_count = %(row_count)s, masks = %(masks)s,
            held_deletions = CASE WHEN %(is_full)s THEN %(held)s ELSE held_deletions END,
            last_sync_at = CASE WHEN %(is_release)s THEN last_sync_at ELSE clock_timestamp() END,
            last_success_at = CASE WHEN %(is_fresh)s THEN clock_timestamp() ELSE last_success_at END,
            consecutive_failures = CASE WHEN %(is_release)s THEN consecutive_failures ELSE 0 END,
            next_due_at = CASE WHEN %(is_release)s THEN next_due_at
                ELSE clock_timestamp() + %(due_seconds)s * interval '1 second' END,
            due_reason = CASE WHEN %(is_release)s THEN due_reason ELSE %(due_reason)s END,
            full_refresh_pending = %(hid_records)s OR full_refresh_pending
                AND (%(is_delta)s OR columns <> %(columns)s::jsonb OR delta_strategy <> %(strategy)s),
            full_read_due = full_read_due AND %(is_delta)s,
            seen_rowversion = CASE WHEN %(keeps_seen)s THEN coalesce(%(seen)s, seen_rowversion) END,
            lease_uid = CASE WHEN {others} THEN lease_uid END,
            leased_at = CASE WHEN {others} THEN leased_at END,
            leased_until = CASE WHEN {others} THEN leased_until END
        WHERE uid = %(uid)s
        """,
        {
            **_position_values(read.position),
            **_run_values(request, read, publication),
            "row_count": publication.row_count,
            "held": publication.held,
            "due_seconds": read.next_due.seconds,
            "due_reason": str(read.next_due.reason),
        },
    )


def _position_values(position: ReadPosition) -> dict[str, Any]:
    """Where the next read starts, as columns of the entity."""
    marks = [mark.as_json() for mark in position.marks]
    return {
        "cursor": position.cursor,
        "codec": None if position.codec is None else str(position.codec),
        "marks": json.dumps(marks),
        "seen": position.seen,
    }


def _run_values(
    request: PublishRequest, read: ReadResult, publication: Publication
) -> dict[str, Any]:
    """What kind of run it was, as columns and switches of the entity's new row."""
    entity = request.entity
    status = publication.verdict.status
    # A release does not read the source, so it makes no table fresh and moves no due time.
    is_release = bool(request.released)
    is_fresh = not is_release and freshens(status, publication.ledger)
    is_full = request.mode is Mode.FULL
    columns = [column.as_json() for column in request.declared_columns or entity.columns]
    return {
        "uid": str(entity.uid),
        "status": entity.timeline.last_sync_status if is_release else str(status),
        "masks": json.dumps(dict(request.masks)),
        "columns": json.dumps(columns),
        "strategy": str(entity.delta_strategy),
        "is_full": is_full,
        # A discovery during this run may have asked for another full read, which a delta was not.
        "is_delta": request.mode is Mode.DELTA,
        "is_release": is_release,
        "is_fresh": is_fresh,
        # Pages that moved may have hidden records from a full read.
        "hid_records": read.moved and is_full,
        "keeps_seen": read.position.seen_is_sure or is_release,
    }
