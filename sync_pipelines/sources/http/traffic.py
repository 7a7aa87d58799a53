"""A request to a source, its answer, and what both cost the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """The cost of a run for the source: requests, bytes on the wire and unpacked, seconds of each answer."""

    requests: int = 0
    retries: int = 0
    bytes_wire: int = 0
    bytes_decoded: int = 0
    seconds: list[float] = field(default_factory=list)

    def percentile_seconds(self, share: float) -> float:
        """The answer time that `share` of the requests did not exceed; 0 without requests."""
        if not self.seconds:
            return 0.0
        ordered = sorted(self.seconds)
        place = int(share * len(ordered))
        return ordered[min(len(ordered) - 1, place)]


@dataclass(frozen=True)
class HttpRequest:
    """An idempotent request.

    Attributes:
        method: GET or PUT, or POST of a query that changes nothing.
        url: a whole address; it must be of the session's origin.
        query: parameters to add; those in the URL of the same name give way.
        headers, body: beside those of the session.
    """

    method: str
    url: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """A 200 answer: its decoded body, its headers by lower-case name, and the address without credentials."""

    body: bytes
    headers: dict[str, str]
    url: str
