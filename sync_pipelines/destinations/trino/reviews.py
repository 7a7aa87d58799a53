"""The list of reviews in the control database, kept for a table in Trino as `books.close` keeps it for one there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.books.publish_plan import PublishPlan
from sync_pipelines.destinations.trino.staging import BIGINT, Field
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.types import Kind

Key = tuple[str, ...]


def read_accepted(cursor: Any, plan: PublishPlan) -> frozenset[tuple[Key, str]]:
    """Keys and content hashes that a person accepted as they are; empty where nothing is ever flagged."""
    if not plan.entity.has_review:
        return frozenset()
    cursor.execute(
        f"SELECT business_key::text, content_hash FROM {_reviews(plan)} WHERE {_of_entity(plan)}"
        " AND outcome = 'accepted'"
    )
    return frozenset((tuple(json.loads(key)), content_hash) for key, content_hash in cursor.fetchall())


def without_accepted(entity: Entity, table: pa.Table, accepted: frozenset[tuple[Key, str]]) -> pa.Table:
    """Staged records whose flag is gone where a person accepted this very content."""
    if not accepted:
        return table
    reviews = table["review"].to_pylist()
    flagged = [place for place, review in enumerate(reviews) if review is not None]
    rows = table.take(pa.array(flagged, pa.int64()))
    for place, key, content_hash in zip(flagged, key_texts(entity, rows), rows["hash"].to_pylist(), strict=True):
        if (key, content_hash) in accepted:
            reviews[place] = None
    return table.set_column(table.schema.get_field_index("review"), "review", pa.array(reviews, pa.string()))


def reviews_agree(cursor: Any, plan: PublishPlan, table: pa.Table) -> bool:
    """Whether the list says of staged records what their flags say.

    Not so after a run that was killed between commit and books.
    """
    if not plan.entity.has_review:
        return True
    cursor.execute(
        f"SELECT business_key::text, content_hash FROM {_reviews(plan)} WHERE {_of_entity(plan)} AND closed_at IS NULL"
    )
    listed = {tuple(json.loads(key)): content_hash for key, content_hash in cursor.fetchall()}
    rows = zip(key_texts(plan.entity, table), table["hash"].to_pylist(), table["review"].to_pylist(), strict=True)
    return all(listed.get(key) == (None if review is None else content_hash) for key, content_hash, review in rows)


def drop_accepted_reviews(cursor: Any, plan: PublishPlan) -> None:
    """The same for the records on disk; they are written anew when there is anything that somebody accepted."""
    accepted = read_accepted(cursor, plan)
    if plan.spooled is None or not accepted:
        return
    kept = plan.spooled.with_name(f"accepted_{plan.spooled.name}")
    with (
        pq.ParquetFile(plan.spooled, pre_buffer=False) as source,
        pq.ParquetWriter(kept, source.schema_arrow) as target,
    ):
        for batch in source.iter_batches():
            target.write_table(without_accepted(plan.entity, pa.Table.from_batches([batch]), accepted))
    plan.spooled = kept


def keep_reviews(work: Work) -> int:
    """Bring the list of reviews to what the commit is going to leave in the table.

    Returns how many rows of the run are flagged.
    """
    cursor, plan = work.cursor, work.plan
    if not plan.entity.has_review or plan.spooled is None:
        return 0
    cursor.execute(f"SELECT business_key::text FROM {_reviews(plan)} WHERE {_of_entity(plan)} AND closed_at IS NULL")
    candidates = _candidates(plan, {tuple(json.loads(key)) for (key,) in cursor.fetchall()})
    standing = _standing(work, list(candidates))
    rows = [candidates[arrival] for arrival in standing]
    settled = [json.dumps(key) for key, _, review in rows if review is None]
    cursor.execute(
        f"UPDATE {_reviews(plan)} SET closed_at = now(), outcome = 'settled' WHERE {_of_entity(plan)}"
        " AND closed_at IS NULL"
        " AND business_key = ANY (%s::jsonb[])",
        [settled],
    )
    flagged = [(json.dumps(key), content_hash, review) for key, content_hash, review in rows if review is not None]
    cursor.execute(
        f"INSERT INTO {_reviews(plan)} AS r (entity_uid, business_key, content_hash, reason, run_uid)"
        " SELECT %s, k::jsonb, h, w, %s FROM unnest(%s::text[], %s::text[], %s::text[]) AS f (k, h, w)"
        " ON CONFLICT (entity_uid, business_key) DO UPDATE SET reason = excluded.reason, content_hash ="
        " excluded.content_hash,"
        " run_uid = excluded.run_uid, last_seen_at = now(), closed_at = NULL, outcome = NULL,"
        " first_seen_at = CASE WHEN r.closed_at IS NULL THEN r.first_seen_at ELSE now() END",
        [str(plan.entity.uid), str(plan.run_uid), *(list(part) for part in zip(*flagged, strict=True))]
        if flagged
        else [str(plan.entity.uid), str(plan.run_uid), [], [], []],
    )
    return len(flagged)


def key_texts(entity: Entity, table: pa.Table) -> list[Key]:
    """The business keys of staged records as the control database has them."""
    names = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    return list(zip(*(pc.cast(table[name], pa.string()).to_pylist() for name in names), strict=True))


def keys_table(entity: Entity, keys: Sequence[Key]) -> tuple[pa.Table, list[Field]]:
    """Keys out of the control database as staged columns; the other way of `key_texts`."""
    places = [(index, column) for index, column in enumerate(entity.columns) if column.is_business_key]
    fields = [Field(f"c{index}", column.type) for index, column in places]
    columns = []
    for place, (_, column) in enumerate(places):
        texts = [key[place] for key in keys]
        # Arrow writes a moment with its zone, but reads it only without.
        is_moment = column.type.kind is Kind.TIMESTAMPTZ
        columns.append(from_canonical([text.removesuffix("Z") for text in texts] if is_moment else texts, column.type))
    return pa.table(columns, names=[one.name for one in fields]), fields


def _candidates(plan: PublishPlan, known: set[Key]) -> dict[int, tuple[Key, str, str | None]]:
    """Staged records that are flagged, or whose key is under review, by arrival number: key, content hash, flag."""
    entity, found = plan.entity, {}
    names = [f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key]
    columns = ["arrival", "hash", "review", *names]
    for batch in pq.ParquetFile(plan.spooled, pre_buffer=False).iter_batches(columns=columns):
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
        found.update(
            {
                arrival: (key, content_hash, review)
                for arrival, key, content_hash, review in rows
                if review is not None or key in known
            }
        )
    return found


def _standing(work: Work, arrivals: list[int]) -> list[int]:
    """Those of the staged records that are what their row is to be."""
    if not arrivals or (not work.counts.stale and work.winners == pq.read_metadata(work.plan.spooled).num_rows):
        return arrivals
    relation = work.staging.relation(
        "reviewed", pa.table({"arrival": pa.array(arrivals, pa.int64())}), [Field("arrival", BIGINT)]
    )
    return [int(arrival) for (arrival,) in work.session.query(work.statements.standing(relation))]


def _reviews(plan: PublishPlan) -> str:
    return f"{quote(plan.bridge_schema)}.reviews"


def _of_entity(plan: PublishPlan) -> str:
    return f"entity_uid = {literal(str(plan.entity.uid))}"
