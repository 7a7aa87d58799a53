"""A gate before what is there: why a record of the table or of quarantine got its verdict, and what another gate would
do to all of them.
"""

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
    judged, report, tally = opened.for_masked(), Shadow(), Tally()
    for batch, keys, old in _table(database, judged.entity):
        report.add(keys, old, _verdicts(judged, batch, tally))
    with database.connect() as connection:
        held = connection.execute(
            "SELECT coalesce(edited_record, record) AS record, business_key FROM quarantine WHERE entity_uid = %s"
            " AND resolved_at IS NULL",
            [entity.uid],
        ).fetchall()
    decoder = PageDecoder(judged.entity)
    for row in held:
        key = " / ".join(row["business_key"]) if row["business_key"] else "no key"
        try:
            batch = decoder.decode_one(bytes(row["record"]))
        except Exception as error:  # noqa: BLE001 - a record that is no JSON
            batch = type(error).__name__
        verdicts = (
            [("reject", batch)] if isinstance(batch, str) else _verdicts(judged, batch, tally)
        )
        report.add([key], ["reject"], verdicts)
    report.failed = tally.failed
    return report


def _verdicts(judged: OpenedGate, batch: pa.Table, tally: Tally) -> list[tuple[str, str]]:
    verdicts = judged.gate.judge(batch, judge_batch(judged.entity, batch), tally)
    reviews = [None] * len(batch) if verdicts.reviews is None else verdicts.reviews.to_pylist()
    refused = {violation.index: violation.reason for violation in verdicts.rejects}
    return [
        ("reject", refused[place]) if place in refused else ("review", why) if why else ("pass", "")
        for place, why in enumerate(reviews)
    ]


def _table(
    database: Database, entity: Entity, key: tuple[str, ...] | None = None
) -> Iterator[tuple[pa.Table, list[str], list[str]]]:
    """Live rows of the table, or the row of a key, as batches of declared columns, with their keys and verdicts.

    What is not stored is null.
    """
    where = "NOT t._bridge_deleted"
    if key is not None:
        pairs = zip(entity.business_keys, key, strict=True)
        where = " AND ".join(
            f"t.{quote(column.target_name)}::text = {literal(part)}" for column, part in pairs
        )
    with (
        database.connect() as connection,
        connection.cursor("gate_rows", row_factory=psycopg.rows.tuple_row) as cursor,
    ):
        destination = open_destination(database, get_connector(database, entity.connector), entity)
        table = destination.rows_table(connection, entity, key)
        with connection.cursor(row_factory=psycopg.rows.tuple_row) as look:
            look.execute(f"SELECT * FROM {table} LIMIT 0")
            there = {column.name for column in look.description or ()}
        keys = ", ".join(f"t.{quote(column.target_name)}::text" for column in entity.business_keys)
        flag = f"t.{REVIEW_COLUMN}" if REVIEW_COLUMN in there else "NULL::text"
        texts = ", ".join(_texts(entity, there))
        cursor.execute(
            f"SELECT concat_ws(' / ', {keys}), {flag}, {texts} FROM {table} t WHERE {where}"
        )
        while rows := cursor.fetchmany(BATCH_ROWS):
            found_keys, flags, *values = zip(*rows, strict=True)
            arrays = [
                from_canonical(list(texts_of), column.type)
                for texts_of, column in zip(values, entity.columns, strict=True)
            ]
            names = [f"c{index}" for index in range(len(arrays))]
            yield (
                pa.table(arrays, names=names),
                list(found_keys),
                ["review" if one else "pass" for one in flags],
            )


def _texts(entity: Entity, there: set[str]) -> Iterator[str]:
    """Per column the canonical text of its value, null where the table has no such column."""
    for column in entity.columns:
        if column.target_name in there:
            yield canonical_text(f"t.{quote(column.target_name)}", column.type.kind)
        else:
            yield "NULL::text"
