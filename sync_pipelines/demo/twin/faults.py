"""Misbehaviour on command: which request it hits and what goes wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

PathKind = Literal["rest", "apis", "data", "any"]


@dataclass
class RequestInfo:
    """What the twin saw of one request; `status` and `bytes` are filled in with the answer.

    A status of 0 means that the connection was dropped without an answer.
    """

    at: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    kind: str
    slug: str | None = None
    page: int | None = None
    page_size: int | None = None
    rowversion_gt: str | None = None
    status: int = 0
    bytes: int = 0
    fault: str | None = None


@dataclass
class Fault:
    """One misbehaviour; the members combine (a slow 503 with a body is one fault).

    Which requests:
        kind, slug, page: what the request must be; None (or "any") fits all.
        nth: start with the nth fitting request.
        times: how often it fires; None is for ever.
        name: shown in the request log.

    What is answered instead (the first that is set wins; else the real answer):
        drop_connection: close with RST, no answer at all.
        redirect_to: 302 (or `status`) to this URL.
        echo_authorization: error body that repeats the caller's Authorization header.
        deep_levels: JSON nested so deep inside the right envelope.
        gzip_bomb_bytes: gzip that unpacks to so many bytes of valid, empty page.
        giant_bytes: the same unpacked, with an honest Content-Length.
        empty_rows: a page without rows.
        body: these bytes; with `status` alone an S2 error body is made.

    How it is sent:
        status, headers, content_type: of the answer, real or replaced.
        delay_seconds: wait before answering.
        truncate_at_byte: send only so much of the body, Content-Length to match.
        cut_at_byte: break the connection after so much of the body, Content-Length of the whole;
            `cut_with_reset` False closes it politely instead of with RST.
        drip_bytes, drip_interval_seconds: send the body in small pieces.
        invalid_gzip: declare gzip and send something else.
    """

    name: str = "fault"
    kind: PathKind = "any"
    slug: str | None = None
    page: int | None = None
    nth: int = 1
    times: int | None = 1

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    body: bytes | None = None
    drop_connection: bool = False
    redirect_to: str | None = None
    echo_authorization: bool = False
    deep_levels: int | None = None
    gzip_bomb_bytes: int | None = None
    giant_bytes: int | None = None
    empty_rows: bool = False

    delay_seconds: float = 0.0
    truncate_at_byte: int | None = None
    cut_at_byte: int | None = None
    cut_with_reset: bool = True
    drip_bytes: int | None = None
    drip_interval_seconds: float = 0.05
    invalid_gzip: bool = False

    def fits(self, request: RequestInfo) -> bool:
        """Return whether the request is one this fault is meant for."""
        return (
            self.kind in ("any", request.kind)
            and self.slug in (None, request.slug)
            and self.page in (None, request.page)
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Fault:
        """Make a fault from its JSON form: the same names, `body` as text.

        Raises:
            ValueError: if a name is unknown.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(value.keys() - known)
        if unknown:
            raise ValueError(f"unknown fault members: {', '.join(unknown)}")
        members = dict(value)
        body = members.get("body")
        if body is not None:
            members["body"] = body.encode()
        return cls(**members)


class FaultPlan:
    """The faults in force, in order of addition; the first that fits and is not used up fires.

    Args:
        faults: those to begin with.
        on_request: called with every API request before it is answered, so that
            a test can change tables between two pages.
    """

    def __init__(
        self, *faults: Fault, on_request: Callable[[RequestInfo], None] | None = None
    ) -> None:
        self.on_request = on_request
        self._requests: list[RequestInfo] = []
        self._lock = threading.Lock()
        self._armed: list[_Armed] = [_Armed(fault) for fault in faults]

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        with self._lock:
            self._armed.append(_Armed(fault))
        return fault

    def clear(self) -> None:
        """Behave again; what has fired is not forgotten."""
        with self._lock:
            for armed in self._armed:
                armed.is_cleared = True

    def fired(self, fault: Fault) -> int:
        """Return how often the fault has fired."""
        with self._lock:
            return sum(armed.fired for armed in self._armed if armed.fault is fault)

    @property
    def requests_log(self) -> list[RequestInfo]:
        """A copy of the log of API requests, oldest first."""
        with self._lock:
            return list(self._requests)

    def forget_requests(self) -> None:
        """Empty the request log."""
        with self._lock:
            self._requests.clear()

    def meet(self, request: RequestInfo) -> Fault | None:
        """Log the request, call the hook and return the fault that hits it, if any."""
        with self._lock:
            self._requests.append(request)
        if self.on_request is not None:
            self.on_request(request)
        with self._lock:
            for armed in self._armed:
                if armed.fires(request):
                    armed.fired += 1
                    request.fault = armed.fault.name
                    return armed.fault
        return None


@dataclass
class _Armed:
    """A fault and how often it was met and fired."""

    fault: Fault
    met: int = 0
    fired: int = 0
    is_cleared: bool = False

    def fires(self, request: RequestInfo) -> bool:
        if self.is_cleared or not self.fault.fits(request):
            return False
        self.met += 1
        if self.met < self.fault.nth:
            return False
        return self.fault.times is None or self.fired < self.fault.times
