"""The flags of reviews in a table in Trino, and the list of reviews in the control database that follows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.books.reviews import list_flagged, of_entity, reviews_table, settle_reviews
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.staging import BIGINT, Field
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.types import Kind

Key = tuple[str, ...]


def read_accepted(cursor: Any, request: PublishRequest) -> frozenset[tuple[Key, str]]:
    """Keys and content hashes that a person accepted as they are; empty where nothing is ever flagged."""
    if not request.entity.has_review:
        return frozenset()
    cursor.execute(
        f"SELECT business_key::text, content_hash FROM {reviews_table(request)} r WHERE {of_entity(request)} AND"
        " outcome = 'accepted'"
    )
    return frozenset(
        (tuple(json.loads(key)), content_hash) for key, content_hash in cursor.fetchall()
    )


def without_accepted(
    entity: Entity, table: pa.Table, accepted: frozenset[tuple[Key, str]]
) -> pa.Table:
    """Staged records whose flag is gone where a person accepted this very content."""
    if not accepted:
        return table
    reviews = table["review"].to_pylist()
    flagged = [place for place, review in enumerate(reviews) if review is not None]
    rows = table.take(pa.array(flagged, pa.int64()))
    for place, key, content_hash in zip(
        flagged, key_texts(entity, rows), rows["hash"].to_pylist(), strict=True
    ):
        if (key, content_hash) in accepted:
            reviews[place] = None
    return table.set_column(
        table.schema.get_field_index("review"), "review", pa.array(reviews, pa.string())
    )


def reviews_agree(cursor: Any, request: PublishRequest, table: pa.Table) -> bool:
    """Whether the list says of staged records what their flags say.

    Not so after a run that was killed between commit and books.
    """
    if not request.entity.has_review:
        return True
    cursor.execute(
        f"SELECT business_key::text, content_hash FROM {reviews_table(request)} r WHERE {of_entity(request)} AND"
        " closed_at IS NULL"
    )
    listed = {tuple(json.loads(key)): content_hash for key, content_hash in cursor.fetchall()}
    rows = zip(
        key_texts(request.entity, table),
        table["hash"].to_pylist(),
        table["review"].to_pylist(),
        strict=True,
    )
    return all(
        listed.get(key) == (None if review is None else content_hash)
        for key, content_hash, review in rows
    )


def drop_accepted_reviews(
    cursor: Any, request: PublishRequest, spool: Spool, accepted_spool: Spool
) -> Spool:
    """The records without flags that somebody accepted: written anew when there is anything accepted, else as they are.

    Args:
        cursor: of the control database.
        request: of the run.
        spool: with all batches of the run.
        accepted_spool: takes the records where they must be written anew.
    """
    accepted, table = read_accepted(cursor, request), request.entity.records_table
    if table not in spool.rows or not accepted:
        return spool
    for batch in spool.batches(table):
        accepted_spool.write(
            table, without_accepted(request.entity, pa.Table.from_batches([batch]), accepted)
        )
    accepted_spool.close()
    return accepted_spool


def keep_reviews(work: Work) -> int:
    """Bring the list of reviews to what the commit is going to leave in the table.

    Returns how many rows of the run are flagged.
    """
    cursor, request = work.cursor, work.request
    if not request.entity.has_review or not work.staged_rows:
        return 0
    cursor.execute(
        f"SELECT business_key::text FROM {reviews_table(request)} r WHERE {of_entity(request)} AND closed_at IS NULL"
    )
    candidates = _candidates(
        request.entity, work.spool, {tuple(json.loads(key)) for (key,) in cursor.fetchall()}
    )
    rows = [candidates[arrival] for arrival in _standing(work, list(candidates))]
    settled = [json.dumps(key) for key, _, review in rows if review is None]
    settle_reviews(cursor, request, "SELECT unnest(%s::jsonb[])", [settled])
    flagged = [
        (json.dumps(key), review, content_hash)
        for key, content_hash, review in rows
        if review is not None
    ]
    columns = [list(column) for column in zip(*flagged, strict=True)] or [[], [], []]
    return list_flagged(
        cursor,
        request,
        "SELECT k::jsonb, w, h FROM unnest(%s::text[], %s::text[], %s::text[]) AS f (k, w, h)",
        columns,
    )


def key_texts(entity: Entity, table: pa.Table) -> list[Key]:
    """The business keys of staged records as the control database has them."""
    names = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    return list(
        zip(*(pc.cast(table[name], pa.string()).to_pylist() for name in names), strict=True)
    )


def keys_table(entity: Entity, keys: Sequence[Key]) -> tuple[pa.Table, list[Field]]:
    """Keys out of the control database as staged columns; the other way of `key_texts`."""
    places = [
        (index, column) for index, column in enumerate(entity.columns) if column.is_business_key
    ]
    fields = [Field(f"c{index}", column.type) for index, column in places]
    columns = []
    for place, (_, column) in enumerate(places):
        texts: list[str | None] = [key[place] for key in keys]
        if column.type.kind is Kind.TIMESTAMPTZ:
            # Arrow writes a moment with its zone, but reads it only without.
            texts = [key[place].removesuffix("Z") for key in keys]
        columns.append(from_canonical(texts, column.type))
    return pa.table(columns, names=[one.name for one in fields]), fields


def _candidates(
    entity: Entity, spool: Spool, known: set[Key]
) -> dict[int, tuple[Key, str, str | None]]:
    """Staged records that are flagged, or whose key is under review, by arrival number: key, content hash, flag."""
    found = {}
    keys = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    for batch in spool.batches(entity.records_table, ["arrival", "hash", "review", *keys]):
        table = pa.Table.from_batches([batch])
        if not known:
            table = table.filter(pc.is_valid(table["review"]))
        rows = zip(
            table["arrival"].to_pylist(),
            key_texts(entity, table),
            table["hash"].to_pylist(),
            table["review"].to_pylist(),
            strict=True,
        )
        for arrival, key, content_hash, review in rows:
            if review is not None or key in known:
                found[arrival] = (key, content_hash, review)
    return found


def _standing(work: Work, arrivals: list[int]) -> list[int]:
    """Those of the staged records that are what their row is to be."""
    if not arrivals or (not work.counts.stale and work.winners == work.staged_rows):
        return arrivals
    relation = work.staging.relation(
        "reviewed",
        pa.table({"arrival": pa.array(arrivals, pa.int64())}),
        [Field("arrival", BIGINT)],
    )
    return [int(arrival) for (arrival,) in work.session.query(work.statements.standing(relation))]
