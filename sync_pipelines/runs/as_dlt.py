"""The entities of a connector as a dlt source, for any pipeline and any destination of dlt.

It reads by the same `Extraction` as our own runs, through the same gate. What a dlt pipeline keeps of it is dlt's: the
position is in the state of the pipeline, records are counted by dlt, and what is read twice is merged by the business
key. Rejects are not left out: they go into a table of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity, list_entities
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.entity import Connector, DeltaStrategy, Entity, EntityStatus
from sync_pipelines.model.types import INTEGER_BITS, ColumnType, Kind
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.settings import Settings
from sync_pipelines.sources.registry import open_source

logger = logging.getLogger(__name__)

POSITION, ARRIVAL = "_bridge_position", "_bridge_arrival"
"""Columns beside the source's: the rowversion, spelled so that it sorts as its codec does; the order of arrival."""
_SEPARATOR = "|"


def make_dlt_source(database: Database, connector_name: str, slugs: tuple[str, ...], settings: Settings) -> Any:
    """A `DltSource` with a resource for each entity; all active ones where none is named.

    Raises:
        NotFoundError: there is no such connector or entity.
    """
    connector = get_connector(database, connector_name)
    if slugs:
        entities = [get_entity(database, connector_name, slug) for slug in slugs]
    else:
        known = list_entities(database, connector_name)
        entities = [entity for entity in known if entity.status is EntityStatus.ACTIVE]

    def resources() -> Iterator[Any]:
        for entity in entities:
            yield from _resources(database, connector, entity, settings)

    return dlt.source(resources, name=connector.name, section=connector.name, max_table_nesting=0)()


def _extraction(database: Database, connector: Connector, entity: Entity, settings: Settings) -> Extraction:
    """The read of an entity through its gate, with the values of masked columns hidden."""
    gate = prepare_gate(database, settings, entity)
    masked = gate.masked if gate is not None else frozenset()
    return Extraction(
        gate.entity if gate is not None else entity,
        open_source(database, connector, entity, settings, masked=masked),
        max_pages=settings.sources.max_pages,
        batch_rows=settings.runs.batch_rows,
        batch_bytes=settings.runs.batch_bytes,
        max_record_bytes=settings.runs.max_record_bytes,
        gate=gate,
    )


def _records(
    extraction: Extraction, entity: Entity, after: str | None, is_incremental: bool, waiting: list[pa.Table]
) -> Iterator[pa.Table]:
    """The records of a read as dlt gets them; `waiting` gets the rejects."""
    # One behind, so that all rejects are there before the last records, which take them along.
    last = _for_dlt(extraction.stored, extraction.no_records, Codec.TEXT if is_incremental else None)
    # Without a cursor all is read, and the table is replaced.
    for name, batch in extraction.batches(after=after, keyset=is_incremental, full=after is None):
        if name == entity.rejects_table:
            waiting.append(batch)
            continue
        if len(last):
            yield last
        last = _for_dlt(extraction.stored, batch, extraction.reading.codec if is_incremental else None)
    yield last


def _resources(database: Database, connector: Connector, entity: Entity, settings: Settings) -> tuple[Any, Any]:
    """The records of an entity, and what of them is rejected."""
    is_incremental = entity.delta_strategy is DeltaStrategy.ROWVERSION and entity.cursor_codec != Codec.OPAQUE
    waiting: list[pa.Table] = []

    def read(after: str | None) -> Iterator[pa.Table]:
        waiting.clear()
        yield from _records(_extraction(database, connector, entity, settings), entity, after, is_incremental, waiting)
        if waiting:
            logger.warning("%s: %d batches of rejects were left, since nobody reads them", entity.path, len(waiting))

    def incremental(
        cursor: Any = dlt.sources.incremental(  # noqa: B008 - dlt finds the cursor as the default of an argument
            POSITION, primary_key=(), range_start="open", on_cursor_value_missing="include"
        ),
    ) -> Iterator[pa.Table]:
        last = cursor.last_value
        yield from read(None if last is None else str(last).partition(_SEPARATOR)[2])

    def full() -> Iterator[pa.Table]:
        yield from read(None)

    def take_rejects(_: Any) -> Iterator[pa.Table]:
        while waiting:
            yield waiting.pop(0)

    records = dlt.resource(
        incremental if is_incremental else full,
        name=entity.target_table,
        write_disposition="merge" if is_incremental else "replace",
        primary_key=[column.target_name for column in entity.business_keys],
        columns=column_hints(entity, is_incremental=is_incremental),
    )
    rejects = dlt.transformer(
        take_rejects,
        data_from=records,
        name=f"{entity.target_table}__rejects",
        write_disposition="append" if is_incremental else "replace",
    )
    return records, rejects


def _for_dlt(entity: Entity, batch: pa.Table, codec: Codec | None) -> pa.Table:
    """A batch under the names of the table, without what only our own publish step needs."""
    columns = {ARRIVAL: batch["arrival"]}
    if codec is not None:
        positions = [None if one is None else position_of(codec, one) for one in batch["rowversion"].to_pylist()]
        columns[POSITION] = pa.array(positions, pa.string())
    for index, column in enumerate(entity.columns):
        values = batch[f"c{index}"]
        columns[column.target_name] = _bytes_of(values) if column.type.kind is Kind.BYTES else values
    return pa.table(columns)


def _bytes_of(texts: pa.ChunkedArray) -> pa.Array:
    values = (None if text is None else bytes.fromhex(text[2:]) for text in texts.to_pylist())
    return pa.array(values, pa.binary())


def position_of(codec: Codec, rowversion: str) -> str:
    """A text that sorts byte by byte as the codec sorts the rowversion, which follows it."""
    key = order_key(codec, rowversion)
    if isinstance(key, bytes):
        shown = key.hex()
    elif isinstance(key, int):
        shown = _sortable(key)
    elif isinstance(key, datetime):
        shown = key.isoformat(timespec="microseconds")
    elif isinstance(key, tuple):
        moment, nanoseconds = key
        shown = f"{moment.isoformat(timespec='seconds')}.{nanoseconds:09d}"
    else:
        shown = str(key)
    return f"{shown}{_SEPARATOR}{rowversion}"


def _sortable(number: int) -> str:
    digits = str(abs(number))
    if number >= 0:
        return f"1{len(digits):05d}{digits}"
    complement = "".join(str(9 - int(digit)) for digit in digits)
    return f"0{99_999 - len(digits):05d}{complement}"


def column_hints(entity: Entity, *, is_incremental: bool) -> dict[str, Any]:
    """What dlt gets for each column."""
    hints: dict[str, Any] = {
        column.target_name: {"nullable": column.is_nullable, **_hint(column.type)} for column in entity.columns
    }
    hints[ARRIVAL] = {"data_type": "bigint", "nullable": False, "dedup_sort": "desc"}
    if is_incremental:
        hints[POSITION] = {"data_type": "text", "nullable": True}
    return hints


def _hint(column_type: ColumnType) -> dict[str, Any]:
    match column_type.kind:
        case kind if kind in INTEGER_BITS:
            return {"data_type": "bigint", "precision": INTEGER_BITS[kind]}
        case Kind.NUMERIC if not column_type.is_number_text:
            return {"data_type": "decimal", "precision": column_type.precision, "scale": column_type.scale or 0}
        case Kind.DOUBLE | Kind.REAL:
            return {"data_type": "double"}
        case Kind.BOOLEAN:
            return {"data_type": "bool"}
        case Kind.DATE:
            return {"data_type": "date"}
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return {"data_type": "timestamp", "timezone": column_type.kind is Kind.TIMESTAMPTZ, "precision": 6}
        case Kind.BYTES:
            return {"data_type": "binary"}
    return {"data_type": "text"}
