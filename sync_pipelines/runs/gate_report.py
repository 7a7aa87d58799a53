"""A gate over stored records: why one got its verdict, and what another gate would do to all of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.quarantine import get_quarantined
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.destinations.values import canonical_text
from sync_pipelines.errors import NotFoundError
from sync_pipelines.gate.contract import judge_batch
from sync_pipelines.gate.explain import Explanation, Shadow, explain
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.gate.tally import Tally
from sync_pipelines.model.entity import REVIEW_COLUMN, Entity
from sync_pipelines.model.quoting import literal, quote

BATCH_ROWS = 20_000


def find_record(database: Database, entity: Entity, key: str) -> tuple[str, dict[str, Any]]:
    """A quarantined record by its uid or key, or else the row of a key; parts of a key are separated by /.

    Returns:
        "quarantine" and its row, or "table" and {"rows": values as texts}.

    Raises:
        NotFoundError: neither.
    """
    parts = key.split("/") if len(entity.business_keys) > 1 else [key]
    with database.connect() as connection:
        row = connection.execute(
            "SELECT uid FROM quarantine WHERE entity_uid = %s AND resolved_at IS NULL AND (business_key = %s::jsonb"
            " OR uid::text = %s)"
            " ORDER BY last_seen_at DESC LIMIT 1",
            [entity.uid, json.dumps(parts), key],
        ).fetchone()
    if row is not None:
        return "quarantine", get_quarantined(database, UUID(str(row["uid"])))
    if len(parts) == len(entity.business_keys):
        # A text that is no value of the key's type is the key of no row.
        with contextlib.suppress(ValueError, pa.ArrowException):
            for batch, _, _ in _table(database, entity, tuple(parts)):
                return "table", {"batch": batch}
    raise NotFoundError(
        f"{entity.path} has no record {key!r}, neither in the table nor in quarantine.",
        state="Nothing was changed.",
        next_command=f"sync-pipelines quarantine list {entity.path}",
    )


def explain_record(opened: OpenedGate, place: str, found: dict[str, Any]) -> Explanation | str:
    """Explain a record that `find_record` found; a text where it does not get as far as the rules."""
    judged = opened.for_masked()
    if place == "table":
        return explain(judged.gate, found["batch"])
    batch = PageDecoder(judged.entity).decode_one(bytes(found["edited_record"] or found["record"]))
    if isinstance(batch, str):
        return batch
    if violations := judge_batch(judged.entity, batch):
        return violations[0].reason
    return explain(judged.gate, batch)


def shadow(database: Database, entity: Entity, opened: OpenedGate) -> Shadow:
    """What another gate would do to every live row and every open record of quarantine; nothing is changed."""
    judged = opened.for_masked()
    report = Shadow()
    tally = Tally()
    for batch, keys, old in _table(database, judged.entity):
        report.add(keys, old, _verdicts(judged, batch, tally))
    decoder = PageDecoder(judged.entity)
    for row in _quarantined(database, entity):
        key = " / ".join(row["business_key"]) if row["business_key"] else "no key"
        verdicts = _verdicts_of_one(judged, decoder, bytes(row["record"]), tally)
        report.add([key], ["reject"], verdicts)
    report.failed = tally.failed
    return report


def _quarantined(database: Database, entity: Entity) -> list[dict[str, Any]]:
    """Open records of quarantine, edited where somebody did, with their keys."""
    with database.connect() as connection:
        return connection.execute(
            "SELECT coalesce(edited_record, record) AS record, business_key FROM quarantine"
            " WHERE entity_uid = %s AND resolved_at IS NULL",
            [entity.uid],
        ).fetchall()


def _verdicts_of_one(
    judged: OpenedGate, decoder: PageDecoder, record: bytes, tally: Tally
) -> list[tuple[str, str]]:
    try:
        batch = decoder.decode_one(record)
    except Exception as error:  # noqa: BLE001 - a record that is no JSON
        batch = type(error).__name__
    if isinstance(batch, str):
        return [("reject", batch)]
    return _verdicts(judged, batch, tally)


def _verdicts(judged: OpenedGate, batch: pa.Table, tally: Tally) -> list[tuple[str, str]]:
    violations = judge_batch(judged.entity, batch)
    judgement = judged.gate.judge(batch, violations, tally)
    reviews = [None] * len(batch) if judgement.reviews is None else judgement.reviews.to_pylist()
    refused = {violation.index: violation.reason for violation in judgement.rejects}
    verdicts = []
    for place, why in enumerate(reviews):
        if place in refused:
            verdicts.append(("reject", refused[place]))
        elif why:
            verdicts.append(("review", why))
        else:
            verdicts.append(("pass", ""))
    return verdicts


def _table(
    database: Database, entity: Entity, key: tuple[str, ...] | None = None
) -> Iterator[tuple[pa.Table, list[str], list[str]]]:
    """Live rows of the table, or the row of a key, as batches of declared columns, with their keys and verdicts.

    What is not stored is null.
    """
    key_texts = [f"t.{quote(column.target_name)}::text" for column in entity.business_keys]
    where = "NOT t._bridge_deleted"
    if key is not None:
        pairs = zip(key_texts, key, strict=True)
        where = " AND ".join(f"{text} = {literal(part)}" for text, part in pairs)
    with (
        database.connect() as connection,
        connection.cursor("gate_rows", row_factory=psycopg.rows.tuple_row) as cursor,
    ):
        destination = open_destination(database, get_connector(database, entity.connector), entity)
        table = destination.rows_table(connection, entity, key)
        there = _column_names(connection, table)
        keys = ", ".join(key_texts)
        flag = f"t.{REVIEW_COLUMN}" if REVIEW_COLUMN in there else "NULL::text"
        texts = ", ".join(_texts(entity, there))
        select = f"SELECT concat_ws(' / ', {keys}), {flag}, {texts}"
        cursor.execute(f"{select} FROM {table} t WHERE {where}")
        while rows := cursor.fetchmany(BATCH_ROWS):
            found_keys, flags, *values = zip(*rows, strict=True)
            verdicts = ["review" if flag else "pass" for flag in flags]
            yield _batch_of(entity, values), list(found_keys), verdicts


def _column_names(connection: psycopg.Connection[Any], table: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} LIMIT 0")
        return {column.name for column in cursor.description or ()}


def _batch_of(entity: Entity, values: list[tuple[str | None, ...]]) -> pa.Table:
    """The batch of declared columns whose canonical texts are given column by column."""
    arrays = []
    for texts, column in zip(values, entity.columns, strict=True):
        arrays.append(from_canonical(list(texts), column.type))
    names = [f"c{index}" for index in range(len(arrays))]
    return pa.table(arrays, names=names)


def _texts(entity: Entity, there: set[str]) -> Iterator[str]:
    """Per column the canonical text of its value, null where the table has no such column."""
    for column in entity.columns:
        if column.target_name in there:
            yield canonical_text(f"t.{quote(column.target_name)}", column.type.kind)
        else:
            yield "NULL::text"
