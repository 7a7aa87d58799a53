"""Rate limits: whose turn it is to ask."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Turns(Protocol):
    """A rate limit: `RateLimiter` within a process, `catalog.slots.SharedRateLimiter` over all of them."""

    def wait(self, patience_seconds: float | None = None) -> bool:
        """Sleep until this caller's turn; False, at once, when that is more than `patience_seconds` away."""
        ...


class RateLimiter:
    """Spaces requests evenly over all threads of this process."""

    def __init__(self, requests_per_second: float | None) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_at = 0.0
        self._lock = threading.Lock()

    def wait(self, patience_seconds: float | None = None) -> bool:
        """Sleep until this caller's turn; False, at once, when that is more than `patience_seconds` away."""
        if not self._interval:
            return True
        with self._lock:
            now = time.monotonic()
            turn = max(self._next_at, now)
            if patience_seconds is not None and turn - now > patience_seconds:
                return False
            self._next_at = turn + self._interval
        remaining = turn - time.monotonic()
        time.sleep(max(0.0, remaining))
        return True
