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
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.staged import records_schema
from sync_pipelines.model.types import INTEGER_BITS, Kind
from sync_pipelines.secrets import printable

# What is wrong with a record and not with the database; a row that fills more than a page is "program limit exceeded".
_REFUSALS = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
# A value for which PostgreSQL would need more than 1 GB at once, such as an array of 20 million numbers in jsonb.
_TOO_LARGE = "invalid memory alloc request size"
_LITERALS = {Kind.JSON, Kind.BOOLEAN, Kind.NUMERIC, Kind.DOUBLE, Kind.REAL, *INTEGER_BITS}
Batches = Callable[[], Iterable[pa.RecordBatch]]
_any = msgspec.json.Decoder(msgspec.Raw)


def is_refusal(error: BaseException) -> bool:
    """Whether PostgreSQL's error is about a record, and not about the database."""
    return isinstance(error, _REFUSALS) or (
        isinstance(error, psycopg.errors.InternalError_) and _TOO_LARGE in str(error)
    )


def records_statement(entity: Entity) -> str:
    """COPY of staged records into their staging table."""
    return copy_statement(entity.staging_schema, entity.records_table, records_schema(entity).names)


def target_statement(entity: Entity) -> str:
    """COPY of the batches of `target_rows` into the target."""
    names = [
        *(column.target_name for column in entity.columns),
        "_bridge_hash",
        "_bridge_rowversion",
    ]
    names += entity.flags.values()
    return copy_statement(entity.target_schema, entity.target_table, names)


def target_rows(batch: pa.RecordBatch, entity: Entity) -> pa.RecordBatch:
    """A batch of staged records as rows of the target: its columns, the hash with its fingerprint, the rowversion."""
    content = [batch.column(f"c{index}") for index in range(len(entity.columns))]
    hashes = pc.binary_join_element_wise(f"{entity.columns_fingerprint}:", batch.column("hash"), "")
    arrays = [
        *content,
        hashes,
        batch.column("rowversion"),
        *(batch.column(name) for name in entity.flags),
    ]
    return pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])


def copy_refusing(cursor: Any, batches: Batches, entity: Entity, originals: Originals) -> int:
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
    cursor: Any, batches: Iterable[pa.RecordBatch], entity: Entity, originals: Originals
) -> int:
    """COPY records into staging, and set aside those that PostgreSQL refuses.

    Returns:
        Number of records set aside, now in the staging table of rejects.
    """
    return sum(_copy_batch(cursor, batch, entity, originals) for batch in batches)


def _copy_batch(cursor: Any, batch: pa.RecordBatch, entity: Entity, originals: Originals) -> int:
    statement = records_statement(entity)

    def write(start: int, stop: int) -> int:
        return copy_batches(cursor, statement, [batch.slice(start, stop - start)])

    _, refused = write_by_halves(cursor, batch.num_rows, write, is_refusal)
    for place, error in refused:
        row = {
            name: array[place : place + 1].cast(pa.string())[0].as_py()
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        }
        reason = f"PostgreSQL refuses it: {printable(str(error).splitlines()[0], 300)}"
        set_row_aside(cursor, row, entity, reason, originals)
    return len(refused)


def set_row_aside(
    cursor: Any, row: dict[str, str | None], entity: Entity, reason: str, originals: Originals
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
    original = originals.find(arrival) or Original(None, arrival, _rebuilt(row, entity))
    keys = [
        row[f"c{index}"] for index, column in enumerate(entity.columns) if column.is_business_key
    ]
    cursor.execute(
        f"INSERT INTO {quote(entity.staging_schema, entity.rejects_table).replace('%', '%%')}"
        " (page, position, reason, business_key, rowversion, fingerprint, record) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            original.page,
            original.position,
            reason,
            json.dumps(keys),
            row["rowversion"],
            hashlib.sha256(original.record).hexdigest(),
            original.record,
        ),
    )


def _rebuilt(row: dict[str, str | None], entity: Entity) -> bytes:
    """A record with the values of its row, in the form in which the source sends it."""
    values = {column: row[f"c{index}"] for index, column in enumerate(entity.columns)}
    members = (
        f"{json.dumps(column.name)}: {_literal(text, column)}" for column, text in values.items()
    )
    return f'{{"row_version": {json.dumps(row["rowversion"])}, "data": {{{", ".join(members)}}}}}'.encode()


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
