"""Cursor codecs: how the rowversions of an entity are compared, and how far a cursor may move.

SyncFlow compares rowversions as strings, which is right only for fixed widths ("9" > "10"). Each entity therefore
has a codec; it is declared by the API (`rowversion_codec`), set by a person, or inferred from the first page.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sync_pipelines.errors import CursorProtocolError, UnsortedPageError
from sync_pipelines.model.notations import NOTATIONS, moment_of, proven_notation
from sync_pipelines.secrets import printable


class Codec(StrEnum):
    """How two rowversions are compared.

    TEXT: fixed width, compared byte by byte. INTEGER: a whole number of any width. HEX: hexadecimal digits with
    or without 0x. DIGITS: a timestamp as 14 to 20 digits (YYYYMMDDHHMMSS and fractions). TIMESTAMP: ISO 8601.
    HTTP_DATE: Sun, 06 Nov 1994 08:49:37 GMT (RFC 9110). CTIME: Sun Nov 06 08:49:37 +0000 1994. US_DATE: month, day,
        year;
    EU_DATE: day, month, year; both with or without a time. OPAQUE: only the source knows the order; it is taken as
        sent.
    """

    TEXT = "text"
    INTEGER = "integer"
    HEX = "hex"
    DIGITS = "digits"
    TIMESTAMP = "timestamp"
    HTTP_DATE = "http_date"
    CTIME = "ctime"
    US_DATE = "us_date"
    EU_DATE = "eu_date"
    OPAQUE = "opaque"

    @property
    def tells_time(self) -> bool:
        """A rowversion from which a duration can be subtracted."""
        return self in (Codec.DIGITS, Codec.TIMESTAMP) or self in NOTATIONS


_INTEGER = re.compile(r"-?[0-9]+")
_HEX = re.compile(r"(0[xX])?[0-9a-fA-F]+")
_LOWER_HEX = re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{2,}")
_UPPER_HEX = re.compile(r"(?=[A-F]*[0-9])[0-9A-F]{2,}")
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE | re.ASCII,
)
_DIGITS_WIDTHS = range(14, 21)
_MAX_OFFSET = timedelta(hours=16)  # of PostgreSQL, which compares them, too
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_MAX_AHEAD = timedelta(days=1)  # zones reach 14 hours; a later moment is no time of a write
_KEPT_MARKS = 20


@dataclass(frozen=True, slots=True)
class CursorMark:
    """What one finished read knew: at `at` (database clock, UTC) everything up to `position` had been read."""

    at: datetime
    position: str

    def as_json(self) -> dict[str, str]:
        """The mark as stored in `bridge.entities.cursor_marks`."""
        return {"at": self.at.isoformat(), "position": self.position}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> CursorMark:
        """Read a stored mark."""
        return cls(datetime.fromisoformat(data["at"]), data["position"])


def infer_codec(rowversions: list[str]) -> Codec:
    """Choose the codec that fits all of a first page's rowversions.

    Digits that read as a date and time are DIGITS; other digits are INTEGER unless a leading zero shows a fixed
    width. Hexadecimal digits of one width and one case sort as TEXT. One width alone proves no order (base64 and most
    dates have one), so anything else is OPAQUE.
    """
    has_one_width = len(set(map(len, rowversions))) == 1
    if all(_INTEGER.fullmatch(rowversion) for rowversion in rowversions):
        return _infer_digits(rowversions, has_one_width)
    if all(_iso_time(rowversion) is not None for rowversion in rowversions):
        return Codec.TIMESTAMP
    if all(
        rowversion[:2].lower() == "0x" and _HEX.fullmatch(rowversion) for rowversion in rowversions
    ):
        return Codec.HEX
    notation = proven_notation(rowversions)
    if notation is not None:
        return Codec(notation)
    return Codec.TEXT if has_one_width and _is_padded_hex(rowversions) else Codec.OPAQUE


def _infer_digits(rowversions: list[str], has_one_width: bool) -> Codec:
    if not has_one_width:
        return Codec.INTEGER
    if all(_digits_time(rowversion) and rowversion >= "1900" for rowversion in rowversions):
        return Codec.DIGITS
    has_leading_zero = any(
        len(rowversion) > 1 and rowversion.startswith("0") for rowversion in rowversions
    )
    return Codec.TEXT if has_leading_zero else Codec.INTEGER


def _is_padded_hex(rowversions: list[str]) -> bool:
    """Hexadecimal digits of one case, decimal ones in each: base64 has runs of letters such as AAAAAAAB, too."""
    forms = (_LOWER_HEX, _UPPER_HEX)
    return any(all(form.fullmatch(rowversion) for rowversion in rowversions) for form in forms)


def order_key(codec: Codec, rowversion: str) -> Any:
    """A value that sorts as the codec says.

    Raises:
        CursorProtocolError: the rowversion is not one of this codec.
    """
    match codec:
        case Codec.INTEGER if _INTEGER.fullmatch(rowversion):
            return int(rowversion)
        case Codec.HEX if _HEX.fullmatch(rowversion):
            return int(rowversion, 16)
        case Codec.DIGITS if _digits_time(rowversion):
            return rowversion
        case Codec.TIMESTAMP:
            parsed = _iso_time(rowversion)
            if parsed is not None:
                return parsed
        case Codec.HTTP_DATE | Codec.CTIME | Codec.US_DATE | Codec.EU_DATE:
            parsed = moment_of(codec, rowversion)
            if parsed is not None:
                return parsed
        case Codec.TEXT:
            return rowversion.encode()
        case Codec.OPAQUE:
            return 0
    raise CursorProtocolError(
        f"The rowversion {printable(rowversion, 100)!r} is not of the codec {codec!s}."
    )


def check_page_order(
    codec: Codec,
    rowversions: list[str],
    after: str | None,
) -> None:
    """Verify what the paging protocol relies on: one width, after the cursor, never decreasing.

    Where only the source knows the order, equal ones must at least follow each other, behind the cursor.

    Raises:
        UnsortedPageError: they decrease.
        CursorProtocolError: says which rowversion breaks which other rule.
    """
    if not rowversions:
        return
    if codec is Codec.OPAQUE:
        _check_opaque(rowversions, after)
        return
    if codec in (Codec.TEXT, Codec.DIGITS):
        _check_width(codec, rowversions, after)
        if _sorts_as_text(codec, rowversions, after):
            return
    keys = [order_key(codec, rowversion) for rowversion in rowversions]
    if after is not None and min(keys) <= order_key(codec, after):
        lowest = rowversions[keys.index(min(keys))]
        raise CursorProtocolError(
            f"The source was asked for rowversions greater than {after!r} and sent {lowest!r}."
        )
    falls = next((place for place in range(1, len(keys)) if keys[place] < keys[place - 1]), None)
    if falls is not None:
        raise UnsortedPageError(
            f"The rowversion {rowversions[falls]!r} follows {rowversions[falls - 1]!r}: the page is not"
            f" sorted under the codec {codec!s}."
        )


def _sorts_as_text(
    codec: Codec,
    rowversions: list[str],
    after: str | None,
) -> bool:
    """Whether texts of one width are sorted and behind the cursor, which is cheaper to see than by their keys."""
    if (after is not None and rowversions[0] <= after) or not _is_sorted(rowversions):
        return False
    if codec is Codec.DIGITS:
        # Both ends must be times; what sorts between them as text needs no look.
        order_key(codec, rowversions[0])
        order_key(codec, rowversions[-1])
    return True


def _check_width(
    codec: Codec,
    rowversions: list[str],
    after: str | None,
) -> None:
    width = len(after or rowversions[0])
    odd = next((rowversion for rowversion in rowversions if len(rowversion) != width), None)
    if odd is not None:
        raise CursorProtocolError(
            f"The rowversion {printable(odd, 100)!r} has {len(odd)} characters where the others have {width};"
            f" compared as fixed-width {codec!s} it would sort wrongly and rows would be lost."
        )


def _check_opaque(rowversions: list[str], after: str | None) -> None:
    groups = [rowversion for rowversion, _ in itertools.groupby(rowversions)]
    if after is not None and after in groups:
        raise CursorProtocolError(
            f"The source was asked for rowversions greater than {after!r} and sent {after!r}."
        )
    if len(set(groups)) < len(groups):
        raise UnsortedPageError(
            "Equal rowversions do not follow each other: the page is not sorted by them."
        )


def _is_sorted(values: list[str]) -> bool:
    return all(map(operator.le, values, itertools.islice(values, 1, None)))


def plan_cursor(
    codec: Codec,
    *,
    current: str | None,
    marks: tuple[CursorMark, ...],
    started_at: datetime,
    read_seconds: float,
    last: str | None,
    below_last: str | None,
    lookback_seconds: int,
) -> str | None:
    """The highest cursor after a read to the end of the source that cannot miss a row.

    A rowversion may be assigned up to `lookback_seconds` before its row becomes visible. Safe positions are
    (a) the current cursor, (b) the newest mark that is at least the lookback older than this read's
    start, since this read saw whatever was committed late below it, (c) for codecs that tell time, the last
    rowversion less the read's duration, the lookback and one granule: no clock but a stopwatch is involved.
    A mark counts only up to the last rowversion of this read: an answer that was empty by mistake proves nothing.
    A rowversion more than a day in the future is no time of a write and moves nothing. With a lookback of zero the
    position just below the last rowversion is safe. The group of the last rowversion is never closed: however old it
    is, a record may still join it, so the cursor stays below it.
    Algorithm: docs/promise.md.

    Args:
        codec: the entity's codec.
        current: the cursor before this read, None = none.
        marks: marks of earlier reads, any order.
        started_at: start of this read, database clock.
        read_seconds: duration of this read.
        last: highest rowversion read, None when nothing was read.
        below_last: highest rowversion read that is lower than `last`, None when there is none.
        lookback_seconds: the entity's lookback.
    """
    safe = [] if current is None else [current]
    if lookback_seconds == 0 and below_last is not None:
        safe.append(below_last)
    elif lookback_seconds != 0:
        horizon = started_at - timedelta(seconds=lookback_seconds)
        old = sorted((mark for mark in marks if mark.at <= horizon), key=lambda mark: mark.at)
        safe += [mark.position for mark in old if _reached(codec, last, mark.position, started_at)]
        newest = _newest_of_now(codec, (last, below_last), started_at)
        if codec.tells_time and newest is not None:
            safe.append(
                subtract_seconds(
                    codec,
                    newest,
                    lookback_seconds + read_seconds,
                )
            )
        safe = _below_last_group(codec, safe, current, last, below_last)
    if not safe:
        return None
    if codec is Codec.OPAQUE:
        return safe[-1]
    return max(safe, key=lambda position: order_key(codec, position))


def _below_last_group(
    codec: Codec,
    safe: list[str],
    current: str | None,
    last: str | None,
    below_last: str | None,
) -> list[str]:
    """Move positions in or above the last group below it; leave them out where nothing below it is known."""
    if last is None:
        return safe
    kept = []
    for position in safe:
        is_open = (
            position == last
            if codec is Codec.OPAQUE
            else order_key(codec, position) >= order_key(codec, last)
        )
        if not is_open or position == current:
            kept.append(position)
        elif below_last is not None:
            kept.append(below_last)
    return kept


def _newest_of_now(
    codec: Codec,
    rowversions: Sequence[str | None],
    started_at: datetime,
) -> str | None:
    """The first of the rowversions that is there and is not in the future."""
    for rowversion in rowversions:
        if rowversion is not None and not is_ahead(codec, rowversion, started_at):
            return rowversion
    return None


def _reached(
    codec: Codec,
    last: str | None,
    position: str,
    started_at: datetime,
) -> bool:
    if last is None or is_ahead(codec, position, started_at):
        return False
    return codec is Codec.OPAQUE or order_key(codec, position) <= order_key(codec, last)


def is_ahead(
    codec: Codec,
    rowversion: str,
    started_at: datetime,
) -> bool:
    """True when a rowversion is further in the future than any time zone explains."""
    if not codec.tells_time:
        return False
    moment = _digits_time(rowversion) if codec is Codec.DIGITS else order_key(codec, rowversion)[0]
    return moment is not None and bool(moment > started_at + _MAX_AHEAD)


def plan_marks(
    marks: tuple[CursorMark, ...],
    new: CursorMark | None,
    started_at: datetime,
    lookback_seconds: int,
) -> tuple[CursorMark, ...]:
    """Marks to keep: the newest that is older than the lookback, and younger ones, spread so that each can grow old."""
    horizon = started_at - timedelta(seconds=lookback_seconds)
    ordered = sorted([*marks, *([new] if new else [])], key=lambda mark: mark.at)
    older = [mark for mark in ordered if mark.at <= horizon]
    younger: list[CursorMark] = []
    for mark in ordered[len(older) :]:
        if not younger or mark.at - younger[-1].at >= timedelta(
            seconds=lookback_seconds / _KEPT_MARKS
        ):
            younger.append(mark)
    return (*older[-1:], *younger)


def subtract_seconds(
    codec: Codec,
    rowversion: str,
    seconds: float,
) -> str:
    """The rowversion `seconds` and one granule earlier, in the same notation.

    Args:
        codec: one that tells time.
        rowversion: the rowversion to start from.
        seconds: duration; rounded up to whole seconds.
    """
    back = timedelta(seconds=int(seconds) + 2)
    if codec is Codec.DIGITS:
        moment = _digits_time(rowversion)
        assert moment is not None
        return _earlier(moment, back).strftime("%Y%m%d%H%M%S").zfill(14) + "0" * (
            len(rowversion) - 14
        )
    if codec in NOTATIONS:
        told = moment_of(codec, rowversion)
        assert told is not None
        notation = NOTATIONS[codec]
        earlier = _earlier(
            told[0],
            back if notation.has_time(rowversion) else back + timedelta(days=1),
        )
        return notation.write(earlier, rowversion)
    match = _ISO.fullmatch(rowversion)
    instant = _iso_time(rowversion)
    assert match is not None and instant is not None
    earlier = _earlier(instant[0], back).replace(tzinfo=None) + _offset(match[4] or "")
    if match[2] is None:
        return (
            _earlier(earlier.replace(tzinfo=UTC), timedelta(days=1)).date().isoformat()
            + rowversion[10:]
        )
    text = earlier.isoformat(sep=rowversion[10], timespec="seconds")[: match.end(2)]
    if match[3]:
        text += rowversion[match.end(2)] + "0" * len(match[3])
    return text + rowversion[len(text) :]


def _earlier(moment: datetime, back: timedelta) -> datetime:
    return moment - back if moment - _EARLIEST > back else min(moment, _EARLIEST)


def seconds_between(
    codec: Codec,
    earlier: str,
    later: str,
) -> float | None:
    """Seconds from one rowversion to another; None when either does not tell time."""
    moments = []
    for rowversion in (earlier, later):
        if codec is Codec.DIGITS:
            moments.append(_digits_time(rowversion))
        elif codec in NOTATIONS:
            told = moment_of(codec, rowversion)
            moments.append(None if told is None else told[0])
        else:
            parsed = _iso_time(rowversion)
            moments.append(None if parsed is None else parsed[0])
    first, second = moments
    return None if first is None or second is None else (second - first).total_seconds()


@lru_cache(maxsize=4096)
def _digits_time(rowversion: str) -> datetime | None:
    if len(rowversion) not in _DIGITS_WIDTHS or not (rowversion.isascii() and rowversion.isdigit()):
        return None
    try:
        return datetime.strptime(rowversion[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _iso_time(rowversion: str) -> tuple[datetime, int] | None:
    """Instant (naive = UTC) and nanoseconds below the second, which datetime cannot hold exactly."""
    match = _ISO.fullmatch(rowversion)
    if match is None:
        return None
    zone = match[4] or ""
    offset = _offset(zone)
    if abs(offset) >= _MAX_OFFSET or (offset and int(zone[-2:]) > 59):
        return None
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}").replace(tzinfo=UTC)
        moment -= offset
    except (ValueError, OverflowError):
        return None
    return moment, int((match[3] or "0").ljust(9, "0"))


def _offset(zone: str) -> timedelta:
    if zone in ("", "Z", "z"):
        return timedelta()
    digits = zone[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if zone[0] == "-" else offset
