"""COPY of records into staging or into the target.

A row that PostgreSQL refuses although its types fit (a JSON number beyond NUMERIC, say) is found by halving, set aside
as a reject, and the others pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.books.copying import copy_batches, copy_statement
from sync_pipelines.books.originals import Original, Originals
from sync_pipelines.destinations.postgres.halving import write_by_halves
from sync_pipelines.destinations.rows import record_columns
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.staged import records_schema, staged_keys, staged_places
from sync_pipelines.model.tables import rejects_of
from sync_pipelines.model.types import INTEGER_BITS, Kind
from sync_pipelines.secrets import printable

# What is wrong with a record and not with the database; a row that fills more than a page is "program limit exceeded".
_REFUSALS = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
# A value for which PostgreSQL would need more than 1 GB at once, such as an array of 20 million numbers in jsonb.
_TOO_LARGE = "invalid memory alloc request size"
_LITERALS = {
    Kind.JSON,
    Kind.BOOLEAN,
    Kind.NUMERIC,
    Kind.DOUBLE,
    Kind.REAL,
    *INTEGER_BITS,
}
Batches = Callable[[], Iterable[pa.RecordBatch]]
_any = msgspec.json.Decoder(msgspec.Raw)


def is_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL's error is about a record, and not about the database."""
    if isinstance(error, psycopg.errors.InternalError_):
        return _TOO_LARGE in str(error)
    return isinstance(error, _REFUSALS)


def records_statement(entity: Entity) -> str:
    """COPY of staged records into their staging table."""
    names = records_schema(entity).names
    return copy_statement(entity.staging_schema, entity.records_table, names)


def target_statement(entity: Entity) -> str:
    """COPY of the batches of `target_rows` into the target."""
    names = record_columns(entity)
    return copy_statement(entity.target_schema, entity.target_table, names)


def target_rows(batch: pa.RecordBatch, entity: Entity) -> pa.RecordBatch:
    """A batch of staged records as rows of the target, in the order of `destinations.rows.record_columns`."""
    places = staged_places(entity).values()
    arrays = [batch.column(name) for name in (*places, *entity.flags)]
    prefix = f"{entity.columns_fingerprint}:"
    hashes = pc.binary_join_element_wise(prefix, batch.column("hash"), "")
    arrays.append(hashes)
    arrays.append(batch.column("rowversion"))
    names = record_columns(entity)
    return pa.record_batch(arrays, names=names)


def copy_refusing(
    cursor: Any,
    batches: Batches,
    entity: Entity,
    originals: Originals,
) -> int:
    """COPY records into staging, the quick way if PostgreSQL takes them all.

    Args:
        cursor: of the transaction that stages.
        batches: gives the batches of records; asked a second time where PostgreSQL refuses one of them.
        entity: of the records.
        originals: of the run.

    Returns:
        Number of records set aside, now in the staging table of rejects.
    """
    cursor.execute("SAVEPOINT before_records")
    try:
        copy_batches(cursor, records_statement(entity), batches())
    except psycopg.Error as error:
        if not is_refusal(error):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT before_records")
        return copy_by_halves(cursor, batches(), entity, originals)
    cursor.execute("RELEASE SAVEPOINT before_records")
    return 0


def copy_by_halves(
    cursor: Any,
    batches: Iterable[pa.RecordBatch],
    entity: Entity,
    originals: Originals,
) -> int:
    """COPY records into staging, and set aside those that PostgreSQL refuses.

    Returns:
        Number of records set aside, now in the staging table of rejects.
    """
    refused = 0
    for batch in batches:
        refused += _copy_batch(cursor, batch, entity, originals)
    return refused


def _copy_batch(
    cursor: Any,
    batch: pa.RecordBatch,
    entity: Entity,
    originals: Originals,
) -> int:
    statement = records_statement(entity)

    def write(start: int, stop: int) -> int:
        part = batch.slice(start, stop - start)
        return copy_batches(cursor, statement, [part])

    _, refused = write_by_halves(cursor, batch.num_rows, write, is_refusal)
    for place, error in refused:
        first_line = str(error).splitlines()[0]
        reason = f"PostgreSQL refuses it: {printable(first_line, 300)}"
        row = _row_texts(batch, place)
        set_row_aside(cursor, row, entity, reason, originals)
    return len(refused)


def _row_texts(batch: pa.RecordBatch, place: int) -> dict[str, str | None]:
    """One row of a batch as texts by the names of its columns."""
    texts = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        value = array[place : place + 1].cast(pa.string())
        texts[name] = value[0].as_py()
    return texts


def set_row_aside(
    cursor: Any,
    row: dict[str, str | None],
    entity: Entity,
    reason: str,
    originals: Originals,
) -> None:
    """Put a staged record into the staging table of rejects, as it was sent where that is kept, else rebuilt from its
    columns.

    Args:
        cursor: of the transaction that stages.
        row: its texts by the names of `model.staged.records_schema`.
        entity: of the record.
        reason: why it is refused.
        originals: of the run.
    """
    arrival = int(row["arrival"] or 0)
    original = originals.find(arrival)
    if original is None:
        record = _rebuilt(row, entity)
        original = Original(None, arrival, record)
    key = [row[name] for name in staged_keys(entity)]
    reject = {
        "page": original.page,
        "position": original.position,
        "reason": reason,
        "business_key": json.dumps(key),
        "rowversion": row["rowversion"],
        "fingerprint": hashlib.sha256(original.record).hexdigest(),
        "record": original.record,
    }
    rejects = rejects_of(entity).replace("%", "%%")
    places = ", ".join("%s" for _ in reject)
    cursor.execute(
        f"INSERT INTO {rejects} ({', '.join(reject)}) VALUES ({places})",
        list(reject.values()),
    )


def _rebuilt(row: dict[str, str | None], entity: Entity) -> bytes:
    """A record with the values of its row, in the form in which the source sends it."""
    places = staged_places(entity)
    members = []
    for column in entity.columns:
        text = row[places[column.name]]
        value = _literal(text, column)
        members.append(f"{json.dumps(column.name)}: {value}")
    rowversion = json.dumps(row["rowversion"])
    return f'{{"row_version": {rowversion}, "data": {{{", ".join(members)}}}}}'.encode()


def _literal(text: str | None, column: Column) -> str:
    """A canonical text as JSON."""
    if text is None:
        return "null"
    if column.type.kind not in _LITERALS:
        return json.dumps(text)
    try:
        _any.decode(text)
    except msgspec.MsgspecError:
        return json.dumps(text)
    return text
