"""Cursor codecs: how the rowversions of an entity are compared, and what time they name.

SyncFlow compares rowversions as strings, which is right only for fixed widths ("9" > "10"). Each entity therefore
has a codec; it is declared by the API (`rowversion_codec`), set by a person, or inferred from the first page.
"""

from __future__ import annotations

import itertools
import operator
import re
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
_PREFIXED_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_LOWER_HEX = re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{2,}")
_UPPER_HEX = re.compile(r"(?=[A-F]*[0-9])[0-9A-F]{2,}")
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?)?\s*(Z|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE | re.ASCII,
)
_DIGITS_FORMAT = "%Y%m%d%H%M%S"
_SECOND_DIGITS = 14
_DIGITS_WIDTHS = range(_SECOND_DIGITS, 21)
# The largest offset of PostgreSQL, which compares them, too.
_MAX_OFFSET = timedelta(hours=16)
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
_DAY = timedelta(days=1)
# Zones reach 14 hours; a later moment is no time of a write.
_MAX_AHEAD = _DAY


def infer_codec(rowversions: list[str]) -> Codec:
    """Choose the codec that fits all of a first page's rowversions.

    Digits that read as a date and time are DIGITS; other digits are INTEGER unless a leading zero shows a fixed
    width. Hexadecimal digits of one width and one case sort as TEXT. One width alone proves no order (base64 and most
    dates have one), so anything else is OPAQUE.
    """
    widths = set(map(len, rowversions))
    has_one_width = len(widths) == 1
    if all(map(_INTEGER.fullmatch, rowversions)):
        return _infer_digits(rowversions, has_one_width)
    if all(map(_iso_time, rowversions)):
        return Codec.TIMESTAMP
    if all(map(_PREFIXED_HEX.fullmatch, rowversions)):
        return Codec.HEX
    notation = proven_notation(rowversions)
    if notation is not None:
        return Codec(notation)
    if has_one_width and _is_padded_hex(rowversions):
        return Codec.TEXT
    return Codec.OPAQUE


def _infer_digits(rowversions: list[str], has_one_width: bool) -> Codec:
    if not has_one_width:
        return Codec.INTEGER
    if all(_digits_time(rowversion) and rowversion >= "1900" for rowversion in rowversions):
        return Codec.DIGITS
    for rowversion in rowversions:
        if len(rowversion) > 1 and rowversion.startswith("0"):
            return Codec.TEXT
    return Codec.INTEGER


def _is_padded_hex(rowversions: list[str]) -> bool:
    """Hexadecimal digits of one case, decimal ones in each: base64 has runs of letters such as AAAAAAAB, too."""
    if all(map(_LOWER_HEX.fullmatch, rowversions)):
        return True
    return all(map(_UPPER_HEX.fullmatch, rowversions))


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
    least = min(keys)
    if after is not None and least <= order_key(codec, after):
        lowest = rowversions[keys.index(least)]
        raise CursorProtocolError(
            f"The source was asked for rowversions greater than {after!r} and sent {lowest!r}."
        )
    for place in range(1, len(keys)):
        if keys[place] < keys[place - 1]:
            raise UnsortedPageError(
                f"The rowversion {rowversions[place]!r} follows {rowversions[place - 1]!r}: the page is not"
                f" sorted under the codec {codec!s}."
            )


def _sorts_as_text(
    codec: Codec,
    rowversions: list[str],
    after: str | None,
) -> bool:
    """Whether texts of one width are sorted and behind the cursor, which is cheaper to see than by their keys."""
    if after is not None and rowversions[0] <= after:
        return False
    if not _is_sorted(rowversions):
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
    for rowversion in rowversions:
        if len(rowversion) != width:
            shown = printable(rowversion, 100)
            raise CursorProtocolError(
                f"The rowversion {shown!r} has {len(rowversion)} characters where the others have {width};"
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
    following = itertools.islice(values, 1, None)
    return all(map(operator.le, values, following))


def is_ahead(
    codec: Codec,
    rowversion: str,
    started_at: datetime,
) -> bool:
    """True when a rowversion is further in the future than any time zone explains."""
    if not codec.tells_time:
        return False
    if codec is Codec.DIGITS:
        moment = _digits_time(rowversion)
    else:
        moment, _ = order_key(codec, rowversion)
    latest = started_at + _MAX_AHEAD
    return moment is not None and bool(moment > latest)


def subtract_seconds(
    codec: Codec,
    rowversion: str,
    seconds: float,
) -> str:
    """The rowversion `seconds` and one granule earlier, in the same notation.

    Args:
        codec: one whose rowversions are times.
        rowversion: the rowversion to start from.
        seconds: duration; rounded up to whole seconds.
    """
    back = timedelta(seconds=int(seconds) + 2)
    if codec is Codec.DIGITS:
        moment = _digits_time(rowversion)
        assert moment is not None
        text = _earlier(moment, back).strftime(_DIGITS_FORMAT)
        return text.zfill(_SECOND_DIGITS).ljust(len(rowversion), "0")
    if codec in NOTATIONS:
        parsed = moment_of(codec, rowversion)
        assert parsed is not None
        moment, _ = parsed
        notation = NOTATIONS[codec]
        if not notation.has_time(rowversion):
            back += _DAY
        return notation.write(_earlier(moment, back), rowversion)
    return _subtract_iso(rowversion, back)


def _subtract_iso(rowversion: str, back: timedelta) -> str:
    match = _ISO.fullmatch(rowversion)
    parsed = _iso_time(rowversion)
    assert match is not None and parsed is not None
    instant, _ = parsed
    earlier = _earlier(instant, back) + _offset(match[4] or "")
    day_end = match.end(1)
    if match[2] is None:
        day = _earlier(earlier, _DAY).date()
        return day.isoformat() + rowversion[day_end:]
    time_end = match.end(2)
    written = earlier.replace(tzinfo=None).isoformat(sep=rowversion[day_end], timespec="seconds")
    text = written[:time_end]
    if match[3]:
        zeros = "0" * len(match[3])
        text += rowversion[time_end] + zeros
    rest = rowversion[len(text) :]
    return text + rest


def _earlier(moment: datetime, back: timedelta) -> datetime:
    """The moment so much earlier, but not before the calendar begins."""
    if moment - _EARLIEST > back:
        return moment - back
    return min(moment, _EARLIEST)


def seconds_between(
    codec: Codec,
    earlier: str,
    later: str,
) -> float | None:
    """Seconds from one rowversion to another; None when either is no time."""
    first = _moment(codec, earlier)
    second = _moment(codec, later)
    if first is None or second is None:
        return None
    duration = second - first
    return duration.total_seconds()


def _moment(codec: Codec, rowversion: str) -> datetime | None:
    """The moment that a rowversion names, where it names one."""
    if codec is Codec.DIGITS:
        return _digits_time(rowversion)
    is_calendar = codec in NOTATIONS
    parsed = moment_of(codec, rowversion) if is_calendar else _iso_time(rowversion)
    return None if parsed is None else parsed[0]


@lru_cache(maxsize=4096)
def _digits_time(rowversion: str) -> datetime | None:
    is_number = rowversion.isascii() and rowversion.isdigit()
    if not is_number or len(rowversion) not in _DIGITS_WIDTHS:
        return None
    seconds = rowversion[:_SECOND_DIGITS]
    try:
        return datetime.strptime(seconds, _DIGITS_FORMAT).replace(tzinfo=UTC)
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
        local = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}")
        moment = local.replace(tzinfo=UTC) - offset
    except (ValueError, OverflowError):
        return None
    fraction = match[3] or "0"
    return moment, int(fraction.ljust(9, "0"))


def _offset(zone: str) -> timedelta:
    if zone in ("", "Z", "z"):
        return timedelta()
    digits = zone[1:].replace(":", "")
    hours = int(digits[:2])
    minutes = int(digits[2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone.startswith("-") else offset
