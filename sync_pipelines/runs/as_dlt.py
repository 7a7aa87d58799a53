"""The entities of a connector as a dlt source, for any pipeline and any destination of dlt.

It reads by the same `Extraction` as our own runs, through the same gate. What a dlt pipeline keeps of it is dlt's: the
position is in the state of the pipeline, records are counted by dlt, and what is read twice is merged by the business
key. Rejects are not left out: they go into a second table.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity, list_entities
from sync_pipelines.catalog.runs import last_details
from sync_pipelines.errors import CursorProtocolError, SourceContractError, UnsortedPageError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.entity import Connector, DeltaStrategy, Entity, EntityStatus
from sync_pipelines.model.types import INTEGER_BITS, ColumnType, Kind
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.registry import open_source, source_kind

logger = logging.getLogger(__name__)

# Columns beside the source's.
POSITION = "_bridge_position"  # the rowversion, spelled so that it sorts as its codec does
ARRIVAL = "_bridge_arrival"  # the order in which records came
_SEPARATOR = "|"
_CODEC = "codec"


def make_dlt_source(
    database: Database, connector_name: str, slugs: tuple[str, ...], settings: Settings
) -> Any:
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


def _extraction(
    database: Database, connector: Connector, entity: Entity, settings: Settings
) -> Extraction:
    """The read of an entity through its gate, with the values of masked columns hidden."""
    gate = prepare_gate(database, settings, entity)
    masked = gate.masked if gate is not None else frozenset()
    context = ReadContext(database, connector, entity, settings, masked)
    return Extraction(
        gate.entity if gate is not None else entity,
        open_source(context),
        max_pages=settings.sources.max_pages,
        batch_rows=settings.runs.batch_rows,
        batch_bytes=settings.runs.batch_bytes,
        max_record_bytes=settings.runs.max_record_bytes,
        gate=gate,
    )


def _records(
    extraction: Extraction,
    entity: Entity,
    after: str | None,
    waiting: list[pa.Table],
    *,
    in_order: bool,
) -> Iterator[pa.Table]:
    """The records of a read by rowversions as dlt gets them; `waiting` gets the rejects."""
    # One behind, so that all rejects are there before the last records, which take them along.
    last = _for_dlt(extraction.stored, extraction.no_records, Codec.TEXT)
    batches = extraction.batches(after=after, keyset=True, full=after is None, in_order=in_order)
    try:
        for name, batch in batches:
            codec = extraction.reading.codec
            if codec is Codec.OPAQUE:
                raise _unordered(entity)
            if name == entity.rejects_table:
                waiting.append(batch)
                continue
            if len(last):
                yield last
            last = _for_dlt(extraction.stored, batch, codec or Codec.TEXT)
    except UnsortedPageError as error:
        error.next_command = f"sync-pipelines sync {entity.path}, which notes that its source is not sorted, and again"
        raise
    _check_whole(extraction, entity)
    yield last


def _all_records(
    extraction: Extraction, entity: Entity, waiting: list[pa.Table]
) -> Iterator[pa.Table]:
    """The records of a whole read, each key once and as it came last; nothing before the read is known to be whole.

    The table is replaced without a look at keys, so what was read twice would be there twice.
    """
    keys = [f"c{place}" for place, column in enumerate(entity.columns) if column.is_business_key]
    last: dict[tuple[Any, ...], int] = {}
    with tempfile.TemporaryFile() as file:
        with pa.ipc.new_file(file, extraction.no_records.schema) as spool:
            for name, batch in extraction.batches(after=None, keyset=False, full=True):
                if name == entity.rejects_table:
                    waiting.append(batch)
                    continue
                spool.write_table(batch)
                key_columns = [batch[key].to_pylist() for key in keys]
                key_values = zip(*key_columns, strict=True)
                arrivals = batch["arrival"].to_pylist()
                last.update(zip(key_values, arrivals, strict=True))
        _check_whole(extraction, entity)
        file.seek(0)
        newest = pa.array(last.values(), pa.int64())
        with pa.ipc.open_file(file) as spooled:
            # With no record dlt still gets the columns, and empties the table.
            yield _for_dlt(extraction.stored, extraction.no_records, None)
            for place in range(spooled.num_record_batches):
                table = pa.Table.from_batches([spooled.get_batch(place)])
                table = table.filter(pc.is_in(table["arrival"], value_set=newest))
                if len(table):
                    yield _for_dlt(extraction.stored, table, None)


def _check_whole(extraction: Extraction, entity: Entity) -> None:
    """Log what the read warns of, and refuse one that may lack records.

    Raises:
        SourceContractError: the source changed while it was read, so that its end is not sure.
    """
    for warning in extraction.reading.warnings:
        logger.warning("%s: %s", entity.path, warning)
    if extraction.moved or not extraction.reading.drained:
        warnings = "; ".join(extraction.reading.warnings)
        raise SourceContractError(
            f"The source changed while it was read, so records may be missing: {warnings}.",
            where=dict(entity.where),
            state="The dlt pipeline loads nothing of this read.",
            next_command="run the pipeline again when the source is quiet",
        )


def _unordered(entity: Entity) -> CursorProtocolError:
    return CursorProtocolError(
        "Only the source knows the order of its rowversions, so dlt cannot follow them.",
        where=dict(entity.where),
        state="The dlt pipeline loads nothing of this read.",
        next_command=f"sync-pipelines sync {entity.path}, which stores that; then dlt gets all records each time",
    )


def _pinned(entity: Entity, state: dict[str, Any]) -> Entity:
    """The entity with the codec by which the positions in the pipeline's state are spelled.

    Raises:
        CursorProtocolError: its codec is another one by now.
    """
    pinned = state.get(_CODEC)
    if pinned is None or entity.position.cursor_codec == pinned:
        return entity
    if entity.position.cursor_codec is None:
        return replace(entity, position=replace(entity.position, cursor_codec=Codec(pinned)))
    raise CursorProtocolError(
        f"Rowversions are compared as {entity.position.cursor_codec} now,"
        f" and the position of the pipeline is of {pinned}.",
        where=dict(entity.where),
        state="The dlt pipeline loads nothing of this read.",
        next_command='run the pipeline once with refresh="drop_resources"',
    )


def _is_in_order(database: Database, connector: Connector, entity: Entity) -> bool:
    """False where our own runs noted that the source does not sort its pages by rowversion."""
    if source_kind(connector).is_declared:
        return True
    with database.connect() as connection:
        return not last_details(connection, entity).get("unsorted")


def _resources(
    database: Database, connector: Connector, entity: Entity, settings: Settings
) -> tuple[Any, Any]:
    """The records of an entity, and what of them is rejected."""
    is_incremental = (
        entity.delta_strategy is DeltaStrategy.ROWVERSION
        and entity.position.cursor_codec != Codec.OPAQUE
    )
    waiting: list[pa.Table] = []

    def warn_of_unread() -> None:
        if waiting:
            logger.warning(
                "%s: %d batches of rejects were left, since nobody reads them",
                entity.path,
                len(waiting),
            )

    def incremental(
        cursor: Any = dlt.sources.incremental(  # noqa: B008 - dlt finds the cursor as the default of an argument
            POSITION, primary_key=(), range_start="open", on_cursor_value_missing="include"
        ),
    ) -> Iterator[pa.Table]:
        waiting.clear()
        state = dlt.current.resource_state()
        extraction = _extraction(database, connector, _pinned(entity, state), settings)
        after = None if cursor.last_value is None else _rowversion_in(str(cursor.last_value))
        in_order = _is_in_order(database, connector, entity)
        yield from _records(extraction, entity, after, waiting, in_order=in_order)
        if extraction.reading.codec is not None:
            state[_CODEC] = str(extraction.reading.codec)
        warn_of_unread()

    def full() -> Iterator[pa.Table]:
        waiting.clear()
        extraction = _extraction(database, connector, entity, settings)
        yield from _all_records(extraction, entity, waiting)
        warn_of_unread()

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
        rowversions = batch["rowversion"].to_pylist()
        positions = [None if one is None else position_of(codec, one) for one in rowversions]
        columns[POSITION] = pa.array(positions, pa.string())
    for index, column in enumerate(entity.columns):
        values = batch[f"c{index}"]
        is_bytes = column.type.kind is Kind.BYTES
        columns[column.target_name] = _bytes_of(values) if is_bytes else values
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


def _rowversion_in(position: str) -> str:
    """The rowversion at the end of a position."""
    return position.partition(_SEPARATOR)[2]


def _sortable(number: int) -> str:
    digits = str(abs(number))
    if number >= 0:
        return f"1{len(digits):05d}{digits}"
    complement = "".join(str(9 - int(digit)) for digit in digits)
    return f"0{99_999 - len(digits):05d}{complement}"


def column_hints(entity: Entity, *, is_incremental: bool) -> dict[str, Any]:
    """What dlt gets for each column."""
    hints: dict[str, Any] = {
        column.target_name: {"nullable": column.is_nullable, **_hint(column.type)}
        for column in entity.columns
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
            return {
                "data_type": "decimal",
                "precision": column_type.precision,
                "scale": column_type.scale or 0,
            }
        case Kind.DOUBLE | Kind.REAL:
            return {"data_type": "double"}
        case Kind.BOOLEAN:
            return {"data_type": "bool"}
        case Kind.DATE:
            return {"data_type": "date"}
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return {
                "data_type": "timestamp",
                "timezone": column_type.kind is Kind.TIMESTAMPTZ,
                "precision": 6,
            }
        case Kind.BYTES:
            return {"data_type": "binary"}
    return {"data_type": "text"}
