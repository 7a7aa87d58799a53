"""How a step learns that its run is cancelled."""

from __future__ import annotations

import contextvars
import threading

_cancellation: contextvars.ContextVar[threading.Event] = contextvars.ContextVar(
    "sync_pipelines_cancellation"
)


def cancellation_event() -> threading.Event:
    """Return the event that is set when the run of the current step is cancelled.

    Take it once in the op and hand it to inner threads and pure code; ``event.wait(seconds)`` is a sleep that ends on
    cancellation. Outside a threaded run it is an event that is never set.
    """
    return _cancellation.get(None) or threading.Event()


def cancelled() -> bool:
    """Return whether the run of the current step is being cancelled; poll it between pages and batches."""
    return cancellation_event().is_set()
