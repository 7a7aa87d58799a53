"""The last page of a run's books: its row in `sync_runs` and the entity's cursor, inside the publish transaction."""

from __future__ import annotations

import json
from typing import Any

from sync_pipelines.errors import SupersededRunError
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult, judge_run
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger, Mode
from sync_pipelines.model.verdict import freshens


def close_books(
    cursor: Any, request: PublishRequest, read: ReadResult, publication: Publication
) -> None:
    """Write the run as finished, with the verdict on it, and move the entity's cursor.

    A rejected run without one good record makes no table fresh. How many deletions wait is known by full reads.

    Raises:
        SupersededRunError: the run is not open any more.
    """
    _close_run(cursor, request, read, publication)
    _move_entity(cursor, request, read, publication)


def finish_without_load(
    cursor: Any, request: PublishRequest, read: ReadResult, ledger: Ledger
) -> Publication:
    """Close the books of a run that writes no row; the caller owns the transaction."""
    row_count = request.entity.position.row_count or 0
    publication = Publication(ledger, row_count, verdict=judge_run(request, ledger, row_count))
    close_books(cursor, request, read, publication)
    return publication


def _close_run(
    cursor: Any, request: PublishRequest, read: ReadResult, publication: Publication
) -> None:
    ledger, verdict = publication.ledger, publication.verdict
    details = {
        **read.details,
        "known_rejects": 0,
        **publication.details,
        "missing": publication.missing,
        "row_count": publication.row_count,
        "held_deletions": publication.held,
        "warnings": [*read.details.get("warnings", ()), *publication.warnings],
    }
    trouble = {
        "error": verdict.status.title(),
        "what": verdict.reason,
        "next_command": verdict.next_command,
        "retriable": False,
    }
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
            json.dumps(details, default=str),
            verdict.reason,
            json.dumps(trouble) if verdict.reason else None,
            str(request.run_uid),
        ),
    )
    if cursor.rowcount != 1:
        raise SupersededRunError(
            f"The run {request.run_uid} is not open any more.", where=dict(request.entity.where)
        )


def _move_entity(
    cursor: Any, request: PublishRequest, read: ReadResult, publication: Publication
) -> None:
    entity, position, status = request.entity, read.position, publication.verdict.status
    is_full, is_delta = request.mode is Mode.FULL, request.mode is Mode.DELTA
    # A release does not read the source, so it makes no table fresh and moves no due time.
    is_release = bool(request.released)
    is_fresh = not is_release and freshens(status, publication.ledger)
    columns = request.declared_columns or entity.columns
    others = f"lease_uid IS DISTINCT FROM {literal(str(request.lease)) if request.lease else 'NULL'}::uuid"
    cursor.execute(
        f"""
        UPDATE {quote(request.bridge_schema)}.entities SET last_sync_status = %s, last_rowversion = %s,
            cursor_codec = %s, cursor_marks = %s, row_count = %s, masks = %s,
            held_deletions = CASE WHEN %s THEN %s ELSE held_deletions END,
            last_sync_at = CASE WHEN %s THEN last_sync_at ELSE clock_timestamp() END,
            last_success_at = CASE WHEN %s THEN clock_timestamp() ELSE last_success_at END,
            consecutive_failures = CASE WHEN %s THEN consecutive_failures ELSE 0 END,
            next_due_at = CASE WHEN %s THEN next_due_at ELSE clock_timestamp() + %s * interval '1 second' END,
            due_reason = CASE WHEN %s THEN due_reason ELSE %s END,
            full_refresh_pending = %s OR full_refresh_pending AND (%s OR columns <> %s::jsonb OR delta_strategy <> %s),
            full_read_due = full_read_due AND %s, seen_rowversion = CASE WHEN %s THEN coalesce(%s, seen_rowversion) END,
            lease_uid = CASE WHEN {others} THEN lease_uid END, leased_at = CASE WHEN {others} THEN leased_at END,
            leased_until = CASE WHEN {others} THEN leased_until END
        WHERE uid = %s
        """,
        (
            entity.timeline.last_sync_status if is_release else str(status),
            position.cursor,
            None if position.codec is None else str(position.codec),
            json.dumps([mark.as_json() for mark in position.marks]),
            publication.row_count,
            json.dumps(dict(request.masks)),
            is_full,
            publication.held,
            is_release,
            is_fresh,
            is_release,
            is_release,
            read.next_due.seconds,
            is_release,
            str(read.next_due.reason),
            # Pages that moved may have hidden records from a full read.
            read.moved and is_full,
            # A discovery during this run may have asked for another full read, which this one was not.
            is_delta,
            json.dumps([column.as_json() for column in columns]),
            str(entity.delta_strategy),
            is_delta,
            position.seen_is_sure or is_release,
            position.seen,
            str(entity.uid),
        ),
    )
