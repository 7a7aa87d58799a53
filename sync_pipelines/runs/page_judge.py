"""Judge the pages of a read: good records become batches for the records table, the others rejects."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.coercion import hide, names_in
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.hashing import content_hashes
from sync_pipelines.batches.page import Page
from sync_pipelines.batches.records import Reject, fingerprint_of
from sync_pipelines.gate.contract import Violation, judge_batch
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.staged import Batch, records_schema
from sync_pipelines.model.types import Kind
from sync_pipelines.runs.rejects import reject_at, rejects_table, sample_of

SAMPLE_REJECTS = 20

NoteRecords = Callable[[list[Page], pa.Array], None]
KeepOriginals = Callable[[list[dict[str, Any]]], None]


class PageJudge:
    """Judges pages by contract and gate. The counters cover the pages judged so far.

    Args:
        entity: as it is declared.
        stored: as its table is: without dropped columns, masked ones as text.
        decoder: of the read.
        gate: None = the contract alone decides.
        keep_originals, original_characters: takes good records of at least so many letters as they were sent, see
            `books.originals`.

    Attributes:
        staged, rejected: records, by where they went.
        coerced: values that were cut or left out because a person allows it, by column; of records that are staged.
        sample: first rejects as {page, key, column, reason} for a person to look at.
    """

    def __init__(
        self,
        entity: Entity,
        stored: Entity,
        decoder: PageDecoder,
        gate: OpenedGate | None = None,
        keep_originals: KeepOriginals | None = None,
        original_characters: int | None = None,
    ) -> None:
        self.entity = entity
        self.stored = stored
        self.gate = gate
        self.staged = 0
        self.rejected = 0
        self.coerced: Counter[str] = Counter()
        self.sample: list[dict[str, Any]] = []
        self.schema = records_schema(stored)
        self._decoder = decoder
        self._masks = gate.masks if gate is not None else None
        self._keep_originals = keep_originals
        self._original_characters = original_characters
        self._arrived = 0
        self._json_places = {
            place for place, column in enumerate(stored.columns) if column.type.kind is Kind.JSON
        }

    def judge(self, pages: list[Page], note_records: NoteRecords | None = None) -> list[Batch]:
        """Judge pages.

        Args:
            pages: of one read, in the order of their arrival.
            note_records: takes the pages with the content hashes of their good records.

        Returns:
            (staging table, Arrow table) with the schemas of `model.staged`.
        """
        self._decoder.settle(pages)
        columns = [_joined(pages, index) for index in range(len(pages[0].columns))]
        coerced = self._unmasked_notes(columns.pop()) if self.entity.coerced else None
        names = [f"c{index}" for index in range(len(columns))]
        batch = pa.table(columns, names=names)
        violations = judge_batch(self.entity, batch) if len(batch) else []
        rejects = [self._masked(reject) for page in pages for reject in page.rejects]
        review = None
        if self.gate is not None:
            self.gate.tally.rejected += len(rejects)
            violations, review = self._gated(self.gate, pages, batch, violations)
            columns = self.gate.mask(columns)
        rejects += self._violating(pages, violations)
        self._note_originals(pages)
        flags = {"review": review, "coerced": coerced}
        table = _without(self._table(pages, columns, flags, note_records), violations)
        if coerced is not None:
            self._count_coerced(table)
        return self._counted(table, rejects)

    def _counted(self, table: pa.Table, rejects: list[Reject]) -> list[Batch]:
        self.staged += len(table)
        self.rejected += len(rejects)
        batches = []
        if len(table):
            batches.append((self.stored.records_table, table))
        if rejects:
            wanted = SAMPLE_REJECTS - len(self.sample)
            self.sample += [sample_of(reject) for reject in rejects[:wanted]]
            batches.append((self.entity.rejects_table, rejects_table(rejects)))
        return batches

    def _table(
        self,
        pages: list[Page],
        columns: list[pa.Array],
        flags: dict[str, pa.Array | None],
        note_records: NoteRecords | None,
    ) -> pa.Table:
        """The records of pages as they are staged: numbered, with rowversion, hash, columns and flags."""
        rows = len(columns[0])
        arrivals = pa.arange(self._arrived, self._arrived + rows)
        self._arrived += rows
        hashes = content_hashes(columns, self._json_places)
        if note_records is not None:
            note_records(pages, hashes)
        rowversions = [rowversion for page in pages for rowversion in page.rowversions]
        nulls = pa.nulls(rows, pa.string())
        flagged = [nulls if flags[name] is None else flags[name] for name in self.stored.flags]
        arrays = [arrivals, pa.array(rowversions, pa.string()), hashes, *columns, *flagged]
        return pa.table(arrays, schema=self.schema)

    def _count_coerced(self, table: pa.Table) -> None:
        for noted in table["coerced"].drop_null().to_pylist():
            self.coerced.update(names_in(noted))

    def _note_originals(self, pages: list[Page]) -> None:
        """Keep the good records that are so large that PostgreSQL may refuse them when their page is gone."""
        if self._keep_originals is None or self._original_characters is None:
            return
        arrival = self._arrived
        for page in pages:
            self._keep_originals(self._originals(page, arrival, self._original_characters))
            arrival += len(page.rowversions)

    def _originals(self, page: Page, arrival: int, characters: int) -> list[dict[str, Any]]:
        good = {page.position(index): index for index in range(len(page.rowversions))}
        rows = []
        for position, record in page.large_records(characters):
            if position not in good:
                continue
            row = {
                "arrival": arrival + good[position],
                "page": page.number,
                "position": position,
                "record": record if self._masks is None else self._masks.hide_record(record),
            }
            rows.append(row)
        return rows

    def _unmasked_notes(self, notes: pa.Array) -> pa.Array:
        """What was coerced, without anything that is masked."""
        masked = self.gate.masked if self.gate is not None else frozenset()
        if not masked:
            return notes
        return pa.array([hide(noted, masked) for noted in notes.to_pylist()], pa.string())

    def _gated(
        self, gate: OpenedGate, pages: list[Page], batch: pa.Table, violations: list[Violation]
    ) -> tuple[list[Violation], pa.Array | None]:
        """What the gate refuses beside the contract, without what a person waived; and the column of reviews."""
        if not len(batch):
            return violations, None
        verdicts = gate.judge(batch, violations)
        if not gate.waived or len(verdicts.rejects) == len(violations):
            return verdicts.rejects, verdicts.reviews
        by_contract = {violation.index for violation in violations}
        by_rules = [
            violation for violation in verdicts.rejects if violation.index not in by_contract
        ]
        waived = {
            violation.index
            for violation, reject in zip(by_rules, self._violating(pages, by_rules), strict=True)
            if fingerprint_of(reject.record) in gate.waived
        }
        kept = [violation for violation in verdicts.rejects if violation.index not in waived]
        gate.tally.waive(len(verdicts.rejects) - len(kept))
        return kept, verdicts.reviews

    def _violating(self, pages: list[Page], violations: list[Violation]) -> list[Reject]:
        """The records that violations are about."""
        starts = _starts(pages)
        rejects = []
        for violation in violations:
            page, index = _locate(pages, starts, violation.index)
            rejects.append(self._reject(page, index, violation))
        return rejects

    def _reject(self, page: Page, index: int, violation: Violation) -> Reject:
        reject = reject_at(page, index, violation.column, violation.reason, self.entity)
        if self._masks is None:
            return reject
        return replace(
            reject,
            record=self._masks.hide_record(reject.record),
            business_key=self._masks.hide_key(reject.business_key),
        )

    def _masked(self, reject: Reject) -> Reject:
        """A reject of the decoder without anything that is masked."""
        if self._masks is None:
            return reject
        return replace(
            reject,
            reason=self._masks.hide_reason(reject.column, reject.reason),
            record=self._masks.hide_record(reject.record),
            business_key=self._masks.hide_key(reject.business_key),
        )


def _starts(pages: list[Page]) -> list[int]:
    starts = []
    total = 0
    for page in pages:
        starts.append(total)
        total += len(page.rowversions)
    return starts


def _locate(pages: list[Page], starts: list[int], index: int) -> tuple[Page, int]:
    place = bisect.bisect_right(starts, index) - 1
    while index - starts[place] >= len(pages[place].rowversions):
        place -= 1
    return pages[place], index - starts[place]


def _joined(pages: list[Page], index: int) -> pa.Array:
    """A column of several pages as one array."""
    arrays = [page.columns[index] for page in pages if len(page.columns[index])]
    return pa.concat_arrays(arrays or [pages[0].columns[index]])


def _without(table: pa.Table, violations: list[Violation]) -> pa.Table:
    """The table without the records that are refused."""
    if not violations:
        return table
    refused = {violation.index for violation in violations}
    kept = [place not in refused for place in range(len(table))]
    return table.filter(pa.array(kept))
