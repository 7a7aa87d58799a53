"""Read an entity's records page by page and turn them into staged batches: good records and rejects, all counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.errors import CursorProtocolError, FatalError, SourceContractError, SyncError
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.model.cursor import order_key, subtract_seconds
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.model.staged import Batch
from sync_pipelines.runs.page_judge import KeepOriginals, PageJudge
from sync_pipelines.runs.rejects import reject_refused
from sync_pipelines.sources.http.hiding import hiding
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.numbered import MAX_READS, NumberedRead
from sync_pipelines.sources.paging import read_keyset, read_pages, read_tail
from sync_pipelines.sources.reading import Answer, Pager, Piece, Reading
from sync_pipelines.sources.source import PagedSource, PageRequest, Source, WalkedSource

BATCH_BYTES = 64 * 1024 * 1024


class Extraction:
    """One read of one entity. The counters are complete when `batches` is exhausted.

    Args:
        keep_originals, original_characters: see `PageJudge`.

    Attributes:
        stored: the entity as its table is, see `PageJudge`.
        judge: judges the pages; fetched = judge.staged + judge.rejected + reread.
        fetched: records in all accepted answers, re-reads included.
        reread: records that were read more than once, at page borders and in large tie groups; one reading counts.
        without_rowversion: records that a read by rowversions cannot find again; only a full read sees all of them.
        pages: answers with records.
        moved: pages were read by number and did not stay in place, so that records may be missing.
        undeclared: fields that records carry but the API does not declare.
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
        keep_originals: KeepOriginals | None = None,
        original_characters: int | None = None,
    ) -> None:
        self.entity = entity
        self.source = source
        self.stored = (gate.stored_entity if gate else entity).with_own_columns(own_columns)
        self.traffic = Traffic()
        self.reading = Reading(entity.position.cursor_codec)
        self.fetched = 0
        self.reread = 0
        self.pages = 0
        self.moved = False
        self.without_rowversion = 0
        self.undeclared: set[str] = set()
        self._hides = gate is not None and gate.masks is not None
        self._max_pages = max_pages
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._before_page = before_page
        self._on_undeclared = on_undeclared
        self._numbered: NumberedRead | None = None
        self._in_order = True
        self._decoder = PageDecoder(entity, max_record_bytes, source.layout)
        self.judge = PageJudge(
            entity, self.stored, self._decoder, gate, keep_originals, original_characters
        )

    def batches(
        self,
        *,
        after: str | None,
        keyset: bool,
        full: bool,
        closing: bool = False,
        in_order: bool = True,
    ) -> Iterator[Batch]:
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
    ) -> Iterator[Batch]:
        waiting: list[Page] = []
        rows = 0
        waiting_bytes = 0
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
            waiting_bytes += len(page.body)
            is_full = rows >= self._batch_rows or waiting_bytes >= self._batch_bytes
            if is_full:
                yield from self._batch(waiting)
                waiting = []
                rows = 0
                waiting_bytes = 0
        if waiting:
            yield from self._batch(waiting)

    def _take(self, piece: Piece, page: Page, unordered: set[str]) -> None:
        """Drop the records of a page that do not count; `unordered` gets those without rowversion."""
        is_incomplete = piece.keep_until is not None and None in page.rowversions
        if page.refused or piece.only_without_rowversion or is_incomplete:
            with hiding(self._hides):
                self._decoder.settle([page])
                reject_refused(page, self.entity)
        if piece.only_without_rowversion:
            self.reread += page.drop_with_rowversion(unordered)
        has_unordered_rejects = any(reject.rowversion is None for reject in page.rejects)
        if piece.keep_until is not None:
            self.reread += page.drop_after(piece.keep_until)
        if piece.keep_until is not None or has_unordered_rejects:
            unordered |= page.without_rowversion()

    def _reads(
        self, after: str | None, keyset: bool, full: bool, closing: bool
    ) -> Iterator[Iterator[Piece]]:
        """One read after the other; each must be exhausted before the next is asked for."""
        started = time.monotonic()
        yield from self._until_still(after, keyset, full)
        if not closing or not keyset or not self.source.can_move:
            return
        codec = self.reading.codec
        last = self.reading.last
        if codec is None or last is None or not codec.tells_time:
            return
        seconds = time.monotonic() - started + self.entity.policy.lookback_seconds
        stretch = subtract_seconds(codec, last, seconds)
        for pieces in self._until_still(stretch, keyset, full):
            yield (replace(piece, is_closing=True) for piece in pieces)

    def _until_still(
        self, after: str | None, keyset: bool, full: bool
    ) -> Iterator[Iterator[Piece]]:
        """A read, repeated where its pages moved, or hold fewer records than the source says that there are."""
        is_keyset = keyset and self._in_order
        can_move = self.source.is_list if self.is_walked else not is_keyset
        if not can_move:
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
            self.moved = True
            self.reading.drained = False
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
    def _pager(self) -> Pager:
        # Made anew for each read: kept, it and the extraction would refer to each other, and what they have in memory
        # would wait for the cycle collector.
        return Pager(self._fetch, self.source.page_size, self._max_pages)

    @property
    def no_records(self) -> pa.Table:
        """A batch without any record."""
        return self.judge.schema.empty_table()

    @property
    def is_walked(self) -> bool:
        """The source shows its pages in its own order only."""
        return isinstance(self.source, WalkedSource)

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field was in no record."""
        return self._decoder.absent if self.fetched else frozenset()

    def one_page(self, after: str | None) -> Iterator[Batch]:
        """The first page after a rowversion, without reading on; for samples."""
        answer = self._fetch(after, 1, self.source.page_size)
        if answer.count:
            self.pages += 1
            self.fetched += answer.count
            yield from self._batch([answer.page])

    def released(self, records: list[bytes]) -> Iterator[Batch]:
        """Records out of quarantine as if the source had sent them; each must be JSON."""
        body = b'{"rows":[' + b",".join(records) + b"]}"
        page = self._decoder.decode_kept(1, body)
        self.pages = 1
        self.fetched = page.fetched
        yield from self._batch([page])

    def _read(self, after: str | None, keyset: bool, full: bool) -> Iterator[Piece]:
        try:
            if isinstance(self.source, WalkedSource):
                yield from self._walk(self.source, after, keyset)
            elif keyset and self._in_order:
                yield from self._by_rowversion(after, full)
            else:
                yield from self._by_number(after, keyset)
        except SyncError as error:
            raise error.at(**self.entity.where, page=self.pages + 1) from error

    def _by_rowversion(self, after: str | None, full: bool) -> Iterator[Piece]:
        yield from read_keyset(self._pager, self.reading, after=after, confirm_end=full)
        if full and after is None and self.reading.is_filtered:
            known = self.fetched - self.reread
            yield from read_tail(self._pager, self.reading, known=known)

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
        """Note the fields of every answer, also of one that only shows the end: the decoder names a field once."""
        if not page.undeclared <= self.undeclared:
            self.undeclared |= page.undeclared
            self._on_undeclared(self.undeclared)

    def _batch(self, pages: list[Page]) -> Iterator[Batch]:
        numbered = self._numbered
        with hiding(self._hides):
            batches = self.judge.judge(pages, numbered.note_records if numbered else None)
        yield from batches


def _rowversions(page: Page) -> list[str]:
    """Rowversions of good and rejected records in the order of the answer."""
    if not page.rejects and None not in page.rowversions:
        return page.rowversions  # type: ignore[return-value]
    placed = [(page.position(index), value) for index, value in enumerate(page.rowversions)]
    placed += [(reject.position, reject.rowversion) for reject in page.rejects]
    placed.sort(key=lambda pair: pair[0])
    return [rowversion for _, rowversion in placed if rowversion is not None]
