"""Arrow batches as CSV that COPY reads: the cheapest way into PostgreSQL."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from sync_pipelines.model.quoting import quote

_OPTIONS = pa_csv.WriteOptions(include_header=False)


def csv_of(batch: pa.RecordBatch) -> memoryview:
    """A batch as CSV that COPY reads exactly: null is empty, an empty text is quoted."""
    text = io.BytesIO()
    pa_csv.write_csv(batch, text, _OPTIONS)
    return text.getbuffer()


def copy_statement(schema: str, table: str, columns: Sequence[str]) -> str:
    """COPY of the text of `csv_of` into some columns of a table."""
    return f"COPY {quote(schema, table)} ({', '.join(map(quote, columns))}) FROM STDIN (FORMAT csv)"


def copy_batches(cursor: Any, statement: str, batches: Iterable[pa.RecordBatch]) -> int:
    """Run one COPY over all batches, which are asked for while it runs.

    Returns:
        Rows that PostgreSQL counted.

    Raises:
        psycopg.Error: PostgreSQL took none of the rows; the transaction is broken.
    """
    with cursor.copy(statement) as copy:
        for batch in batches:
            if batch.num_rows:
                copy.write(csv_of(batch))
    return int(cursor.rowcount)
