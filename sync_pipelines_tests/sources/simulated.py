"""A source in memory that misbehaves on command, and a copy that follows it with our protocol or with SyncFlow's."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.cursor_plan import CursorMark, plan_cursor, plan_marks
from sync_pipelines.sources.paging import read_keyset, read_pages
from sync_pipelines.sources.reading import Answer, Pager, Piece, Reading

EPOCH = datetime(2024, 6, 30, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """One version of a row."""

    key: int
    rowversion: str
    value: int


class FakePage:
    """What the protocol asks of a page."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    @property
    def digest(self) -> bytes:
        """As `batches.decode.Page`."""
        return repr(self.rows).encode()

    def record_digests(self, rowversion: str) -> list[bytes]:
        """As `batches.decode.Page`."""
        return [repr(row).encode() for row in self.rows if row.rowversion == rowversion]


def kept(piece: Piece) -> list[Row]:
    """The rows of a piece that count."""
    if piece.repeated:
        return []
    rows = piece.page.rows
    if piece.keep_until is None:
        return rows
    places = [place for place, row in enumerate(rows) if row.rowversion == piece.keep_until]
    return rows[: places[-1] + 1] if places else []


@dataclass
class Source:
    """Rows by key, and how the API behaves; time moves with every request.

    Attributes:
        codec: DIGITS gives second-granular times, INTEGER growing numbers.
        cap: the server sends at most so many rows a page; a function is asked every time.
        unstable: equal rowversions come in another order with every request.
        is_sorted, minds_page, minds_filter: False breaks that part of the contract.
        on_fetch: called before every answer, with the number of the request.
    """

    codec: Codec = Codec.DIGITS
    cap: Callable[[], int] | None = None
    unstable: bool = False
    is_sorted: bool = True
    minds_page: bool = True
    minds_filter: bool = True
    on_fetch: Callable[[int], None] = lambda request: None
    empty_answers: set[int] = field(default_factory=set)
    rows: dict[int, Row] = field(default_factory=dict)
    pending: list[tuple[float, Row]] = field(default_factory=list)
    seconds: float = 0.0
    requests: int = 0
    writes: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def now(self) -> datetime:
        """The source's clock."""
        return EPOCH + timedelta(seconds=self.seconds)

    def write(self, key: int, delay_seconds: float = 0.0, rowversion: str | None = None) -> None:
        """Insert or update; with a delay the row becomes visible later, under the rowversion of now."""
        if any(row.key == key for _, row in self.pending):
            return
        self.writes += 1
        if rowversion is None:
            rowversion = (
                self.now.strftime("%Y%m%d%H%M%S")
                if self.codec is Codec.DIGITS
                else str(self.writes)
            )
        self.pending.append((self.seconds + delay_seconds, Row(key, rowversion, self.writes)))
        self.tick(0)

    def tick(self, seconds: float) -> None:
        """Let time pass and commit what is due."""
        self.seconds += seconds
        for due, row in sorted(self.pending, key=lambda one: one[0]):
            if due <= self.seconds:
                self.rows[row.key] = row
        self.pending = [one for one in self.pending if one[0] > self.seconds]

    def fetch(self, rowversion_gt: str | None, page: int, page_size: int) -> Answer:
        """One answer of the API."""
        self.requests += 1
        self.on_fetch(self.requests)
        rows = [
            row
            for row in self.rows.values()
            if rowversion_gt is None or not self.minds_filter or self._is_after(row, rowversion_gt)
        ]
        if self.unstable:
            self.dice.shuffle(rows)
        if self.is_sorted:
            rows.sort(key=lambda row: order_key(self.codec, row.rowversion))
        size = min(page_size, self.cap()) if self.cap else page_size
        first = (page - 1) * size if self.minds_page else 0
        rows = [] if self.requests in self.empty_answers else rows[first : first + size]
        return Answer(FakePage(rows), [row.rowversion for row in rows], len(rows))

    def _is_after(self, row: Row, rowversion: str) -> bool:
        return order_key(self.codec, row.rowversion) > order_key(self.codec, rowversion)


@dataclass
class Copy:
    """A copy as the publish step keeps it: the newest rowversion of a key wins, then the newest reading."""

    source: Source
    page_size: int = 10
    lookback_seconds: int = 60
    cursor: str | None = None
    marks: tuple[CursorMark, ...] = ()
    rows: dict[int, Row] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)

    def take(self, rows: list[Row]) -> None:
        """Merge rows in the order read."""
        for row in rows:
            known = self.rows.get(row.key)
            key = order_key(self.source.codec, row.rowversion)
            if known is None or key >= order_key(self.source.codec, known.rowversion):
                self.rows[row.key] = row

    def sync(self, *, full: bool = False) -> None:
        """One run of our protocol with its checkpoint."""
        source, reading = self.source, Reading(self.source.codec)
        started_at, after = source.now, None if full else self.cursor
        seen: set[int] = set()
        pager = Pager(source.fetch, self.page_size, max_pages=10_000)
        for piece in read_keyset(pager, reading, after=after, confirm_end=after is None):
            self.take(kept(piece))
            seen.update(row.key for row in kept(piece))
        if after is None:
            self.deleted = self.rows.keys() - seen
        self.warnings += reading.warnings
        if not reading.drained:
            return
        read_seconds = (source.now - started_at).total_seconds()
        self.cursor = plan_cursor(
            source.codec,
            current=self.cursor,
            marks=self.marks,
            started_at=started_at,
            read_seconds=read_seconds,
            last=reading.last,
            below_last=reading.below_last,
            lookback_seconds=self.lookback_seconds,
        )
        mark = CursorMark(source.now, reading.last) if reading.last else None
        self.marks = plan_marks(self.marks, mark, started_at, self.lookback_seconds)

    def sync_like_syncflow(self) -> None:
        """SyncFlow's own loop: a fixed cursor, page 1, 2, 3, …, then the highest rowversion."""
        number, highest = 1, self.cursor
        while answer := self.source.fetch(self.cursor, number, self.page_size):
            if not answer.count:
                break
            self.take(answer.page.rows)
            highest = max([highest or "", *answer.rowversions])
            number += 1
        self.cursor = highest

    def sync_by_page(self) -> None:
        """The loop for sources without rowversions."""
        for piece in read_pages(Pager(self.source.fetch, self.page_size, max_pages=10_000)):
            self.take(kept(piece))

    @property
    def missing(self) -> dict[int, Row]:
        """Rows of the source whose current version the copy has not."""
        return {key: row for key, row in self.source.rows.items() if self.rows.get(key) != row}
