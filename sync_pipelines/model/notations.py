"""Moments in calendar notations that do not sort as text: HTTP dates, C's ctime, dates with the month or the day first.

One regular expression a notation serves Python, PostgreSQL and Trino, so that all three order alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_NAME = f"({'|'.join(_DAYS)})"
_MONTH_NAME = f"({'|'.join(_MONTHS[place : place + 3] for place in range(0, 36, 3))})"
_CLOCK = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_TIME_OF_DAY = (
    r"(?:,?[ T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(?: *([AaPp])[Mm])?)?"
)

Extract = Callable[[int], str]
"""SQL for the text of a group of the notation's pattern, NULL where the text does not match."""


@dataclass(frozen=True)
class Notation:
    """Where the parts of a moment are in a text; numbers are groups of `pattern`, 0 = the notation has no such part."""

    pattern: str
    year: int
    month: int
    day: int
    hour: int
    fraction: int = 0
    half: int = 0
    weekday: int = 0
    names_months: bool = False

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.ASCII)

    def parse(self, text: str) -> tuple[datetime, int] | None:
        """The moment (no zone = UTC) and its nanoseconds below the second.

        None when the text is not of this notation.
        """
        match = self._compiled.fullmatch(text)
        if match is None or text.endswith("\n"):
            return None
        hour, minute, second = (int(match[self.hour + place] or 0) for place in range(3))
        half = match[self.half].lower() if self.half and match[self.half] else ""
        if half and not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0) if half else hour
        try:
            moment = datetime(
                int(match[self.year]),
                self._month(match),
                int(match[self.day]),
                hour,
                minute,
                second,
                tzinfo=UTC,
            )
        except ValueError:
            return None
        return moment, int(((match[self.fraction] if self.fraction else None) or "").ljust(9, "0"))

    def _month(self, match: re.Match[str]) -> int:
        return (
            _MONTHS.index(match[self.month]) // 3 + 1
            if self.names_months
            else int(match[self.month])
        )

    def has_time(self, text: str) -> bool:
        """Whether a text of this notation has a time beside the day."""
        match = self._compiled.fullmatch(text)
        return match is not None and match[self.hour] is not None

    def write(self, moment: datetime, like: str) -> str:
        """A moment in the layout of another text; parts that the text does not have are cut off."""
        match = self._compiled.fullmatch(like)
        assert match is not None
        parts = self._parts(moment, match)
        text = like
        written = [group for group in parts if match[group] is not None]
        for group in sorted(written, key=match.start, reverse=True):
            blank = " " if match[group].startswith(" ") else "0"
            part = parts[group].rjust(len(match[group]), blank)
            text = text[: match.start(group)] + part + text[match.end(group) :]
        return text

    def _parts(self, moment: datetime, match: re.Match[str]) -> dict[int, str]:
        """The texts of a moment by the groups of the layout that they replace."""
        half = match[self.half] if self.half else None
        hour = moment.hour if half is None else moment.hour % 12 or 12
        month = (
            _MONTHS[3 * moment.month - 3 : 3 * moment.month]
            if self.names_months
            else str(moment.month)
        )
        parts = {self.year: f"{moment.year:04d}", self.month: month, self.day: str(moment.day)}
        parts |= {
            self.hour: str(hour),
            self.hour + 1: f"{moment.minute:02d}",
            self.hour + 2: f"{moment.second:02d}",
        }
        if half is not None:
            letter = "a" if moment.hour < 12 else "p"
            parts[self.half] = letter.upper() if half.isupper() else letter
        if self.weekday:
            parts[self.weekday] = _DAYS[moment.weekday()]
        if self.fraction:
            parts[self.fraction] = "0" * len(match[self.fraction] or "")
        return parts

    def order_sql(self, extract: Extract) -> str:
        """SQL for a text of digits that sorts as the moments do; NULL for what is not of this notation."""
        month = extract(self.month)
        if self.names_months:
            month = f"CAST((strpos('{_MONTHS}', {month}) + 2) / 3 AS varchar)"
        hour = extract(self.hour)
        if self.half:
            half = f"lower({extract(self.half)})"
            hours = f"CAST(coalesce({hour}, '0') AS integer)"
            hour = (
                f"CAST(CASE WHEN {half} IS NULL THEN {hours} ELSE mod({hours}, 12) END + CASE WHEN {half} = 'p'"
                " THEN 12 ELSE 0 END AS varchar)"
            )
        parts = [extract(self.year), _two(month), _two(extract(self.day)), _two(hour)]
        parts += [f"coalesce({extract(self.hour + place)}, '00')" for place in (1, 2)]
        if self.fraction:
            parts.append(f"rpad(coalesce({extract(self.fraction)}, ''), 9, '0')")
        return " || ".join(parts)


def _two(expression: str) -> str:
    return f"lpad(trim({expression}), 2, '0')"


HTTP_DATE = Notation(
    rf"^{_DAY_NAME}, ([0-9]{{2}}) {_MONTH_NAME} ([0-9]{{4}}) {_CLOCK} (?:GMT|UTC|\+0000)$",
    weekday=1,
    day=2,
    month=3,
    year=4,
    hour=5,
    names_months=True,
)
CTIME = Notation(
    rf"^{_DAY_NAME} {_MONTH_NAME} ([ 0-9][0-9]) {_CLOCK}(?: (?:GMT|UTC|\+0000))? ([0-9]{{4}})$",
    weekday=1,
    month=2,
    day=3,
    hour=4,
    year=7,
    names_months=True,
)
US_DATE = Notation(
    rf"^([0-9]{{1,2}})[/-]([0-9]{{1,2}})[/-]([0-9]{{4}}){_TIME_OF_DAY}$",
    month=1,
    day=2,
    year=3,
    hour=4,
    fraction=7,
    half=8,
)
EU_DATE = Notation(
    rf"^([0-9]{{1,2}})[./-]([0-9]{{1,2}})[./-]([0-9]{{4}}){_TIME_OF_DAY}$",
    day=1,
    month=2,
    year=3,
    hour=4,
    fraction=7,
    half=8,
)
NOTATIONS = {
    "http_date": HTTP_DATE,
    "ctime": CTIME,
    "us_date": US_DATE,
    "eu_date": EU_DATE,
}


@lru_cache(maxsize=4096)
def moment_of(notation: str, text: str) -> tuple[datetime, int] | None:
    """As `Notation.parse`, for a name of NOTATIONS."""
    return NOTATIONS[notation].parse(text)


def proven_notation(texts: list[str]) -> str | None:
    """The notation that all texts have, where no other one fits them as well: 03/04/2025 alone proves neither order of
    day and month.
    """
    fitting = []
    for name in NOTATIONS:
        if all(moment_of(name, text) for text in texts):
            fitting.append(name)
    return fitting[0] if len(fitting) == 1 else None
