"""Parquet to CSV to COPY: the cheapest way in, and it names the row when PostgreSQL refuses one.

A row that PostgreSQL refuses although its types fit (a JSON number beyond NUMERIC, say) is found by halving, set aside
as a reject, and the others pass.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sync_pipelines.load.postgres.quoting import quote
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.staged import records_schema
from sync_pipelines.secrets import printable

BATCH_ROWS = 20_000
# What is wrong with a record and not with the database; a row that fills more than a page is "program limit exceeded".
REFUSALS = (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded)
_OPTIONS = pa_csv.WriteOptions(include_header=False)


class CsvStream(io.RawIOBase):
    """Batches as CSV text, converted one by one while COPY reads them."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._text = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes of text; no bytes at the end."""
        if not self._text:
            batch = next(self._batches, None)
            if batch is None:
                return b""
            self._text = memoryview(csv_of(batch))
        chunk = self._text[:size] if size >= 0 else self._text
        self._text = self._text[len(chunk) :]
        return bytes(chunk)


def _open(path: str) -> pq.ParquetFile:
    """A file whose batches are read as they are asked for; with pre-buffering the whole file would stand in memory."""
    return pq.ParquetFile(path, pre_buffer=False)


def copy_parquet(cursor: Any, path: str, schema: str, table: str) -> None:
    """COPY a whole file into a table with the same column names.

    Raises:
        psycopg2.Error: one of REFUSALS when a row was refused; the transaction is broken.
    """
    file = _open(path)
    batches = (batch for batch in file.iter_batches(batch_size=BATCH_ROWS) if batch.num_rows)
    cursor.copy_expert(_statement(schema, table, file.schema_arrow.names), CsvStream(batches), size=1 << 18)


def records_statement(entity: Entity) -> str:
    """COPY of staged records into their staging table."""
    return _statement(entity.staging_schema, entity.records_table, records_schema(entity).names)


def target_statement(entity: Entity) -> str:
    """COPY of the batches of `target_rows` into the target."""
    names = [*(column.target_name for column in entity.columns), "_bridge_hash", "_bridge_rowversion"]
    names += entity.flags.values()
    return _statement(entity.target_schema, entity.target_table, names)


def target_rows(batch: pa.RecordBatch, entity: Entity) -> pa.RecordBatch:
    """A batch of staged records as rows of the target: its columns, the hash with its fingerprint, the rowversion."""
    content = [batch.column(f"c{index}") for index in range(len(entity.columns))]
    hashes = pc.binary_join_element_wise(f"{entity.columns_fingerprint}:", batch.column("hash"), "")
    arrays = [*content, hashes, batch.column("rowversion"), *(batch.column(name) for name in entity.flags)]
    return pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])


def copy_refusing(cursor: Any, path: str, entity: Entity) -> int:
    """COPY the records of a file into staging, the quick way if PostgreSQL takes them all.

    Returns:
        Number of records set aside, now in the staging table of rejects.
    """
    cursor.execute("SAVEPOINT before_file")
    try:
        copy_parquet(cursor, path, entity.staging_schema, entity.records_table)
    except REFUSALS:
        cursor.execute("ROLLBACK TO SAVEPOINT before_file")
        return copy_by_halves(cursor, path, entity)
    cursor.execute("RELEASE SAVEPOINT before_file")
    return 0


def copy_by_halves(cursor: Any, path: str, entity: Entity) -> int:
    """COPY the records of a file and set aside those that PostgreSQL refuses.

    Returns:
        Number of records set aside, now in the staging table of rejects.
    """
    refused = 0
    for batch in _open(path).iter_batches(batch_size=BATCH_ROWS):
        refused += _copy_batch(cursor, batch, entity)
    return refused


def _copy_batch(cursor: Any, batch: pa.RecordBatch, entity: Entity) -> int:
    if batch.num_rows == 0:
        return 0
    cursor.execute("SAVEPOINT before_batch")
    try:
        statement = _statement(entity.staging_schema, entity.records_table, batch.schema.names)
        cursor.copy_expert(statement, io.BytesIO(csv_of(batch)))
    except REFUSALS as error:
        cursor.execute("ROLLBACK TO SAVEPOINT before_batch")
        if batch.num_rows == 1:
            _set_aside(cursor, batch, entity, str(error))
            return 1
        middle = batch.num_rows // 2
        return _copy_batch(cursor, batch.slice(0, middle), entity) + _copy_batch(cursor, batch.slice(middle), entity)
    cursor.execute("RELEASE SAVEPOINT before_batch")
    return 0


def _set_aside(cursor: Any, batch: pa.RecordBatch, entity: Entity, message: str) -> None:
    row = {name: array.cast(pa.string())[0].as_py() for name, array in zip(batch.schema.names, batch.columns, strict=True)}
    set_row_aside(cursor, row, entity, f"PostgreSQL refuses it: {printable(message.splitlines()[0], 300)}")


def set_row_aside(cursor: Any, row: dict[str, str | None], entity: Entity, reason: str) -> None:
    """Put a staged record into the staging table of rejects.

    Args:
        cursor: of the transaction that stages.
        row: its texts by the names of `model.staged.records_schema`.
        entity: of the record.
        reason: why it is refused.
    """
    names = {f"c{index}": column.name for index, column in enumerate(entity.columns)}
    # Without its place in the run, so that the same record read again is known again.
    left_out = {"arrival", "hash", *entity.flags}
    record = json.dumps({names.get(name, name): value for name, value in row.items() if name not in left_out})
    keys = [row[f"c{index}"] for index, column in enumerate(entity.columns) if column.is_business_key]
    cursor.execute(
        f"INSERT INTO {quote(entity.staging_schema, entity.rejects_table).replace('%', '%%')}"
        " (position, reason, business_key, rowversion, fingerprint, record) VALUES (%s, %s, %s, %s, %s, %s)",
        (
            row["arrival"],
            reason,
            json.dumps(keys),
            row["rowversion"],
            hashlib.sha256(record.encode()).hexdigest(),
            psycopg2.Binary(record.encode()),
        ),
    )


def csv_of(batch: pa.RecordBatch) -> bytes:
    """A batch as CSV that COPY reads exactly: null is empty, an empty text is quoted."""
    text = io.BytesIO()
    pa_csv.write_csv(batch, text, _OPTIONS)
    return text.getvalue()


def _statement(schema: str, table: str, columns: list[str]) -> str:
    return f"COPY {quote(schema, table)} ({', '.join(map(quote, columns))}) FROM STDIN (FORMAT csv)"
