"""Records as the source sent them, of those that PostgreSQL may refuse after their page is gone.

Whether a row fits a page of PostgreSQL, or a value into jsonb, only PostgreSQL can tell, and it does so when the run
publishes. Records that are large enough for it wait in a file of the run, so that the quarantine gets them byte for
byte.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.types import Kind

SCHEMA = pa.schema(
    [("arrival", pa.int64()), ("page", pa.int64()), ("position", pa.int64()), ("record", pa.large_binary())]
)
# A value takes at most 24 bytes of a page of 8160 when PostgreSQL moves it out, so that fewer columns always fit.
MANY_COLUMNS = 200
# The smallest JSON whose row can fill a page: 6 letters ("a":1,) for each 8 bytes of a row.
WIDE_RECORD_CHARACTERS = 4_000
# An entry of an index has at most 2704 bytes, and a letter up to four.
INDEXED_RECORD_CHARACTERS = 600
# The smallest JSON that can be more than the 256 MB of a jsonb or the 1 GB that PostgreSQL parses it in: 32 bytes of
# memory a byte.
JSON_RECORD_CHARACTERS = 8 * 1024 * 1024


@dataclass(frozen=True)
class Original:
    """One record as it came, with its place in the run; no page where only the order of arrival is known."""

    page: int | None
    position: int
    record: bytes


def kept_from_characters(entity: Entity, *, has_other_indexes: bool, has_checks: bool) -> int | None:
    """How large a record must be to be kept as it was sent; None where no record of the entity can be refused later.

    Args:
        entity: as its table in PostgreSQL has it.
        has_other_indexes: the table has indexes that are not ours.
        has_checks: the table has a CHECK, which may refuse any record.
    """
    if has_checks:
        return 0
    if has_other_indexes:
        return INDEXED_RECORD_CHARACTERS
    if len(entity.columns) >= MANY_COLUMNS:
        return WIDE_RECORD_CHARACTERS
    return JSON_RECORD_CHARACTERS if any(column.type.kind is Kind.JSON for column in entity.columns) else None


class Originals:
    """The originals of one run, in memory until its working folder is there."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._path: Path | None = None
        self._writer: Any = None
        # First number of arrival of each group of rows in the file, ascending; a publish may look for many records.
        self._starts: list[int] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Keep records: dictionaries with the names of SCHEMA."""
        if rows:
            self._waiting.append(pa.Table.from_pylist(rows, schema=SCHEMA))
            self._write()

    @contextmanager
    def writing(self, folder: Path) -> Iterator[None]:
        """Write what is kept, and what comes, into a folder of the run; left when the source is read.

        Raises:
            OSError: the disk is full.
        """
        self._path = folder / "originals.parquet"
        with pq.ParquetWriter(self._path, SCHEMA, compression="none", use_dictionary=False) as self._writer:
            self._write()
            yield
        self._writer = None

    def _write(self) -> None:
        while self._writer is not None and self._waiting:
            table = self._waiting.pop(0)
            self._writer.write_table(table, row_group_size=len(table))
            self._starts.append(table["arrival"][0].as_py())

    def find(self, arrival: int) -> Original | None:
        """The record with a number of arrival; None when it is not kept."""
        group = bisect.bisect_right(self._starts, arrival) - 1
        if self._path is None or group < 0:
            return None
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            found = file.read_row_group(group)
        rows = found.filter(pc.equal(found["arrival"], arrival)).to_pylist()
        return Original(rows[0]["page"], rows[0]["position"], rows[0]["record"]) if rows else None
