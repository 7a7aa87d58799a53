"""Batches of a run until they are published: for staging, and for the fallback of a stream that was refused.

A small run stays in memory. What is more than `MEMORY_BYTES` goes into one Parquet file a staging table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines.destinations.spools import RunFolder

MEMORY_BYTES = 16 * 1024 * 1024
BATCH_ROWS = 20_000
# Written once and read at most once, on this machine: size does not matter, time does.
_CHEAP = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
}


class Spool:
    """The batches of one run by staging table.

    Args:
        folder: of the run.
        name: begins the names of the files.

    Attributes:
        rows: records per table.
    """

    def __init__(self, folder: RunFolder, name: str = "spool") -> None:
        self.rows: dict[str, int] = {}
        self._folder = folder
        self._name = name
        self._kept: dict[str, list[pa.Table]] = {}
        self._kept_bytes = 0
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the writing; the batches can be read from now on."""
        self._open.close()

    def beside(self, name: str) -> Spool:
        """Another spool in the same folder."""
        return Spool(self._folder, name)

    def write(self, table: str, batch: pa.Table) -> None:
        """Add a batch to a table.

        Raises:
            OSError: the disk is full.
        """
        before = self.rows.get(table, 0)
        self.rows[table] = before + len(batch)
        kept = self._kept.setdefault(table, [])
        kept.append(batch)
        self._kept_bytes += batch.nbytes
        if self._writers or self._kept_bytes > MEMORY_BYTES:
            self._write_kept()

    def file(self, table: str) -> Path | None:
        """The file of a table; None where it is in memory."""
        if table not in self._writers:
            return None
        return self._path(table)

    def batches(self, table: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The batches of a table, of some columns or all; none when nothing was written.

        Raises:
            OSError, pyarrow.ArrowException: the file cannot be read.
        """
        if table not in self.rows:
            return
        path = self.file(table)
        if path is None:
            for kept in self._kept[table]:
                wanted = kept if columns is None else kept.select(columns)
                yield from wanted.to_batches(max_chunksize=BATCH_ROWS)
            return
        # With pre-buffering the whole file would be in memory.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)

    def _path(self, table: str) -> Path:
        place = list(self.rows).index(table)
        return self._folder.path / f"{self._name}_{place}.parquet"

    def _write_kept(self) -> None:
        for table, batches in self._kept.items():
            for batch in batches:
                self._writer(table, batch.schema).write_table(batch)
        self._kept = {}
        self._kept_bytes = 0

    def _writer(self, table: str, schema: pa.Schema) -> pq.ParquetWriter:
        """What writes the file of a table; made with its first batch."""
        writer = self._writers.get(table)
        if writer is None:
            writer = pq.ParquetWriter(self._path(table), schema, **_CHEAP)
            self._open.enter_context(writer)
            self._writers[table] = writer
        return writer
