"""Row version generators: each call gives the row version of the next write.

They differ in exactly what a reader must survive: ties (several writes in one
second), strings of growing width ("9" then "10"), fixed-width hexadecimal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Clock = Callable[[], datetime]


class Rowversions(Protocol):
    """Anything that returns the next row version when called."""

    def __call__(self) -> str:
        """Return the row version of the next write."""
        ...


def utc_now() -> datetime:
    """Return the current time, with its zone."""
    return datetime.now(UTC)


class TimestampRowversions:
    """The time of the write as digits; writes within one second tie.

    Args:
        fmt: strftime format, by default the 14 digits of the S2 contract.
        clock: returns the time; replace it to freeze or turn back the clock.
    """

    def __init__(self, fmt: str = "%Y%m%d%H%M%S", clock: Clock = utc_now) -> None:
        self.fmt = fmt
        self.clock = clock

    def __call__(self) -> str:
        """Return the clock's time in the chosen format."""
        now = self.clock()
        return now.strftime(self.fmt)


class IsoRowversions:
    """The time of the write as an ISO 8601 string, microseconds and zone included."""

    def __init__(self, clock: Clock = utc_now, timespec: str = "microseconds") -> None:
        self.clock = clock
        self.timespec = timespec

    def __call__(self) -> str:
        """Return the clock's time in ISO form."""
        now = self.clock()
        return now.isoformat(timespec=self.timespec)


class _Counter:
    """A counter that moves on after `burst` calls; safe to share between threads."""

    def __init__(self, start: int, burst: int = 1) -> None:
        if burst < 1:
            raise ValueError("burst must be at least 1")
        self._lock = threading.Lock()
        self._start = start
        self._burst = burst
        self._calls = 0

    def take(self) -> int:
        """Return the current number and count the call."""
        with self._lock:
            steps = self._calls // self._burst
            self._calls += 1
        return self._start + steps


class IntegerRowversions:
    """Counting numbers as strings.

    Args:
        start: the first number.
        width: pad with zeros to this width; None lets the width grow.
        burst: how many consecutive writes share one number.
    """

    def __init__(self, start: int = 1, width: int | None = None, burst: int = 1) -> None:
        self._counter = _Counter(start, burst)
        self._width = width or 0

    def __call__(self) -> str:
        """Return the next number."""
        number = self._counter.take()
        return str(number).zfill(self._width)


class HexRowversions:
    """Counting numbers as fixed-width lower-case hexadecimal, as SQL Server's rowversion prints."""

    def __init__(self, width: int = 16, start: int = 1, burst: int = 1) -> None:
        self._counter = _Counter(start, burst)
        self._width = width

    def __call__(self) -> str:
        """Return the next number."""
        number = self._counter.take()
        return f"{number:0{self._width}x}"
