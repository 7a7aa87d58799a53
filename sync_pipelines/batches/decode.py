"""One answer of `/api/v1/data/{slug}` into Arrow columns and rejects: fast when all is well, exact when not.

The fast path decodes the page into msgspec structs and casts whole columns. Whatever it cannot vouch for goes
through `batches.records`, record by record, so that the bad ones are set aside and the others pass.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.batches.arrays import NotExactError, from_canonical, python_type, to_array
from sync_pipelines.batches.coercion import cut_texts, note
from sync_pipelines.batches.records import (
    MAX_ROWVERSION_BYTES,
    MAX_ROWVERSION_CHARACTERS,
    Reject,
    bytes_of,
    each_record,
    parse_record,
    rowversion_of,
    split_records,
)
from sync_pipelines.batches.sieve import sift_page
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.model.types import Kind
from sync_pipelines.secrets import printable

_NOT_FAST = (msgspec.MsgspecError, NotExactError, UnicodeDecodeError, RecursionError, AttributeError)
_TEXTS = {Kind.TEXT, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME}
MAX_UNDECLARED = 200
_TINY = re.compile(rb"[eE]-[0-9]{3}|0\.0{300}")


@dataclass
class Page:
    """A decoded page, at first without its columns: `PageDecoder.settle` makes those for many pages at once.

    Attributes:
        number: running number of the page in its run, from 1.
        body: the answer, kept until the gate has judged its records.
        fetched: records in the answer.
        rowversions: rowversion of each good record (None where the source gave none).
        records: the decoded records of a page that is not settled yet, all of them taken for good; else None.
        columns: one array per declared column, good records only; empty until the page is settled. Where columns may be
            coerced, one more array tells of each record what was.
        positions: place of each good record in the answer, from 0; None when all are good.
        rejects: records that cannot be stored as declared.
        undeclared: names of fields that the API does not declare.
        refused: records that may not pass although they can be stored, by place in the answer: (column, reason).
    """

    number: int
    body: bytes
    fetched: int
    rowversions: list[str | None]
    records: list[Any] | None = None
    columns: list[pa.Array] = field(default_factory=list)
    positions: list[int] | None = None
    rejects: list[Reject] = field(default_factory=list)
    undeclared: set[str] = field(default_factory=set)
    refused: dict[int, tuple[str | None, str]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> bytes:
        """Digest of the answer, to tell pages apart."""
        return hashlib.blake2b(self.body, digest_size=16).digest()

    @cached_property
    def raw_records(self) -> list[str]:
        """The texts of all records of the answer."""
        return split_records(self.body)

    def position(self, index: int) -> int:
        """Place in the answer of the good record `index`."""
        return index if self.positions is None else self.positions[index]

    def drop_after(self, rowversion: str) -> int:
        """Forget the records after the last one of a rowversion, which are read again; returns how many they were.

        Records without rowversion stay: the filter of the next request need not let them pass. A page that has any must
        be settled.
        """
        kept = len(self.rowversions)
        while kept and self.rowversions[kept - 1] != rowversion:
            kept -= 1
        places = [reject.position for reject in self.rejects if reject.rowversion == rowversion]
        last_place = max([*places, self.position(kept - 1) if kept else -1])
        while kept < len(self.rowversions) and self.position(kept) <= last_place:
            kept += 1
        unordered = [index for index in range(kept, len(self.rowversions)) if self.rowversions[index] is None]
        rejects = [reject for reject in self.rejects if reject.position <= last_place or reject.rowversion is None]
        dropped = len(self.rowversions) - kept - len(unordered) + len(self.rejects) - len(rejects)
        self.rejects = rejects
        if unordered:
            self.keep([*range(kept), *unordered])
            return dropped
        self.rowversions = self.rowversions[:kept]
        if self.records is not None:
            self.records = self.records[:kept]
        self.columns = [column.slice(0, kept) for column in self.columns]
        return dropped

    def keep(self, indexes: list[int]) -> None:
        """Forget all good records but these; the page must be settled."""
        self.columns = [column.take(pa.array(indexes, pa.int64())) for column in self.columns]
        self.positions = [self.position(index) for index in indexes]
        self.rowversions = [self.rowversions[index] for index in indexes]

    def drop_with_rowversion(self, known: set[str]) -> int:
        """Forget what was read by its rowversion; the page must be settled.

        Args:
            known: texts of records without rowversion that are known already.

        Returns:
            How many records were forgotten.
        """
        before = len(self.rowversions) + len(self.rejects)
        raw = self.raw_records
        places = enumerate(self.rowversions)
        self.keep([index for index, version in places if version is None and raw[self.position(index)] not in known])
        self.rejects = [
            reject for reject in self.rejects if reject.rowversion is None and raw[reject.position] not in known
        ]
        return before - len(self.rowversions) - len(self.rejects)

    def without_rowversion(self) -> set[str]:
        """Texts of the records without rowversion that count."""
        places = [self.position(index) for index, rowversion in enumerate(self.rowversions) if rowversion is None]
        places += [reject.position for reject in self.rejects if reject.rowversion is None]
        return {self.raw_records[place] for place in places}

    def record_digests(self, rowversion: str) -> list[bytes]:
        """Digests of the page's records of one rowversion, to see whether a tie group has come to rest."""
        return [
            hashlib.blake2b(raw.encode("utf-8", errors="surrogateescape"), digest_size=16).digest()
            for raw in each_record(self.body)
            if rowversion_of(raw) == rowversion
        ]


class PageDecoder:
    """Decodes the pages of one entity.

    Args:
        entity: with its columns.
        max_record_bytes: a larger record goes to quarantine without its largest values.
    """

    def __init__(self, entity: Entity, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self.entity, self.max_record_bytes = entity, max_record_bytes
        fields = [
            (f"c{index}", python_type(column.type), _default(column.type.kind))
            for index, column in enumerate(entity.columns)
        ]
        names = {f"c{index}": column.name for index, column in enumerate(entity.columns)}
        # msgspec cannot look for names with quotes or backslashes; such an entity is read record by record.
        self._is_plain = not any(letter in name for name in names.values() for letter in ('"', "\\"))
        self._strict = _page_decoder(fields, names, forbid_unknown=True) if self._is_plain else None
        self._lax = _page_decoder(fields, names, forbid_unknown=False) if self._is_plain else None
        self._fast, self._fields, self._names = self._strict, fields, names
        self._unknown: set[str] = set()
        self._unseen = {column.name: _forms(column.name) for column in entity.columns}
        self._doubles = [index for index, column in enumerate(entity.columns) if column.type.kind is Kind.DOUBLE]
        self._has_json = any(column.type.kind is Kind.JSON for column in entity.columns)
        self._getters = [operator.attrgetter(f"c{index}") for index in range(len(entity.columns))]

    def decode(self, number: int, body: bytes) -> Page:
        """Decode one answer; the columns of a page whose records look good come with `settle`.

        Raises:
            BrokenPageError: it is no page at all (not JSON, no list of rows).
        """
        self._unseen = {name: forms for name, forms in self._unseen.items() if not any(form in body for form in forms)}
        return self._decode_sifted(number, sift_page(body, self.max_record_bytes))

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns that stand in no answer so far."""
        return frozenset(self._unseen)

    def _decode_sifted(self, number: int, body: bytes) -> Page:
        if not self._is_plain or b"\\u0000" in body or (self._has_json and (b"\\ud" in body or b"\\uD" in body)):
            return self._decode_slow(number, body)
        try:
            return self._decode_fast(number, body)
        except _NOT_FAST:
            pass
        if self._fast is self._strict:
            try:
                page = self._decode_fast(number, body, self._lax)
            except _NOT_FAST:
                return self._decode_slow(number, body)
            # Only undeclared fields stood in the way: name them once, then read on and look for others.
            page.undeclared = self._decode_slow(number, body).undeclared
            self._look_for_others()
            return page
        return self._decode_slow(number, body)

    def _look_for_others(self) -> None:
        """Pass over the undeclared fields that are known, so that one that is new still stands in the way.

        Not for ever.
        """
        known = sorted(self._unknown)
        if len(known) > MAX_UNDECLARED or not all(map(_can_be_a_field, known)):
            self._fast = self._lax
            return
        passed = [(f"u{index}", msgspec.Raw, _default(Kind.JSON)) for index in range(len(known))]
        names = {**self._names, **{f"u{index}": name for index, name in enumerate(known)}}
        self._strict = self._fast = _page_decoder([*self._fields, *passed], names, forbid_unknown=True)

    def settle(self, pages: list[Page]) -> None:
        """Make the columns of pages, and find the records among them that cannot be stored as declared.

        Whoever puts the columns of the pages together in their order finds every record at its place; the columns of a
        single page may also hold the records of the pages after it.
        """
        for is_waiting, run in itertools.groupby(pages, lambda page: page.records is not None):
            if is_waiting:
                self._settle_run(list(run))

    def _settle_run(self, pages: list[Page]) -> None:
        try:
            self._settle_fast(pages)
        except _NOT_FAST:
            for page in pages:
                try:
                    self._settle_fast([page])
                except _NOT_FAST:
                    self._settle_slow(page)

    def _decode_fast(self, number: int, body: bytes, decoder: Any = None) -> Page:
        rows = (decoder or self._fast).decode(body).rows
        rowversions = [row.row_version for row in rows]
        if not set(map(type, rowversions)) <= {str}:
            rowversions = [str(value) if isinstance(value, int) else value for value in rowversions]
        told = [rowversion for rowversion in rowversions if rowversion is not None]
        lengths = list(map(len, told))
        if told and (min(lengths) == 0 or max(lengths) > MAX_ROWVERSION_CHARACTERS or not "".join(told).isprintable()):
            raise NotExactError("rowversion")
        if told and max(lengths) * 4 > MAX_ROWVERSION_BYTES and max(map(bytes_of, told)) > MAX_ROWVERSION_BYTES:
            raise NotExactError("rowversion in bytes")
        return Page(number, body, len(rows), rowversions, [row.data for row in rows])

    def _settle_fast(self, pages: list[Page]) -> None:
        records = [record for page in pages for record in page.records or ()]
        sent: dict[int, dict[str, Any]] = {}
        columns = [
            to_array(self._values(records, getter, column, sent), column.type)
            for getter, column in zip(self._getters, self.entity.columns, strict=True)
        ]
        if self.entity.coerced:
            columns.append(pa.array([note(sent.get(place, {})) for place in range(len(records))], pa.string()))
        if any(pc.any(pc.equal(columns[index], 0)).as_py() for index in self._doubles) and any(
            _TINY.search(page.body) for page in pages
        ):
            raise NotExactError("a zero that may be 1e-400")
        for place, page in enumerate(pages):
            page.columns = columns if place == 0 else [column.slice(0, 0) for column in columns]
            page.records = None

    def _values(self, records: list[Any], getter: Any, column: Column, sent: dict[int, dict[str, Any]]) -> list[Any]:
        """The values of a column, cut where a person allows it; `sent` gets what was sent instead, by record.

        Raises:
            NotExactError: some text is longer than the column.
        """
        values = list(map(getter, records))
        if not column.coerce or column.type.kind not in _TEXTS:
            return values
        texts = pa.array(values, pa.string())
        if column.type.length is not None and (pc.max(pc.utf8_length(texts)).as_py() or 0) > column.type.length:
            raise NotExactError("longer than declared")
        texts, lost = cut_texts(texts, column.type, column.coerce)
        if lost is None:
            return values
        for place in pc.indices_nonzero(lost).to_pylist():
            sent.setdefault(place, {})[column.name] = values[place]
        return texts.to_pylist()

    def _settle_slow(self, page: Page) -> None:
        """Record by record; of a page that lost its end to `drop_after`, only the records that are left."""
        exact, left = self._decode_slow(page.number, page.body), len(page.rowversions)
        positions = exact.positions or []
        kept = sum(position < left for position in positions)
        page.columns = [column.slice(0, kept) for column in exact.columns]
        page.rowversions, page.positions = exact.rowversions[:kept], positions[:kept]
        page.rejects = [reject for reject in exact.rejects if reject.position < left]
        page.records = None

    def _decode_slow(self, number: int, body: bytes) -> Page:
        good: list[list[str | None]] = []
        rowversions: list[str | None] = []
        positions: list[int] = []
        rejects: list[Reject] = []
        coerced: list[str | None] = []
        undeclared: set[str] = set()
        declared = {column.name for column in self.entity.columns}
        fetched = 0
        for position, raw in enumerate(each_record(body)):
            fetched += 1
            parsed = parse_record(raw, self.entity, number, position)
            self._unknown |= parsed.field_names - declared
            undeclared |= {printable(name, 100) for name in parsed.field_names - declared}
            if isinstance(parsed.outcome, Reject):
                rejects.append(parsed.outcome)
            else:
                good.append(parsed.outcome)
                rowversions.append(parsed.rowversion)
                positions.append(position)
                coerced.append(parsed.coerced)
        columns = [
            from_canonical([record[index] for record in good], column.type)
            for index, column in enumerate(self.entity.columns)
        ]
        columns += [pa.array(coerced, pa.string())] if self.entity.coerced else []
        return Page(number, body, fetched, rowversions, None, columns, positions, rejects, undeclared)

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
        return pa.table(page.columns[:count], names=[f"c{index}" for index in range(count)])


def _forms(name: str) -> set[bytes]:
    """A name as JSON writes it."""
    return {json.dumps(name).encode(), json.dumps(name, ensure_ascii=False).encode("utf-8", errors="surrogatepass")}


def _default(kind: Kind) -> Any:
    return msgspec.Raw(b"null") if kind in (Kind.JSON, Kind.NUMERIC) else None


def _can_be_a_field(name: str) -> bool:
    """Whether msgspec takes a name for a field: it looks for the name as it is spelled without escapes."""
    return name.isprintable() and '"' not in name and "\\" not in name


def _page_decoder(fields: list[Any], names: dict[str, str], *, forbid_unknown: bool) -> Any:
    data = msgspec.defstruct("Data", fields, rename=names, forbid_unknown_fields=forbid_unknown, gc=False)
    row = msgspec.defstruct("Row", [("data", data), ("row_version", str | int | None, None)], gc=False)
    page = msgspec.defstruct("Page", [("rows", list[row])], gc=False)  # type: ignore[valid-type]
    return msgspec.json.Decoder(page)
