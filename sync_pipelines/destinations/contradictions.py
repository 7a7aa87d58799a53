"""What stops a run after its records were compared: a field that all of them lack, or an order that they contradict."""

from __future__ import annotations

from typing import Any, Protocol

from sync_pipelines.destinations.contrary import refuse_contrary
from sync_pipelines.destinations.emptied import columns_to_check, refuse_emptied
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.entity import Column
from sync_pipelines.model.publish import PublishRequest, ReadResult


class Comparison(Protocol):
    """Staged records and their rows, asked for particulars."""

    def count_values(self, columns: list[Column]) -> list[int]:
        """The answer of `emptied.count_values`."""

    def contrary_pairs(self) -> list[Any]:
        """The answer of `contrary.contrary_pairs`."""


def refuse_contradictions(
    comparison: Comparison,
    request: PublishRequest,
    read: ReadResult,
    counts: Counts,
) -> None:
    """Stop a run whose records cannot be what they seem.

    Raises:
        SourceContractError: no record has a field that many rows have.
        CursorProtocolError: a record contradicts the order of its row.
    """
    columns = columns_to_check(request, read)
    if columns and counts.staged:
        names = [column.name for column in columns]
        lost = comparison.count_values(columns)
        values = dict(zip(names, lost, strict=True))
        refuse_emptied(request, read, values)
    if counts.contrary:
        pairs = comparison.contrary_pairs()
        refuse_contrary(request, read, counts.contrary, pairs)
