"""Compare a source with its table, everything or random ranges, and say what was missed and why.

A record that the table should have (its rowversion is not above the cursor) but has not, or has with other content, was
*missed*: the source committed it later than the lookback allows, or changed it without moving its rowversion.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pyarrow as pa

from sync_pipelines.books.copying import csv_of
from sync_pipelines.books.keys import key_json
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.runs import last_details
from sync_pipelines.destinations.hashes import content_hash, covers_columns, stored_hash
from sync_pipelines.destinations.order import order_of
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.destinations.vanished import not_among
from sync_pipelines.destinations.verdicts import match_keys
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.gate.opened import check_stored_masks
from sync_pipelines.model.cursor import Codec, order_key, seconds_between
from sync_pipelines.model.entity import DeltaStrategy, Entity
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.staged import staged_keys
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.registry import open_source
from sync_pipelines.sources.source import PagedSource

BUCKETS = 16
SAMPLES = 20


@dataclass(frozen=True)
class Bucket:
    """One key range: rows on both sides and whether their content agrees (sum of hashes)."""

    number: int
    source_rows: int
    table_rows: int
    equal: bool


@dataclass
class AuditReport:
    """What an audit found.

    Attributes:
        compared: different keys read from the source.
        equal: of these, those that the table has with the same content.
        waiting: newer than the cursor, so the next sync brings them.
        missed: should be in the table as they are, but are not.
        quarantined: of the missing ones, those that are in quarantine.
        extra: live rows of the table that the source does not have (only when everything was read).
        late_seconds: by how much the latest missed record was late, where rowversions are times.
        samples: up to 20 missed records as {key, rowversion, finding}.
    """

    entity: str
    everything: bool
    compared: int = 0
    equal: int = 0
    waiting: int = 0
    missed: int = 0
    quarantined: int = 0
    extra: int = 0
    late_seconds: float | None = None
    lookback_seconds: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)

    @property
    def missed_share(self) -> float:
        """Missed records per compared record."""
        return self.missed / self.compared if self.compared else 0.0

    @property
    def suggested_lookback_seconds(self) -> int | None:
        """A lookback under which the missed records would have been seen; None when nothing suggests another."""
        if self.late_seconds is None or self.late_seconds <= self.lookback_seconds:
            return None
        return 60 * math.ceil(self.late_seconds * 1.2 / 60)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        shown = {**vars(self), "buckets": [vars(bucket) for bucket in self.buckets]}
        return {
            **shown,
            "missed_share": self.missed_share,
            "suggested_lookback_seconds": self.suggested_lookback_seconds,
        }


def audit_entity(
    database: Database,
    connector_name: str,
    slug: str,
    *,
    ranges: int | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
) -> AuditReport:
    """Read from the source and compare with the table; nothing is changed.

    Args:
        database: where catalog and table are.
        connector_name: the connector.
        slug: the entity.
        ranges: number of random pages to read; None = everything.
        seed: for the choice of the ranges.
        settings: the process settings when None.

    Raises:
        ConfigurationError: the entity was never synced, its masks are new, or ranges are asked of one without
            rowversions.
        SyncError: from the source or the database.
    """
    settings = settings or load_settings()
    connector, entity = (
        get_connector(database, connector_name),
        get_entity(database, connector_name, slug),
    )
    keyset = (
        entity.delta_strategy is DeltaStrategy.ROWVERSION
        and entity.position.cursor_codec is not None
    )
    if entity.position.row_count is None:
        raise ConfigurationError(
            f"{entity.path} was never synced, so there is nothing to compare.",
            state="",
            next_command=f"sync-pipelines sync {entity.path}",
        )
    if ranges is not None and not keyset:
        raise ConfigurationError(
            f"{entity.path} has no rowversions to choose ranges by.",
            state="",
            next_command=f"sync-pipelines audit {entity.path} --all",
        )
    gate = prepare_gate(database, settings, entity)
    check_stored_masks(entity, gate)
    masked = gate.masked if gate is not None else frozenset()
    source = open_source(ReadContext(database, connector, entity, settings, masked))
    if ranges is not None and not isinstance(source, PagedSource):
        raise ConfigurationError(
            f"{entity.path} cannot be read by ranges of its cursor.",
            state="",
            next_command=f"sync-pipelines audit {entity.path} --all",
        )
    extraction = Extraction(
        entity,
        source,
        max_pages=settings.sources.max_pages,
        batch_rows=settings.runs.batch_rows,
        batch_bytes=settings.runs.batch_bytes,
        max_record_bytes=settings.runs.max_record_bytes,
        gate=gate,
    )
    entity = extraction.stored
    with database.connect() as connection:
        _create_tables(connection, entity)
        target = _target(database, connection, entity)
        # As the syncs read it: where the pages are not sorted, rowversions cannot be followed.
        in_order = not last_details(connection, entity).get("unsorted")
        batches = (
            extraction.batches(after=None, keyset=keyset and in_order, full=False)
            if ranges is None
            else _random_ranges(connection, target, extraction, ranges, random.Random(seed))
        )
        for table_name, batch in batches:
            if table_name == entity.records_table:
                _copy(connection, batch)
        report = AuditReport(
            entity.path, ranges is None, lookback_seconds=entity.policy.lookback_seconds
        )
        _compare(connection, entity, target, report)
        connection.rollback()
    return report


def _create_tables(connection: psycopg.Connection[Any], entity: Entity) -> None:
    columns = ", ".join(
        f"c{index} {column.type.sql}" for index, column in enumerate(entity.columns)
    )
    connection.execute(
        f"CREATE TEMP TABLE audited (arrival bigint, rowversion text, hash text, {columns})"
    )


def _target(database: Database, connection: psycopg.Connection[Any], entity: Entity) -> str:
    """The table to compare with; keys and hashes of one elsewhere are copied here."""
    destination = open_destination(database, get_connector(database, entity.connector), entity)
    return destination.keys_table(connection, entity)


def _copy(connection: psycopg.Connection[Any], batch: pa.Table) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(
            f"COPY audited ({', '.join(batch.schema.names)}) FROM STDIN (FORMAT csv)"
        ) as copy,
    ):
        for part in batch.to_batches():
            copy.write(csv_of(part))


def _random_ranges(
    connection: psycopg.Connection[Any],
    table: str,
    extraction: Extraction,
    ranges: int,
    chance: random.Random,
) -> Iterator[tuple[str, pa.Table]]:
    """One page after each of some random rowversions of the table."""
    found = connection.execute(
        f"SELECT _bridge_rowversion AS r FROM {table} WHERE _bridge_rowversion IS NOT NULL"
        f" ORDER BY md5(_bridge_id::text || {literal(str(chance.random()))}) LIMIT {int(ranges)}"
    ).fetchall()
    for position in [None, *sorted(row["r"] for row in found)][:ranges]:
        yield from extraction.one_page(after=position)


def _compare(
    connection: psycopg.Connection[Any], entity: Entity, target: str, report: AuditReport
) -> None:
    keys = staged_keys(entity)
    listed_keys = ", ".join(keys)
    match = match_keys(quote, entity)
    connection.execute(
        f"CREATE TEMP TABLE newest AS SELECT DISTINCT ON ({listed_keys}) * FROM audited"
        f" ORDER BY {listed_keys}, arrival DESC"
    )
    connection.execute("ANALYZE newest")
    same = _same_content(connection, entity, target)
    key = key_json(f"s.{name}" for name in keys)
    differing = connection.execute(
        f"SELECT {key} AS key, s.rowversion, t._bridge_rowversion AS stored, t._bridge_id IS NULL AS absent"
        f" FROM newest s LEFT JOIN {target} t ON {match} WHERE t._bridge_id IS NULL OR NOT ({same})"
        " ORDER BY s.rowversion LIMIT 100000"
    ).fetchall()
    counted = connection.execute(
        f"SELECT count(*) AS n, count(*) FILTER (WHERE {same}) AS equal FROM newest s LEFT JOIN {target} t ON {match}"
    ).fetchone()
    assert counted is not None
    report.compared, report.equal = counted["n"], counted["equal"]
    quarantined_keys = {
        tuple(row["business_key"])
        for row in connection.execute(
            "SELECT business_key FROM quarantine WHERE entity_uid = %s AND business_key IS NOT NULL",
            [entity.uid],
        )
    }
    for row in differing:
        _judge(connection, entity, report, row, quarantined_keys)
    if report.everything:
        _whole_table(connection, entity, report, target, match)


def _same_content(connection: psycopg.Connection[Any], entity: Entity, target: str) -> str:
    """SQL: a live row is what the source has, by its hash, or by its content where the hash covers other columns."""
    columns = connection.execute(f"SELECT * FROM {target} LIMIT 0").description or ()
    there = {column.name for column in columns}
    differs = " OR ".join(
        f"t.{quote(column.target_name)} IS DISTINCT FROM s.c{index}"
        if column.target_name in there
        else f"s.c{index} IS NOT NULL"
        for index, column in enumerate(entity.columns)
    )
    by_hash = f"t._bridge_hash = {stored_hash(entity)}"
    same = f"CASE WHEN {covers_columns(entity)} THEN {by_hash} ELSE NOT ({differs}) END"
    return f"(NOT t._bridge_deleted AND {same})"


def _judge(
    connection: psycopg.Connection[Any],
    entity: Entity,
    report: AuditReport,
    row: dict[str, Any],
    quarantined_keys: set[tuple[str, ...]],
) -> None:
    if tuple(row["key"]) in quarantined_keys:
        report.quarantined += 1
        return
    if _above_cursor(entity, row["rowversion"]):
        report.waiting += 1
        return
    report.missed += 1
    late = _late_seconds(connection, entity, row["rowversion"])
    if late is not None:
        report.late_seconds = max(late, report.late_seconds or 0.0)
    if len(report.samples) < SAMPLES:
        finding = (
            "not in the table"
            if row["absent"]
            else f"other content in the table, at rowversion {row['stored']}"
        )
        report.samples.append(
            {"key": row["key"], "rowversion": row["rowversion"], "finding": finding}
        )


def _above_cursor(entity: Entity, rowversion: str | None) -> bool:
    if entity.position.cursor_codec is None or entity.position.cursor is None or rowversion is None:
        return entity.delta_strategy is not DeltaStrategy.ROWVERSION
    codec = entity.position.cursor_codec
    return codec is not Codec.OPAQUE and bool(
        order_key(codec, rowversion) > order_key(codec, entity.position.cursor)
    )


def _late_seconds(
    connection: psycopg.Connection[Any], entity: Entity, rowversion: str | None
) -> float | None:
    """Seconds between a rowversion and the start of the first run that went past it: it was visible only later."""
    if (
        rowversion is None
        or entity.position.cursor_codec is None
        or not entity.position.cursor_codec.tells_time
    ):
        return None
    codec = entity.position.cursor_codec
    theirs = order_of(POSTGRES, codec, "rowversion_end")
    mine = order_of(POSTGRES, codec, "%(mine)s::text")
    row = connection.execute(
        "SELECT details->>'rowversion_last' AS last FROM sync_runs WHERE entity_uid = %(uid)s AND details ? 'row_count'"
        f" AND rowversion_end IS NOT NULL AND {theirs} >= {mine} ORDER BY started_at LIMIT 1",
        {"uid": entity.uid, "mine": rowversion},
    ).fetchone()
    return (
        None
        if row is None or row["last"] is None
        else seconds_between(codec, rowversion, row["last"])
    )


def _whole_table(
    connection: psycopg.Connection[Any],
    entity: Entity,
    report: AuditReport,
    target: str,
    match: str,
) -> None:
    extra = connection.execute(
        f"SELECT count(*) AS n FROM {target} t"
        f" WHERE NOT t._bridge_deleted AND {not_among('newest', match)}"
    ).fetchone()
    assert extra is not None
    report.extra = extra["n"]
    bucket = "mod(('x' || left(md5({keys}), 7))::bit(28)::int, " + str(BUCKETS) + ")"
    content = "sum(('x' || left({hash}, 13))::bit(52)::bigint)"
    our_keys = [f"t.{quote(column.target_name)}::text" for column in entity.business_keys]
    their_keys = [f"s.{name}::text" for name in staged_keys(entity)]
    ours = bucket.format(keys=" || '/' || ".join(our_keys))
    theirs = bucket.format(keys=" || '/' || ".join(their_keys))
    same = _same_content(connection, entity, target)
    is_by_content = f"s.hash IS NOT NULL AND NOT {covers_columns(entity)} AND {same}"
    our_hash = f"CASE WHEN {is_by_content} THEN s.hash ELSE {content_hash()} END"
    rows = connection.execute(
        f"WITH ours AS (SELECT {ours} AS b, count(*) AS n, {content.format(hash=our_hash)} AS h"
        f" FROM {target} t LEFT JOIN newest s ON {match} WHERE NOT t._bridge_deleted GROUP BY 1),"
        f" theirs AS (SELECT {theirs} AS b, count(*) AS n, {content.format(hash='s.hash')} AS h FROM newest s"
        " GROUP BY 1)"
        " SELECT coalesce(ours.b, theirs.b) AS b, coalesce(theirs.n, 0) AS source, coalesce(ours.n, 0) AS stored,"
        " ours.h IS NOT DISTINCT FROM theirs.h AND ours.n IS NOT DISTINCT FROM theirs.n AS equal"
        " FROM ours FULL JOIN theirs ON ours.b = theirs.b ORDER BY 1"
    ).fetchall()
    report.buckets = [Bucket(row["b"], row["source"], row["stored"], row["equal"]) for row in rows]
