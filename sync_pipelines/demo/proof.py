"""Is a table equal to its source? Count and digest of both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.demo.source_process import Source
from sync_pipelines.demo.twin import canonical_line
from sync_pipelines.demo.twin.rows import Key, Record, decode_json
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.types import Kind


@dataclass(frozen=True)
class Proof:
    """What a comparison found.

    Attributes:
        stored: live rows of the table.
        quarantined: records at the source that are in quarantine instead.
        at_source: records at the source.
        equal: rows and quarantined records together are the source, value by value.
    """

    path: str
    stored: int
    quarantined: int
    at_source: int
    equal: bool


def prove(database: Database, source: Source, entity: Entity) -> Proof:
    """Compare a table, plus what quarantine holds, with the source."""
    with ThreadPoolExecutor(1) as pool:
        truth = pool.submit(source.truth, entity.slug)
        lines, quarantined = _lines(database, entity)
        lines.sort()
        digest = hashlib.md5(usedforsecurity=False)
        for line in lines:
            digest.update(line + b"\n")
        count, md5 = truth.result()
    return Proof(
        path=entity.path,
        stored=len(lines) - quarantined,
        quarantined=quarantined,
        at_source=count,
        equal=len(lines) == count and digest.hexdigest() == md5,
    )


def _lines(database: Database, entity: Entity) -> tuple[list[bytes], int]:
    keys = [column.name for column in entity.business_keys]
    quarantined = _quarantined(database, entity, keys)
    lines = []
    for record in _records(database, entity):
        key = tuple(record[name] for name in keys)
        quarantined.pop(key, None)
        lines.append(canonical_line(key, record))
    for key, record in quarantined.items():
        lines.append(canonical_line(key, record))
    return lines, len(quarantined)


def _records(database: Database, entity: Entity) -> Iterator[Record]:
    """The live rows of the table, with the values in the form that the source gave them."""
    names = [column.name for column in entity.columns]
    forms = {}
    for column in entity.columns:
        form = _FORMS.get(column.type.kind)
        if form is not None:
            forms[column.name] = form
    connector = get_connector(database, entity.connector)
    destination = open_destination(database, connector, entity)
    for row in destination.live_rows(entity):
        record = dict(zip(names, row, strict=True))
        for name, form in forms.items():
            value = record[name]
            if value is not None:
                record[name] = form(value)
        yield record


def _quarantined(database: Database, entity: Entity, keys: list[str]) -> dict[Key, Record]:
    """The newest quarantined record of each key, as the source sent it."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT record FROM quarantine WHERE entity_uid = %s ORDER BY last_seen_at, rowversion",
            [entity.uid],
        ).fetchall()
    quarantined = {}
    for row in rows:
        sent = decode_json(bytes(row["record"]))
        record = sent["data"]
        key = tuple(record[name] for name in keys)
        quarantined[key] = record
    return quarantined


def _moment(value: datetime) -> str:
    moment = value.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(value: float) -> Decimal:
    return Decimal(repr(value))


_FORMS: dict[Kind, Callable[[Any], Any]] = {Kind.TIMESTAMPTZ: _moment, Kind.DOUBLE: _number}
