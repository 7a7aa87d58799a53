"""Records as the source sent them, of those that PostgreSQL may refuse after their page is gone.

Whether a row fits a page of PostgreSQL, or a value into jsonb, only PostgreSQL decides, and only when the run
publishes.
Records that are large enough for it are kept until then, so that the quarantine gets them byte for byte.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.types import Kind

SCHEMA = pa.schema(
    [
        ("arrival", pa.int64()),
        ("page", pa.int64()),
        ("position", pa.int64()),
        ("record", pa.large_binary()),
    ]
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

MEMORY_BYTES = 8 * 1024 * 1024
"""Beyond so many bytes they go into a file."""


@dataclass(frozen=True)
class Original:
    """One record as it came, with its place in the run; no page where only the order of arrival is known."""

    page: int | None
    position: int
    record: bytes


def kept_from_characters(
    entity: Entity,
    *,
    has_other_indexes: bool,
    has_checks: bool,
) -> int | None:
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
    return (
        JSON_RECORD_CHARACTERS
        if any(column.type.kind is Kind.JSON for column in entity.columns)
        else None
    )


class Originals:
    """The originals of one run: in memory while they are few, else in a file of the run.

    Args:
        folder: gives the folder of the run; asked for when the file is needed.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._kept: list[pa.Table] = []
        self._kept_bytes = 0
        self._path: Path | None = None
        self._writer: Any = None
        # First number of arrival of each group of rows, ascending; a publish may look for many records.
        self._starts: list[int] = []

    def __enter__(self) -> Originals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Keep records: dictionaries with the names of SCHEMA.

        Raises:
            OSError: the disk is full.
        """
        if not rows:
            return
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        self._starts.append(rows[0]["arrival"])
        self._kept.append(table)
        self._kept_bytes += table.nbytes
        if self._path is not None or self._kept_bytes > MEMORY_BYTES:
            self._write_kept()

    def close(self) -> None:
        """End the writing; records can be found from now on."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_kept(self) -> None:
        if self._path is None:
            self._path = self._folder() / "originals.parquet"
            self._writer = pq.ParquetWriter(
                self._path,
                SCHEMA,
                compression="none",
                use_dictionary=False,
            )
        for table in self._kept:
            self._writer.write_table(table, row_group_size=len(table))
        self._kept, self._kept_bytes = [], 0

    def find(self, arrival: int) -> Original | None:
        """The record with a number of arrival; None when it is not kept."""
        place = bisect.bisect_right(self._starts, arrival) - 1
        if place < 0:
            return None
        group = self._read_group(place)
        rows = group.filter(pc.equal(group["arrival"], arrival)).to_pylist()
        return Original(rows[0]["page"], rows[0]["position"], rows[0]["record"]) if rows else None

    def _read_group(self, place: int) -> pa.Table:
        if self._path is None:
            return self._kept[place]
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            return file.read_row_group(place)
