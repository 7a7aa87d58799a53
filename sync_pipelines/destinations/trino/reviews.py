"""The flags of reviews in a table in Trino, and the list of reviews in the catalog that follows them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.books.keys import Key
from sync_pipelines.books.reviews import list_flagged, read_accepted, read_open, settle_reviews
from sync_pipelines.destinations.peek import key_texts
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.staging import BIGINT, Field
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.staged import staged_keys

_KEYS = "SELECT unnest(%s::jsonb[])"
_FLAGGED = "SELECT k::jsonb, w, h FROM unnest(%s::text[], %s::text[], %s::text[]) AS f (k, w, h)"


@dataclass(frozen=True)
class Candidate:
    """A staged record that is flagged, or whose key is under review."""

    arrival: int
    key: Key
    content_hash: str
    review: str | None


def without_accepted(
    entity: Entity,
    table: pa.Table,
    accepted: frozenset[tuple[Key, str]],
) -> pa.Table:
    """Staged records whose flag is gone where a person accepted this very content."""
    if not accepted:
        return table
    reviews = table["review"].to_pylist()
    flagged = [place for place, review in enumerate(reviews) if review is not None]
    rows = table.take(pa.array(flagged, pa.int64()))
    records = _candidates(entity, rows)
    for place, record in zip(flagged, records, strict=True):
        content = (record.key, record.content_hash)
        if content in accepted:
            reviews[place] = None
    column = table.schema.get_field_index("review")
    flags = pa.array(reviews, pa.string())
    return table.set_column(column, "review", flags)


def reviews_agree(
    cursor: Any,
    request: PublishRequest,
    table: pa.Table,
) -> bool:
    """Whether the list says of staged records what their flags say.

    Not so after a run that was killed between commit and books.
    """
    if not request.entity.has_review:
        return True
    listed = read_open(cursor, request)
    for record in _candidates(request.entity, table):
        is_flagged = record.review is not None
        expected = record.content_hash if is_flagged else None
        if listed.get(record.key) != expected:
            return False
    return True


def drop_accepted_reviews(
    cursor: Any,
    request: PublishRequest,
    spool: Spool,
    accepted_spool: Spool,
) -> Spool:
    """The records without flags that somebody accepted: written anew when there is anything accepted, else as they are.

    Args:
        cursor: of the control database.
        request: of the run.
        spool: with all batches of the run.
        accepted_spool: takes the records where they must be written anew.
    """
    entity = request.entity
    accepted = read_accepted(cursor, request)
    if entity.records_table not in spool.rows or not accepted:
        return spool
    for batch in spool.batches(entity.records_table):
        table = pa.Table.from_batches([batch])
        table = without_accepted(entity, table, accepted)
        accepted_spool.write(entity.records_table, table)
    accepted_spool.close()
    return accepted_spool


def keep_reviews(work: Work) -> int:
    """Bring the list of reviews to what the commit is going to leave in the table.

    Returns how many rows of the run are flagged.
    """
    request = work.request
    if not request.entity.has_review or not work.staged_rows:
        return 0
    known = read_open(work.cursor, request)
    candidates = _read_candidates(work, known)
    settled: list[str] = []
    keys: list[str] = []
    reviews: list[str] = []
    hashes: list[str] = []
    for arrival in _lasting(work, list(candidates)):
        record = candidates[arrival]
        key = json.dumps(record.key)
        if record.review is None:
            settled.append(key)
            continue
        keys.append(key)
        reviews.append(record.review)
        hashes.append(record.content_hash)
    settle_reviews(work.cursor, request, _KEYS, [settled])
    return list_flagged(work.cursor, request, _FLAGGED, [keys, reviews, hashes])


def _read_candidates(work: Work, known: Collection[Key]) -> dict[int, Candidate]:
    """Candidates of a run by their arrival numbers.

    Args:
        work: of the run.
        known: keys that are under review.
    """
    entity = work.request.entity
    names = ["arrival", "hash", "review", *staged_keys(entity)]
    found = {}
    for batch in work.spool.batches(entity.records_table, names):
        table = pa.Table.from_batches([batch])
        if not known:
            table = table.filter(pc.is_valid(table["review"]))
        for record in _candidates(entity, table):
            if record.review is not None or record.key in known:
                found[record.arrival] = record
    return found


def _candidates(entity: Entity, table: pa.Table) -> list[Candidate]:
    columns = [
        table["arrival"].to_pylist(),
        key_texts(entity, table),
        table["hash"].to_pylist(),
        table["review"].to_pylist(),
    ]
    rows = zip(*columns, strict=True)
    return [Candidate(*row) for row in rows]


def _lasting(work: Work, arrivals: list[int]) -> list[int]:
    """Those of the staged records that are what their row is to be."""
    has_repeated = work.winners != work.staged_rows
    has_older = has_repeated or work.counts.stale
    if not arrivals or not has_older:
        return arrivals
    column = pa.array(arrivals, pa.int64())
    relation = work.staging.relation(
        "reviewed",
        pa.table({"arrival": column}),
        [Field("arrival", BIGINT)],
    )
    statement = work.statements.lasting(relation)
    rows = work.session.query(statement)
    return [int(arrival) for (arrival,) in rows]
