"""One answer of a source into Arrow columns and rejects: fast when all is well, exact when not.

The fast path decodes the records into msgspec structs and casts whole columns. Whatever it cannot vouch for goes
through `batches.records`, record by record, so that the bad ones are set aside and the others pass.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.batches.arrays import NotExactError, from_canonical, to_array
from sync_pipelines.batches.coercion import cut_texts, note
from sync_pipelines.batches.layout import DATA, KeptRecords, Layout, kept_reader
from sync_pipelines.batches.page import Page, digest_of
from sync_pipelines.batches.records import (
    MAX_ROWVERSION_BYTES,
    MAX_ROWVERSION_CHARACTERS,
    Reject,
    bytes_of,
    each_record,
    parse_record,
)
from sync_pipelines.batches.sieve import sift_page
from sync_pipelines.batches.typed import NOT_TYPED, TypedReader
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.model.types import Kind
from sync_pipelines.secrets import printable

_TEXT = pa.string()
_MAX_BYTES_OF_LETTER = 4
_TEXTS = {Kind.TEXT, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME}
_TINY = re.compile(rb"[eE]-[0-9]{3}|0\.0{300}")


class PageDecoder:
    """Decodes the pages of one entity.

    Args:
        entity: with its columns.
        max_record_bytes: a larger record goes to quarantine without its largest values.
        layout: of the answers; None = they are in the form in which records are kept, as S2's are.
    """

    def __init__(
        self,
        entity: Entity,
        max_record_bytes: int = MAX_RECORD_BYTES,
        layout: Layout | None = None,
    ) -> None:
        self.entity = entity
        self.max_record_bytes = max_record_bytes
        self._layout = layout
        self._reader = kept_reader(entity.columns)
        self._unknown: set[str] = set()
        self._unseen: dict[str, set[bytes]] = {}
        self._doubles: list[int] = []
        self._has_json = False
        for index, column in enumerate(entity.columns):
            self._unseen[column.name] = _forms(column.name)
            if column.type.kind is Kind.DOUBLE:
                self._doubles.append(index)
            if column.type.kind is Kind.JSON:
                self._has_json = True

    def decode(self, number: int, body: bytes) -> Page:
        """Decode one answer; the columns of a page whose records look good come with `settle`.

        Raises:
            BrokenPageError: it is no page at all (not JSON, no list of records).
        """
        layout = self._layout
        if layout is None:
            return self.decode_kept(number, body)
        located = self._locate(body, layout)
        if located is not None and not self._is_odd(located):
            page = self._decode_located(number, located, layout)
            if page is not None:
                return page
        kept = layout.keep(body, self.max_record_bytes)
        page = self._decode_copy(number, kept)
        if located is not None:
            # Of the records as they came, whichever path reads them: a page that comes again may take the other one.
            page.digest = digest_of(located)
        return page

    def _locate(self, body: bytes, layout: Layout) -> bytes | None:
        """The text of the records of an answer that the typed decoder may try."""
        # Of an answer that is small enough, no record is too large.
        is_small = len(body) <= self.max_record_bytes
        if is_small and layout.reader.is_possible:
            return layout.locate(body)
        return None

    def decode_kept(self, number: int, body: bytes) -> Page:
        """As `decode`, of records in the form in which they are kept."""
        for name, forms in list(self._unseen.items()):
            if any(form in body for form in forms):
                del self._unseen[name]
        sifted = sift_page(body, self.max_record_bytes)
        return self._decode_sifted(number, sifted)

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field is in no answer so far."""
        if self._layout is None:
            return frozenset(self._unseen)
        return self._layout.absent

    def _is_odd(self, body: bytes) -> bool:
        """Whether it has what msgspec takes and PostgreSQL does not."""
        if b"\\u0000" in body:
            return True
        return self._has_json and (b"\\ud" in body or b"\\uD" in body)

    def _decode_located(
        self,
        number: int,
        located: bytes,
        layout: Layout,
    ) -> Page | None:
        """A page out of the records as the source sent them; None where the exact path must read it."""
        reader = layout.reader
        try:
            page = self._decode_fast(number, located, reader)
        except NOT_TYPED:
            if not reader.is_strict:
                return None
            try:
                page = self._decode_fast(number, located, reader, lax=True)
            except NOT_TYPED:
                return None
            # Only undeclared fields failed the read: name them once, then read on and look for others.
            undeclared = layout.keep_located(located).undeclared
            page.undeclared = _shown(undeclared.keys())
            reader.pass_over(undeclared.values())
        page.layout = layout
        layout.note_seen(located)
        return page

    def _decode_copy(self, number: int, kept: KeptRecords) -> Page:
        """A page out of its records in the form in which they are kept."""
        page = self._decode_sifted(number, kept.body)
        page.refused = kept.refused
        page.ids = kept.ids
        return page

    def _decode_sifted(self, number: int, body: bytes) -> Page:
        reader = self._reader
        if not reader.is_possible or self._is_odd(body):
            return self._decode_slow(number, body)
        try:
            return self._decode_fast(number, body, reader)
        except NOT_TYPED:
            pass
        if not reader.is_strict:
            return self._decode_slow(number, body)
        try:
            page = self._decode_fast(number, body, reader, lax=True)
        except NOT_TYPED:
            return self._decode_slow(number, body)
        # Only undeclared fields failed the read: name them once, then read on and look for others.
        exact = self._decode_slow(number, body)
        page.undeclared = exact.undeclared
        reader.pass_over((DATA, name) for name in self._unknown)
        return page

    def settle(self, pages: list[Page]) -> None:
        """Make the columns of pages, and find the records among them that cannot be stored as declared.

        Whoever puts the columns of the pages together in their order finds every record at its place; the columns of a
        single page may also hold the records of the pages after it.
        """
        for reader, run in itertools.groupby(pages, _reader_of_unsettled):
            if reader is not None:
                self._settle_run(list(run), reader)

    def _settle_run(self, pages: list[Page], reader: TypedReader) -> None:
        try:
            self._settle_fast(pages, reader)
        except NOT_TYPED:
            for page in pages:
                try:
                    self._settle_fast([page], reader)
                except NOT_TYPED:
                    self._settle_slow(page)

    def _decode_fast(
        self,
        number: int,
        body: bytes,
        reader: TypedReader,
        *,
        lax: bool = False,
    ) -> Page:
        records = reader.decode(body, lax=lax)
        rowversions = reader.rowversions_of(records)
        _check_rowversions(rowversions)
        return Page(
            number,
            body,
            fetched=len(records),
            rowversions=rowversions,
            records=records,
            reader=reader,
        )

    def _settle_fast(self, pages: list[Page], reader: TypedReader) -> None:
        records: list[Any] = []
        for page in pages:
            records += page.records or ()
        sent: dict[int, dict[str, Any]] = {}
        values_of = reader.values_of(records)
        columns = []
        for index, column in enumerate(self.entity.columns):
            values = self._values(values_of, index, column, sent)
            columns.append(to_array(values, column.type))
        if self.entity.coerced:
            places = range(len(records))
            notes = [note(sent.get(place, {})) for place in places]
            columns.append(pa.array(notes, _TEXT))
        if self._has_zero(columns):
            for page in pages:
                if _TINY.search(page.body):
                    raise NotExactError("a zero that may be 1e-400")
        none = [column.slice(0, 0) for column in columns]
        for page in pages:
            page.columns = none
            page.records = None
        pages[0].columns = columns

    def _has_zero(self, columns: list[pa.Array]) -> bool:
        """Whether some double is zero."""
        for index in self._doubles:
            is_zero = pc.equal(columns[index], 0)
            if pc.any(is_zero).as_py():
                return True
        return False

    def _values(
        self,
        values_of: Callable[[int], list[Any]],
        index: int,
        column: Column,
        sent: dict[int, dict[str, Any]],
    ) -> list[Any]:
        """The values of a column, cut where a person allows it; `sent` gets what was sent instead, by record.

        Raises:
            NotExactError: some text is longer than the column.
        """
        values = values_of(index)
        if not column.coerce or column.type.kind not in _TEXTS:
            return values
        texts = pa.array(values, _TEXT)
        most_characters = column.type.length
        if most_characters is not None:
            lengths = pc.utf8_length(texts)
            longest = pc.max(lengths).as_py() or 0
            if longest > most_characters:
                raise NotExactError("longer than declared")
        cut, lost = cut_texts(texts, column.type, column.coerce)
        if lost is None:
            return values
        places_of_lost = pc.indices_nonzero(lost)
        for place in places_of_lost.to_pylist():
            sent_of_record = sent.setdefault(place, {})
            sent_of_record[column.name] = values[place]
        cut_values: list[Any] = cut.to_pylist()
        return cut_values

    def _settle_slow(self, page: Page) -> None:
        """Record by record; of a page that lost its end to `drop_after`, only the records that are left."""
        exact = self._decode_slow(page.number, page.kept_body)
        left = len(page.rowversions)
        positions = exact.positions or []
        kept = sum(position < left for position in positions)
        page.columns = [column.slice(0, kept) for column in exact.columns]
        page.rowversions = exact.rowversions[:kept]
        page.positions = positions[:kept]
        page.rejects = [reject for reject in exact.rejects if reject.position < left]
        page.records = None

    def _decode_slow(self, number: int, body: bytes) -> Page:
        good: list[list[str | None]] = []
        coerced: list[str | None] = []
        positions: list[int] = []
        page = Page(
            number,
            body,
            fetched=0,
            rowversions=[],
            positions=positions,
        )
        declared = {column.name for column in self.entity.columns}
        for position, raw in enumerate(each_record(body)):
            page.fetched += 1
            parsed = parse_record(raw, self.entity, number, position)
            unknown = parsed.field_names - declared
            self._unknown |= unknown
            page.undeclared |= _shown(unknown)
            if isinstance(parsed.outcome, Reject):
                page.rejects.append(parsed.outcome)
                continue
            good.append(parsed.outcome)
            page.rowversions.append(parsed.rowversion)
            positions.append(position)
            coerced.append(parsed.coerced)
        for index, column in enumerate(self.entity.columns):
            texts = [record[index] for record in good]
            array = from_canonical(texts, column.type)
            page.columns.append(array)
        if self.entity.coerced:
            notes = pa.array(coerced, _TEXT)
            page.columns.append(notes)
        return page

    def decode_one(self, record: bytes) -> pa.Table | str:
        """One record out of quarantine as a batch of the declared columns c0, c1, …; or the reason why it cannot be
        one.

        Raises:
            BrokenPageError: it is no JSON.
        """
        page = self._decode_sifted(1, b'{"rows":[' + record + b"]}")
        self.settle([page])
        if page.rejects:
            return page.rejects[0].reason
        count = len(self.entity.columns)
        names = [f"c{index}" for index in range(count)]
        return pa.table(page.columns[:count], names=names)


def _reader_of_unsettled(page: Page) -> TypedReader | None:
    """The reader of the records of a page that is not settled yet."""
    return None if page.records is None else page.reader


def _check_rowversions(rowversions: list[str | None]) -> None:
    """Leave a rowversion that an index cannot hold, or that is not printable, to the exact path.

    Raises:
        NotExactError: there is one.
    """
    given = [rowversion for rowversion in rowversions if rowversion is not None]
    if not given:
        return
    lengths = list(map(len, given))
    longest = max(lengths)
    if min(lengths) == 0 or longest > MAX_ROWVERSION_CHARACTERS:
        raise NotExactError("rowversion")
    if not "".join(given).isprintable():
        raise NotExactError("rowversion")
    may_be_too_long = longest * _MAX_BYTES_OF_LETTER > MAX_ROWVERSION_BYTES
    if may_be_too_long and max(map(bytes_of, given)) > MAX_ROWVERSION_BYTES:
        raise NotExactError("rowversion in bytes")


def _forms(name: str) -> set[bytes]:
    """A name as JSON writes it."""
    escaped = json.dumps(name)
    plain = json.dumps(name, ensure_ascii=False)
    return {escaped.encode(), plain.encode("utf-8", errors="surrogatepass")}


def _shown(names: Set[str]) -> set[str]:
    return {printable(name, 100) for name in names}
