"""Rejects of a run: staged beside the quarantine, moved into it, and settled when their key is good or gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
import pyarrow as pa

from sync_pipelines.books.copying import copy_batches, copy_statement
from sync_pipelines.books.keys import Key, typed_parts
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Mode
from sync_pipelines.model.staged import REJECTS
from sync_pipelines.model.tables import rejects_of

# What a person fixed and released stays settled when the source sends the bad record once more.
_SETTLED = "(q.resolution = 'released' AND q.edited_record IS NOT NULL)"


def quarantine_table(request: PublishRequest) -> str:
    """The quoted table of the quarantine."""
    return f"{quote(request.bridge_schema)}.quarantine"


def is_waiting(entity: Entity) -> str:
    """A condition over q: a record of the entity is in quarantine, with a key, and nobody has settled it."""
    return (
        f"q.entity_uid = {literal(str(entity.uid))} AND q.resolved_at IS NULL"
        " AND q.business_key IS NOT NULL"
    )


def of_this_run(request: PublishRequest) -> str:
    """A condition over q: this run put the record into quarantine, or found it there again."""
    return f"q.run_uid = {literal(str(request.run_uid))}"


def waits_for_key(cursor: Any, request: PublishRequest, keys: Iterable[Key]) -> bool:
    """Whether a record with one of these keys is in quarantine, so that a good one settles it."""
    texts = [json.dumps(key) for key in keys]
    cursor.execute(
        f"SELECT EXISTS (SELECT FROM {quarantine_table(request)} q"
        f" WHERE {is_waiting(request.entity)} AND q.business_key = ANY (%s::jsonb[]))",
        [texts],
    )
    return bool(cursor.fetchone()[0])


def stage_rejects(
    cursor: Any,
    request: PublishRequest,
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Copy rejects into their staging table.

    Args:
        cursor: inside the publish transaction.
        request: of the run.
        batches: with the schema of `model.staged.rejects_schema`.
    """
    entity = request.entity
    copy_batches(
        cursor,
        copy_statement(entity.staging_schema, entity.rejects_table, list(REJECTS)),
        batches,
    )


def count_rejects(cursor: Any, request: PublishRequest) -> tuple[int, int]:
    """Staged rejects, every reading of each, and different records among them."""
    cursor.execute(
        f"SELECT count(*), count(DISTINCT fingerprint) FROM {rejects_of(request.entity)}"
    )
    readings, different = cursor.fetchone()
    return int(readings), int(different)


def count_known_rejects(cursor: Any, request: PublishRequest) -> int:
    """Staged rejects that are in quarantine already, or that a person settled as long as the source repeats them."""
    cursor.execute(
        f"SELECT count(*) FROM {quarantine_table(request)} q"
        f" WHERE q.entity_uid = {literal(str(request.entity.uid))}"
        f" AND (q.resolved_at IS NULL OR {_SETTLED})"
        f" AND q.fingerprint IN (SELECT fingerprint FROM {rejects_of(request.entity)})"
    )
    return int(cursor.fetchone()[0])


def move_rejects(cursor: Any, request: PublishRequest) -> int:
    """Put the staged rejects into quarantine; a record that is there already was seen by one more run.

    Returns:
        Number of different records.
    """
    cursor.execute(
        f"""
        INSERT INTO {quarantine_table(request)} AS q (entity_uid, run_uid, page, position, business_key,
            rowversion, column_name, reason, record, fingerprint, times_seen)
        SELECT {literal(str(request.entity.uid))}::uuid, {literal(str(request.run_uid))}::uuid,
               (array_agg(page ORDER BY page, position))[1], (array_agg(position ORDER BY page, position))[1],
               (array_agg(business_key))[1], (array_agg(rowversion))[1], (array_agg(column_name))[1],
               (array_agg(reason))[1], (array_agg(record))[1], fingerprint, 1
        FROM {rejects_of(request.entity)} GROUP BY fingerprint
        ON CONFLICT (entity_uid, fingerprint) DO UPDATE SET run_uid = excluded.run_uid, last_seen_at = now(),
            times_seen = q.times_seen + 1, page = excluded.page, position = excluded.position,
            business_key = excluded.business_key,
            reason = excluded.reason, column_name = excluded.column_name,
            resolved_at = CASE WHEN {_SETTLED} THEN q.resolved_at END,
            resolution = CASE WHEN {_SETTLED} THEN q.resolution END
        """
    )
    return int(cursor.rowcount)


def settle_superseded(
    cursor: Any,
    request: PublishRequest,
    table: str,
    keys: Sequence[str],
) -> None:
    """Mark what is in quarantine as superseded where this run brought a good record of the same key.

    Args:
        cursor: inside the publish transaction, after `move_rejects`.
        request: of the run.
        table: quoted; holds the good records.
        keys: its quoted columns, in the order of the business keys.
    """
    entity = request.entity
    statement = (
        f"UPDATE {quarantine_table(request)} q SET resolved_at = now(), resolution = 'superseded'"
        f" FROM {table} g WHERE {is_waiting(entity)} AND NOT {of_this_run(request)}"
        f" AND jsonb_array_length(q.business_key) = {len(keys)}"
    )
    parts = zip(keys, typed_parts(entity, "q.business_key"), strict=True)
    typed = [f"g.{key} = {part}" for key, part in parts]
    as_texts = [f"g.{key}::text = q.business_key->>{place}" for place, key in enumerate(keys)]
    cursor.execute("SAVEPOINT before_resolving")
    try:
        cursor.execute(" AND ".join([statement, *typed]))
    except psycopg.DataError:
        # A key from the time of another declaration is not of the type that its column has now.
        cursor.execute("ROLLBACK TO SAVEPOINT before_resolving")
        cursor.execute(" AND ".join([statement, *as_texts]))
    cursor.execute("RELEASE SAVEPOINT before_resolving")


def settle_released(cursor: Any, request: PublishRequest) -> None:
    """Mark the quarantined records that this run brought in, except those that were refused once more."""
    if request.released:
        cursor.execute(
            f"UPDATE {quarantine_table(request)} SET resolved_at = now(), resolution = 'released'"
            " WHERE uid = ANY (%s::uuid[]) AND run_uid <> %s AND resolved_at IS NULL",
            ([str(uid) for uid in request.released], str(request.run_uid)),
        )


def settle_vanished(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    publication: Publication,
) -> None:
    """Settle what a full read no longer finds in any form: it is gone from the source, and no row waits for it.

    A read that may have been cut short, or whose pages moved, settles nothing; where a record can hide between two
    pages, two full reads must miss it. What a person is working on stays open, and whatever comes again opens again.

    Args:
        cursor: inside the publish transaction, after the quarantine was resolved.
        request: of the run.
        read: of the run.
        publication: whether deletions are held is in it.
    """
    if request.mode is not Mode.FULL or publication.held or read.moved:
        return
    bridge = quote(request.bridge_schema)
    entity = literal(str(request.entity.uid))
    run = literal(str(request.run_uid))
    missed_before = (
        f" AND EXISTS (SELECT FROM {bridge}.sync_runs r WHERE r.entity_uid = {entity}"
        f" AND r.uid <> {run} AND r.mode = 'full' AND r.status IN ('success', 'rejected')"
        " AND r.started_at > q.last_seen_at"
        " AND coalesce(r.details->>'pages_moved', '') <> 'true')"
    )
    cursor.execute(
        f"UPDATE {quarantine_table(request)} q SET resolved_at = now(), resolution = 'vanished'"
        f" WHERE q.entity_uid = {entity} AND q.resolved_at IS NULL"
        f" AND NOT {of_this_run(request)} AND q.edited_record IS NULL AND q.waived_at IS NULL"
        + (missed_before if read.can_hide_rows else "")
    )
