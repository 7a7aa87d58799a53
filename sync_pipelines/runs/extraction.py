"""Read an entity's records page by page and turn them into staged batches: good records and rejects, all counted."""

from __future__ import annotations

import bisect
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.coercion import hide, names_in
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.hashing import content_hashes
from sync_pipelines.batches.page import Page
from sync_pipelines.batches.records import Reject, fingerprint_of, key_of
from sync_pipelines.errors import CursorProtocolError, FatalError, SourceContractError, SyncError
from sync_pipelines.gate.contract import Violation, judge_batch
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.model.cursor import order_key, subtract_seconds
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.model.staged import records_schema, rejects_schema
from sync_pipelines.model.types import Kind
from sync_pipelines.sources.http.hiding import hiding
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.numbered import MAX_READS, NumberedRead
from sync_pipelines.sources.paging import read_keyset, read_pages, read_tail
from sync_pipelines.sources.reading import Answer, Pager, Piece, Reading
from sync_pipelines.sources.source import PagedSource, PageRequest, Source, WalkedSource

BATCH_BYTES = 64 * 1024 * 1024
SAMPLE_REJECTS = 20


class Extraction:
    """One read of one entity. The counters are complete when `batches` is exhausted.

    Args:
        keep_original, original_characters: takes good records of at least so many letters as they were sent, see
        `books.originals`.

    Attributes:
        fetched: records in all accepted answers, re-reads included.
        staged, rejected: where they went; fetched = staged + rejected + reread.
        reread: records that were read more than once, at page borders and in large tie groups; one reading counts.
        without_rowversion: records that a read by rowversions cannot find again; only a full read sees all of them.
        pages: answers with records.
        moved: pages were read by number and did not stay in place, so that records may be missing.
        undeclared: fields that records carry but the API does not declare.
        coerced: values that were cut or left out because a person allows it, by column; of records that are staged.
        sample: first rejects as {page, key, column, reason} for a person to look at.
    """

    def __init__(
        self,
        entity: Entity,
        source: Source,
        *,
        max_pages: int,
        batch_rows: int,
        batch_bytes: int = BATCH_BYTES,
        max_record_bytes: int = MAX_RECORD_BYTES,
        own_columns: frozenset[str] = frozenset(),
        before_page: Callable[[int], None] = lambda fetched: None,
        on_undeclared: Callable[[set[str]], None] = lambda names: None,
        gate: OpenedGate | None = None,
        keep_original: Callable[[list[dict[str, Any]]], None] | None = None,
        original_characters: int | None = None,
    ) -> None:
        self.entity = entity
        self.source, self.gate = source, gate
        self.stored = (gate.stored_entity if gate else entity).with_own_columns(own_columns)
        self._hides = gate is not None and gate.masks is not None
        self.traffic = Traffic()
        self.reading = Reading(entity.position.cursor_codec)
        self.fetched = self.staged = self.rejected = self.reread = self.pages = self._arrived = 0
        self.moved = False
        self.without_rowversion = 0
        self.undeclared: set[str] = set()
        self.sample: list[dict[str, Any]] = []
        self.coerced: Counter[str] = Counter()
        self._pager = Pager(self._fetch, source.page_size, max_pages)
        self._batch_rows, self._batch_bytes = batch_rows, batch_bytes
        self._before_page, self._on_undeclared = before_page, on_undeclared
        self._keep_original, self._original_characters = keep_original, original_characters
        self._numbered: NumberedRead | None = None
        self._in_order = True
        self._decoder = PageDecoder(entity, max_record_bytes, source.layout)
        self._schema = records_schema(self.stored)
        self._json_places = {
            place
            for place, column in enumerate(self.stored.columns)
            if column.type.kind is Kind.JSON
        }

    def batches(
        self,
        *,
        after: str | None,
        keyset: bool,
        full: bool,
        closing: bool = False,
        in_order: bool = True,
    ) -> Iterator[tuple[str, pa.Table]]:
        """Read to the end of the source.

        Args:
            after: the cursor, None = everything.
            keyset: follow rowversions; otherwise go by page number.
            in_order: pages are sorted by rowversion; otherwise they are read by number, under the filter by `after`.
            full: the caller will take absence as deletion, so the end is asked for twice.
            closing: read the last stretch again at the end, where a row may have moved to behind our back: updated
                while we read, committed late, below what was read already.

        Yields:
            (staging table, Arrow table) with the schemas of `model.staged`.
        """
        self._in_order = in_order
        unordered: set[str] = set()
        for pieces in self._reads(after, keyset, full, closing):
            yield from self._batches_of(pieces, keyset, unordered)

    def _batches_of(
        self, pieces: Iterator[Piece], keyset: bool, unordered: set[str]
    ) -> Iterator[tuple[str, pa.Table]]:
        waiting: list[Page] = []
        rows = held_bytes = 0
        for piece in pieces:
            page = piece.page
            self.pages += 1
            self.fetched += page.fetched
            if piece.repeated:
                self.reread += page.fetched
                continue
            self._take(piece, page, unordered)
            if keyset and not piece.is_closing:
                self.without_rowversion += page.rowversions.count(None)
            waiting.append(page)
            rows += page.fetched
            held_bytes += len(page.body)
            if rows >= self._batch_rows or held_bytes >= self._batch_bytes:
                yield from self._batch(waiting)
                waiting = []
                rows = 0
                held_bytes = 0
        if waiting:
            yield from self._batch(waiting)

    def _table(
        self, pages: list[Page], columns: list[pa.Array], flags: dict[str, pa.Array | None]
    ) -> pa.Table:
        """The records of pages as they are staged: numbered, with rowversion, hash, columns and flags."""
        rows = len(columns[0])
        arrivals = pa.arange(self._arrived, self._arrived + rows)
        self._arrived += rows
        hashes = content_hashes(columns, self._json_places)
        if self._numbered is not None:
            self._numbered.note_records(pages, hashes)
        rowversions = [rowversion for page in pages for rowversion in page.rowversions]
        nulls = pa.nulls(rows, pa.string())
        flagged = [nulls if flags[name] is None else flags[name] for name in self.stored.flags]
        return pa.table(
            [arrivals, pa.array(rowversions, pa.string()), hashes, *columns, *flagged],
            schema=self._schema,
        )

    def _count_coerced(self, table: pa.Table) -> None:
        for noted in table["coerced"].drop_null().to_pylist():
            self.coerced.update(names_in(noted))

    def _take(self, piece: Piece, page: Page, unordered: set[str]) -> None:
        """Drop the records of a page that do not count; `unordered` gets those without rowversion."""
        is_incomplete = piece.keep_until is not None and None in page.rowversions
        if page.refused or piece.only_without_rowversion or is_incomplete:
            with hiding(self._hides):
                self._decoder.settle([page])
                _set_aside(page, self.entity)
        if piece.only_without_rowversion:
            self.reread += page.drop_with_rowversion(unordered)
        if piece.keep_until is not None:
            self.reread += page.drop_after(piece.keep_until)
        if piece.keep_until is not None or any(
            reject.rowversion is None for reject in page.rejects
        ):
            unordered |= page.without_rowversion()

    def _reads(
        self, after: str | None, keyset: bool, full: bool, closing: bool
    ) -> Iterator[Iterator[Piece]]:
        """One read after the other; each must be exhausted before the next is asked for."""
        started = time.monotonic()
        yield from self._until_still(after, keyset, full)
        codec, last = self.reading.codec, self.reading.last
        if (
            closing
            and self.source.can_move
            and keyset
            and codec is not None
            and codec.tells_time
            and last is not None
        ):
            back = time.monotonic() - started + self.entity.policy.lookback_seconds
            for pieces in self._until_still(subtract_seconds(codec, last, back), keyset, full):
                yield (replace(piece, is_closing=True) for piece in pieces)

    def _until_still(
        self, after: str | None, keyset: bool, full: bool
    ) -> Iterator[Iterator[Piece]]:
        """A read, repeated where its pages moved, or hold fewer records than the source says that there are."""
        if not (self.source.is_list if self.is_walked else not (keyset and self._in_order)):
            yield self._read(after, keyset, full)
            return
        read = self._numbered = NumberedRead()
        unordered = self.without_rowversion
        while read.reads < MAX_READS:
            if read.reads:
                self.source.finish()  # answers that were kept would show the same again
            read.begin()
            self.without_rowversion = unordered
            yield self._read(after, keyset, full)
            read.close()
            if read.is_still and not read.misses(self.source.total):
                break
        self._numbered = None
        if not read.is_still:
            self.moved, self.reading.drained = True, False
            self.reading.warnings.append(read.describe(self.source.total))
        elif read.misses(self.source.total):
            self.source.finish()
            raise SourceContractError(
                f"The source says that there are {self.source.total} records, and {read.records} came before its"
                " pages ended.",
                where=dict(self.entity.where),
                next_command="check `pagination` in the connector's file; `checked: false` there trusts the end of"
                " the pages",
            )

    @property
    def no_records(self) -> pa.Table:
        """A batch without any record."""
        return self._schema.empty_table()

    @property
    def is_walked(self) -> bool:
        """The source shows its pages in its own order only."""
        return isinstance(self.source, WalkedSource)

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field was in no record."""
        return self._decoder.absent if self.fetched else frozenset()

    def one_page(self, after: str | None) -> Iterator[tuple[str, pa.Table]]:
        """The first page after a rowversion, without reading on; for samples."""
        answer = self._fetch(after, 1, self.source.page_size)
        if answer.count:
            self.pages += 1
            self.fetched += answer.count
            yield from self._batch([answer.page])

    def released(self, records: list[bytes]) -> Iterator[tuple[str, pa.Table]]:
        """Records out of quarantine as if the source had sent them; each must be JSON."""
        page = self._decoder.decode_kept(1, b'{"rows":[' + b",".join(records) + b"]}")
        self.pages, self.fetched = 1, page.fetched
        yield from self._batch([page])

    def _read(self, after: str | None, keyset: bool, full: bool) -> Iterator[Piece]:
        try:
            if isinstance(self.source, WalkedSource):
                yield from self._walk(self.source, after, keyset)
            elif keyset and self._in_order:
                yield from read_keyset(self._pager, self.reading, after=after, confirm_end=full)
                if full and after is None and self.reading.is_filtered:
                    known = self.fetched - self.reread
                    yield from read_tail(self._pager, self.reading, known=known)
            else:
                yield from self._by_number(after, keyset)
        except SyncError as error:
            raise error.at(**self.entity.where, page=self.pages + 1) from error

    def _by_number(self, after: str | None, keyset: bool) -> Iterator[Piece]:
        for piece in read_pages(self._pager, after=after):
            if keyset:
                rowversions = _rowversions(piece.page)
                self.reading.note_unsorted(rowversions)
                self._check_filter(rowversions, after)
            self._note_page(piece.page)
            yield piece

    def _check_filter(self, rowversions: list[str], after: str | None) -> None:
        codec = self.reading.codec
        if after is None or codec is None or not rowversions:
            return
        lowest = min(rowversions, key=lambda rowversion: order_key(codec, rowversion))
        if order_key(codec, lowest) <= order_key(codec, after):
            raise CursorProtocolError(
                f"The source was asked for rowversions greater than {after!r} and sent {lowest!r}."
            )

    def _note_page(self, page: Page) -> None:
        if self._numbered is not None:
            self._numbered.note_page(page)

    def _walk(self, source: WalkedSource, after: str | None, keyset: bool) -> Iterator[Piece]:
        def before() -> int:
            self._before_page(self.fetched)
            return self.pages + 1

        with hiding(self._hides):
            for page in source.walk(self._decoder, after, self.traffic, before):
                self._note_undeclared(page)
                if keyset:
                    self.reading.note_unsorted(_rowversions(page))
                self._note_page(page)
                yield Piece(page)

    def _fetch(self, rowversion_gt: str | None, number: int, page_size: int) -> Answer:
        if not isinstance(self.source, PagedSource):
            raise FatalError(f"The source of {self.entity.path} has no pages by number.")
        self._before_page(self.fetched)
        with hiding(self._hides):
            request = PageRequest(rowversion_gt, number, page_size)
            page = self.source.page(self._decoder, self.pages + 1, request, self.traffic)
            self._note_undeclared(page)
            return Answer(page, _rowversions(page), page.fetched)

    def _note_undeclared(self, page: Page) -> None:
        """Of every answer, also of one that only told where the end is: the decoder names a field once."""
        if not page.undeclared <= self.undeclared:
            self.undeclared |= page.undeclared
            self._on_undeclared(self.undeclared)

    def _batch(self, pages: list[Page]) -> Iterator[tuple[str, pa.Table]]:
        with hiding(self._hides):
            batches = self._judged(pages)
        yield from batches

    def _judged(self, pages: list[Page]) -> list[tuple[str, pa.Table]]:
        self._decoder.settle(pages)
        columns = [_joined(pages, index) for index in range(len(pages[0].columns))]
        coerced = self._noted(columns.pop()) if self.entity.coerced else None
        names = [f"c{index}" for index in range(len(columns))]
        batch = pa.table(columns, names=names)
        violations = judge_batch(self.entity, batch) if len(batch) else []
        rejects = [self._hidden(reject) for page in pages for reject in page.rejects]
        review = None
        if self.gate is not None:
            self.gate.tally.rejected += len(rejects)
            violations, review = self._gated(pages, batch, violations)
            columns = self.gate.mask(columns)
        starts = _starts(pages)
        for violation in violations:
            page, index = _locate(pages, starts, violation.index)
            rejects.append(self._reject(page, index, violation.column, violation.reason))
        self._keep_originals(pages)
        table = self._table(pages, columns, {"review": review, "coerced": coerced})
        table = _without(table, violations)
        if coerced is not None:
            self._count_coerced(table)
        self.staged += len(table)
        self.rejected += len(rejects)
        batches = [(self.stored.records_table, table)] if len(table) else []
        if rejects:
            self.sample += map(_shown, rejects[: SAMPLE_REJECTS - len(self.sample)])
            batches.append((self.entity.rejects_table, _rejects_table(rejects)))
        return batches

    def _keep_originals(self, pages: list[Page]) -> None:
        """Keep the good records that are so large that PostgreSQL may refuse them when their page is gone."""
        if self._keep_original is None or self._original_characters is None:
            return
        masks = self.gate.masks if self.gate is not None else None
        arrival = self._arrived
        for page in pages:
            good = {page.position(index): index for index in range(len(page.rowversions))}
            rows = []
            for position, record in page.large_records(self._original_characters):
                if position in good:
                    record = masks.hide_record(record) if masks is not None else record
                    rows.append(
                        {
                            "arrival": arrival + good[position],
                            "page": page.number,
                            "position": position,
                            "record": record,
                        }
                    )
            self._keep_original(rows)
            arrival += len(page.rowversions)

    def _noted(self, notes: pa.Array) -> pa.Array:
        """What was coerced, without anything that is masked."""
        masked = self.gate.masked if self.gate is not None else frozenset()
        if not masked:
            return notes
        return pa.array([hide(noted, masked) for noted in notes.to_pylist()], pa.string())

    def _gated(
        self, pages: list[Page], batch: pa.Table, violations: list[Violation]
    ) -> tuple[list[Violation], pa.Array | None]:
        """What the gate refuses beside the contract, without what a person waived; and the column of reviews."""
        assert self.gate is not None
        if not len(batch):
            return violations, None
        verdicts = self.gate.judge(batch, violations)
        if not self.gate.waived or len(verdicts.rejects) == len(violations):
            return verdicts.rejects, verdicts.reviews
        by_contract, starts, kept = (
            {violation.index for violation in violations},
            _starts(pages),
            [],
        )
        for violation in verdicts.rejects:
            page, index = _locate(pages, starts, violation.index)
            reject = self._reject(page, index, violation.column, violation.reason)
            if (
                violation.index in by_contract
                or fingerprint_of(reject.record) not in self.gate.waived
            ):
                kept.append(violation)
        self.gate.tally.waive(len(verdicts.rejects) - len(kept))
        return kept, verdicts.reviews

    def _reject(self, page: Page, index: int, column: str | None, reason: str) -> Reject:
        position = page.position(index)
        raw = page.raw_records[position]
        record, key = raw.encode("utf-8", errors="surrogateescape"), key_of(raw, self.entity)
        if self.gate is not None and self.gate.masks is not None:
            record, key = self.gate.masks.hide_record(record), self.gate.masks.hide_key(key)
        return Reject(page.number, position, reason, column, record, key, page.rowversions[index])

    def _hidden(self, reject: Reject) -> Reject:
        """A reject of the decoder without anything that is masked."""
        if self.gate is None or self.gate.masks is None:
            return reject
        masks = self.gate.masks
        return replace(
            reject,
            reason=masks.hide_reason(reject.column, reject.reason),
            record=masks.hide_record(reject.record),
            business_key=masks.hide_key(reject.business_key),
        )


def _set_aside(page: Page, entity: Entity) -> None:
    """Reject the records that the source's reader refused."""
    reasons = {
        index: page.refused[page.position(index)]
        for index in range(len(page.rowversions))
        if page.position(index) in page.refused
    }
    for index, (column, reason) in reasons.items():
        position = page.position(index)
        raw = page.raw_records[position]
        record = raw.encode("utf-8", errors="surrogateescape")
        page.rejects.append(
            Reject(
                page.number,
                position,
                reason,
                column,
                record,
                key_of(raw, entity),
                page.rowversions[index],
            )
        )
    page.keep([index for index in range(len(page.rowversions)) if index not in reasons])
    page.refused = {}


def _rowversions(page: Page) -> list[str]:
    """Rowversions of good and rejected records in the order of the answer."""
    if not page.rejects and None not in page.rowversions:
        return page.rowversions  # type: ignore[return-value]
    placed = [
        (page.position(index), rowversion) for index, rowversion in enumerate(page.rowversions)
    ]
    placed += [(reject.position, reject.rowversion) for reject in page.rejects]
    return [
        rowversion
        for _, rowversion in sorted(placed, key=lambda pair: pair[0])
        if rowversion is not None
    ]


def _starts(pages: list[Page]) -> list[int]:
    starts, total = [], 0
    for page in pages:
        starts.append(total)
        total += len(page.rowversions)
    return starts


def _locate(pages: list[Page], starts: list[int], index: int) -> tuple[Page, int]:
    place = bisect.bisect_right(starts, index) - 1
    while index - starts[place] >= len(pages[place].rowversions):
        place -= 1
    return pages[place], index - starts[place]


def _shown(reject: Reject) -> dict[str, Any]:
    return {
        "page": reject.page,
        "key": " / ".join(reject.business_key) if reject.business_key else None,
        "column": reject.column,
        "reason": reject.reason,
    }


def _rejects_table(rejects: list[Reject]) -> pa.Table:
    rows = [
        {
            "page": reject.page,
            "position": reject.position,
            "column_name": reject.column,
            "reason": reject.reason,
            "business_key": json.dumps(reject.business_key) if reject.business_key else None,
            "rowversion": reject.rowversion,
            "fingerprint": fingerprint_of(reject.record),
            "record": "\\x" + reject.record.hex(),
        }
        for reject in rejects
    ]
    return pa.Table.from_pylist(rows, schema=rejects_schema())


def _joined(pages: list[Page], index: int) -> pa.Array:
    """A column of several pages as one array."""
    arrays = [page.columns[index] for page in pages if len(page.columns[index])]
    return pa.concat_arrays(arrays or [pages[0].columns[index]])


def _without(table: pa.Table, violations: list[Violation]) -> pa.Table:
    """The table without the records that are refused."""
    if not violations:
        return table
    refused = {violation.index for violation in violations}
    return table.filter(pa.array([place not in refused for place in range(len(table))]))
