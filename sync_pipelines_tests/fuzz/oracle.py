"""CPU seconds per byte as an oracle: a function that takes a source's bytes is linear, whatever the bytes are.

Two signs of a fault, either is enough. Four times the input takes far more than four times the CPU
time, which shows quadratic behaviour on any machine. Or a byte costs more CPU time than any of our
functions may take, with a wide margin.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable

from sync_pipelines.errors import SyncError

FIRST_BYTES = 4_000
STEP = 4
MAX_GROWTH = 9.0  # linear is 4, quadratic is 16
MEASURED_SECONDS = 0.03  # below it, the clock and the caches weigh more than the function
MAX_SECONDS_PER_BYTE = 100e-6
_TRIES = 4

Taker = Callable[[bytes], object]


def cpu_seconds(take: Taker, content: bytes) -> float:
    """CPU seconds of one call; a refusal is an answer like any other."""
    # The collector's own time depends on what else is in the process.
    gc.disable()
    started = time.process_time()
    try:
        with contextlib.suppress(SyncError, ValueError):
            take(content)
        return time.process_time() - started
    finally:
        gc.enable()


def fault_of(
    take: Taker,
    make: Callable[[int], bytes],
    most_bytes: int = 256_000,
    limited_bytes: int = 0,
) -> str | None:
    """What is wrong with the CPU time of a function, in words; None where it is linear.

    Args:
        take: the function; its refusals are `SyncError` and `ValueError`.
        make: an input of about so many bytes.
        most_bytes: where to stop when the function is too quick to be measured.
        limited_bytes: up to so many bytes the answer itself may grow faster than the input, until a limit on it holds;
            growth is judged beyond.
    """
    cpu_seconds(take, make(200))  # imports and caches
    size, before = FIRST_BYTES, None
    while True:
        content = make(size)
        seconds = cpu_seconds(take, content)
        if seconds > max(len(content), FIRST_BYTES) * MAX_SECONDS_PER_BYTE:
            return f"{seconds:.2f} CPU s for {len(content)} bytes"
        if seconds > MEASURED_SECONDS and before is not None and size > limited_bytes:
            # A step of the caches looks like growth once; what is not linear grows so at the next step, too.
            return _growth(take, make, size) and _growth(take, make, size * STEP)
        if size >= most_bytes:
            return None
        size, before = size * STEP, seconds


def _growth(take: Taker, make: Callable[[int], bytes], size: int) -> str | None:
    small, large = make(size // STEP), make(size)
    ratio = float("inf")
    for _ in range(_TRIES):
        ratio = min(ratio, cpu_seconds(take, large) / max(cpu_seconds(take, small), 0.001))
        if ratio <= MAX_GROWTH:
            return None
    return f"{STEP} times the input, {len(large)} bytes, takes {ratio:.1f} times the CPU time"
