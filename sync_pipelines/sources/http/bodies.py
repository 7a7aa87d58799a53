"""Read the body of an answer: bounded in size on the wire, in size unpacked, and in time."""

from __future__ import annotations

import io
import time

import urllib3

from sync_pipelines.errors import BrokenPageError, GuardError
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.sources.http.traffic import Traffic

_CHUNK_BYTES = 256 * 1024
_SMALL_BYTES = 1_000_000
"""A body that unpacks to no more may be packed as densely as it likes."""


class Deadline:
    """When an answer must be complete.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Since the request began."""
        return time.monotonic() - self._started

    def check(self) -> None:
        """Refuse an answer that takes longer.

        Raises:
            BrokenPageError: it does.
        """
        if self.elapsed_seconds > self._seconds:
            raise BrokenPageError(f"The answer was not complete after {self._seconds:g} s.")


def read_body(
    response: urllib3.BaseHTTPResponse,
    limits: HttpLimits,
    deadline: Deadline,
    traffic: Traffic,
    when_too_large: str,
) -> bytes:
    """The decoded body of an answer.

    Args:
        response: not read yet.
        limits: of its size.
        deadline: of the whole answer.
        traffic: counts bytes.
        when_too_large: what a person may do about a body that is.

    Raises:
        GuardError: it is larger than a page may be, or unpacks to far more than came.
        BrokenPageError: it is not complete in time.
    """
    # Handed over without a second copy.
    whole = io.BytesIO()
    decoded = 0
    wire = 0
    while True:
        chunk = response.read1(_CHUNK_BYTES, decode_content=True)
        arrived = response.tell()
        traffic.bytes_wire += arrived - wire
        wire = arrived
        if not chunk:
            if _is_at_end(response):
                return whole.getvalue()
            continue
        whole.write(chunk)
        decoded += len(chunk)
        traffic.bytes_decoded += len(chunk)
        if decoded > limits.max_page_bytes:
            raise GuardError(
                f"The answer is larger than {limits.max_page_bytes} bytes.",
                next_command=when_too_large,
                answered=True,
            )
        most_decoded = limits.max_ratio * max(wire, 1)
        if decoded > _SMALL_BYTES and decoded > most_decoded:
            raise GuardError(
                f"The answer unpacks to more than {limits.max_ratio} times its size on the wire.",
                answered=True,
            )
        deadline.check()


def _is_at_end(response: urllib3.BaseHTTPResponse) -> bool:
    if response.closed or response._fp is None:  # type: ignore[attr-defined]
        return True
    return getattr(response, "length_remaining", None) in (0, None)
