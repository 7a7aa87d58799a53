"""Batches on disk until they are published: what the destination could not take while they were read is copied from
here.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

# Written once and read at most once, on this machine: size does not matter, time does.
_CHEAP = {"compression": "none", "use_dictionary": False, "write_statistics": False}


class Spool:
    """One Parquet file per staging table, written batch by batch.

    Attributes:
        rows: records per table.
    """

    def __init__(self, folder: Path) -> None:
        self.rows: dict[str, int] = {}
        self.schemas: dict[str, pa.Schema] = {}
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def path(self, table: str) -> Path:
        """The file of a staging table."""
        return self._folder / f"spool_{list(self.rows).index(table)}.parquet"

    def write(self, table: str, batch: pa.Table) -> None:
        """Add a batch to the table's file.

        Raises:
            OSError: the disk is full.
        """
        if table not in self._writers:
            self.rows[table], self.schemas[table] = 0, batch.schema
            self._writers[table] = self._open.enter_context(pq.ParquetWriter(self.path(table), batch.schema, **_CHEAP))
        self._writers[table].write_table(batch)
        self.rows[table] += len(batch)
