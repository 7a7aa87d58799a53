"""Where an answer has its records, and where a record has its values: what the decoder needs of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sync_pipelines.batches.typed import Path, TypedReader
from sync_pipelines.model.entity import Column

ROWS = "rows"
DATA = "data"
ROWVERSION = "row_version"
Refused = dict[int, tuple[str | None, str]]
"""Column and reason by place of a record."""


@dataclass
class KeptRecords:
    """Records in the form in which quarantine keeps them, which is also the one of S2's pages.

    Attributes:
        body: `{"rows":[{"row_version":…,"data":{…}},…]}`, values byte for byte; fields under the names of the table.
        count: records in it.
        refused: what cannot pass whatever its types, by place: (column, reason).
        ids: text of the id of each record, where an id column is declared.
        undeclared: names, and paths in the source's record, of fields that fill no column.
    """

    body: bytes
    count: int
    refused: Refused = field(default_factory=dict)
    ids: list[str | None] = field(default_factory=list)
    undeclared: dict[str, Path] = field(default_factory=dict)


class Layout(Protocol):
    """The answers of one endpoint.

    Attributes:
        reader: decodes what `locate` gives.
        absent: names of columns whose field was in no record so far.
    """

    reader: TypedReader

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field was in no record so far."""

    def locate(self, body: bytes) -> bytes | None:
        """The text of the list of records; None where only `keep` finds the records."""

    def note_seen(self, located: bytes) -> None:
        """Take in which columns have a field in these records, which the typed decoder took."""

    def keep(self, body: bytes, max_record_bytes: int) -> KeptRecords:
        """The records of an answer; a record that is larger comes without its largest values.

        Raises:
            BrokenPageError: it has none at the declared path.
        """

    def keep_located(self, located: bytes) -> KeptRecords:
        """As `keep`, of what `locate` gave."""

    def keep_large(self, located: bytes, least_bytes: int) -> Iterator[tuple[int, bytes]]:
        """Place and kept form of each record that has at least so many bytes in what `locate` gave."""


def kept_reader(columns: Sequence[Column]) -> TypedReader:
    """Decodes pages in the form of `KeptRecords`."""
    places = {index: (DATA, column.name) for index, column in enumerate(columns)}
    return TypedReader(
        columns,
        places,
        steps=(ROWS, None),
        rowversion=(ROWVERSION,),
        open_records=True,
    )
