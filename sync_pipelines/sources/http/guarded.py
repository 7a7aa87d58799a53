"""The guarded HTTP session of a connector: one origin, no redirects, bounded sizes, bounded patience."""

from __future__ import annotations

import copy
import io
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    ConfigurationError,
    GuardError,
    NoTurnError,
    RetriableError,
    SourceBusyError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.deadline import pool_with_deadline
from sync_pipelines.network.outbound import Outbound, named_by
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.hiding import hiding

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK_BYTES = 256 * 1024
_BUSY_STATUSES = {408, 425, 429, 500, 502, 503, 504}
_USER_AGENT = "sync_pipelines/0.1"


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
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


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
        time.sleep(max(0.0, turn - time.monotonic()))
        return True


class Turns(Protocol):
    """A rate limit: `RateLimiter` within a process, `catalog.slots.SharedRateLimiter` over all of them."""

    def wait(self, patience_seconds: float | None = None) -> bool:
        """Sleep until this caller's turn; False, at once, when that is more than `patience_seconds` away."""
        ...


class Authentication(Protocol):
    """What proves to a source who asks."""

    def headers(self) -> dict[str, str]:
        """Headers of the next request."""

    def query(self) -> dict[str, str]:
        """Query parameters of the next request."""

    def renew(self) -> bool:
        """After a 401: True when other credentials were got, so that one more try makes sense."""


class BearerToken:
    """`Authorization: Bearer …`, asked for at every request; no header where there is no token."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def headers(self) -> dict[str, str]:
        """The header."""
        token = self._token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def query(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def renew(self) -> bool:
        """A token from the environment is what it is."""
        return False


@dataclass(frozen=True)
class Reply:
    """A 200 answer: its decoded body, its headers by lower-case name, and the address without credentials."""

    body: bytes
    headers: dict[str, str]
    url: str


class GuardedSession:
    """Requests to one origin with the connector's credentials, retried where that can help.

    Every URL is checked against the base URL, so no next link or redirect can carry the credentials elsewhere.
    """

    def __init__(
        self,
        base_url: str,
        token: Callable[[], str | None] | Authentication,
        limits: HttpLimits,
        sleep: Callable[[float], None] = time.sleep,
        turns: Turns | None = None,
        outbound: Outbound | None = None,
    ) -> None:
        self.outbound = outbound or Outbound(private=named_by([base_url]))
        self.base_url = base_url.rstrip("/")
        self.limits = limits
        self._shows_bodies = True
        self._auth: Authentication = BearerToken(token) if callable(token) else token
        self._sleep = sleep
        self._when_too_large = "ask for smaller pages (sync-pipelines entity set … --page-size) or raise max_page_bytes"
        self._rate = turns or RateLimiter(limits.requests_per_second)
        self._slots = threading.BoundedSemaphore(limits.max_connections)
        self._pool = pool_with_deadline(
            limits.page_deadline_seconds, self.outbound.check_addresses,
            maxsize=limits.max_connections, num_pools=1, retries=False, block=False,
        )  # fmt: skip

    def get(
        self,
        path: str,
        query: dict[str, str | int] | None = None,
        traffic: Traffic | None = None,
        parse: Callable[[bytes], T] = bytes,  # type: ignore[assignment]
        patience_seconds: float | None = None,
    ) -> T:
        """What `parse` makes of the decoded body of a 200 answer; a body that it refuses as broken is fetched again.

        Raises:
            NoTurnError: the rate limit gives no turn within `patience_seconds` (None = wait as long as it takes).
            SourceUnreachableError, SourceBusyError, BrokenPageError: after all tries.
            AuthenticationError, SourceContractError, GuardError, ConfigurationError: at once.
        """
        return self.request(
            "GET",
            f"{self.base_url}{path}",
            query,
            traffic,
            lambda reply: parse(reply.body),
            patience_seconds=patience_seconds,
        )

    def request(
        self,
        method: str,
        url: str,
        query: Mapping[str, str | int] | None = None,
        traffic: Traffic | None = None,
        parse: Callable[[Reply], T] = lambda reply: reply,  # type: ignore[assignment,return-value]
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        patience_seconds: float | None = None,
    ) -> T:
        """What `parse` makes of a good answer to an idempotent request.

        Args:
            method: GET or PUT, or POST of a query that changes nothing.
            url: a whole address; it must be of the base URL's origin.
            query: parameters to add; those in the URL of the same name give way.
            traffic: counts what it costs.
            parse: may refuse the body as broken, which is then fetched again.
            headers, body: beside ours.
            patience_seconds: how long to wait for a turn; None = as long as it takes.

        Raises:
            NoTurnError: the rate limit gives no turn within `patience_seconds`.
            SourceUnreachableError, SourceBusyError, BrokenPageError: after all tries.
            AuthenticationError, SourceContractError, GuardError, ConfigurationError: at once.
        """
        traffic = traffic if traffic is not None else Traffic()
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            try:
                if not self._rate.wait(patience_seconds):
                    raise NoTurnError(
                        f"The rate limit gives no turn within {patience_seconds:g} s."
                    )
                with self._slots:
                    reply = self._request_once(method, url, query, traffic, headers, body)
                with hiding(not self._shows_bodies):
                    return parse(reply)
            except AuthenticationError:
                if renewed or not self._auth.renew():
                    raise
                renewed = True
            except RetriableError as error:
                pause = self._pause(attempt, error)
                if attempt >= self.limits.tries:
                    error.what = f"{error.what} ({attempt} tries)"
                    raise
                traffic.retries += 1
                logger.warning(
                    "try %d of %s failed, next in %.1f s: %s",
                    attempt,
                    urlsplit(url).path,
                    pause,
                    error.what,
                )
                self._sleep(pause)

    def for_documents(self) -> GuardedSession:
        """This session for what the source says of itself, of which no answer needs the size of a page."""
        bounded = copy.copy(self)
        smaller = min(self.limits.max_document_bytes, self.limits.max_page_bytes)
        bounded.limits = self.limits.model_copy(update={"max_page_bytes": smaller})
        bounded._when_too_large = (
            "raise max_document_bytes: sync-pipelines connector set … --set max_document_bytes=…"
        )
        return bounded

    def hiding_bodies(self) -> GuardedSession:
        """This session for one who may see what is masked: no error of it shows any part of an answer."""
        hidden = copy.copy(self)
        hidden._shows_bodies = False
        return hidden

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def _pause(self, attempt: int, error: RetriableError) -> float:
        asked = error.retry_after_seconds if isinstance(error, SourceBusyError) else None
        if asked is not None:
            if asked > self.limits.max_retry_after_seconds:
                raise error
            return asked
        doubled: float = self.limits.backoff_seconds * 2 ** (attempt - 1)
        return doubled * random.uniform(0.5, 1.5)

    def _request_once(
        self,
        method: str,
        address: str,
        query: Mapping[str, str | int] | None,
        traffic: Traffic,
        extra_headers: Mapping[str, str] | None,
        sent: bytes | None,
    ) -> Reply:
        shown = self._checked_url(address, query or {})
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": _USER_AGENT,
        }
        headers |= {**(extra_headers or {}), **self._auth.headers()}
        secret_query = self._auth.query()
        url = _with_query(shown, secret_query) if secret_query else shown
        started = time.monotonic()
        traffic.requests += 1
        timeout = urllib3.Timeout(
            connect=self.limits.timeout_seconds, read=self.limits.timeout_seconds
        )
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=sent,
                timeout=timeout,
                redirect=False,
                preload_content=False,
                retries=False,
            )
        except (HTTPError, OSError) as error:
            self._check_deadline(started)
            raise _transport_error(error) from error
        finally:
            traffic.seconds.append(time.monotonic() - started)
        whole = False
        try:
            body = self._read(response, started, traffic)
            whole = True
        except (HTTPError, OSError) as error:
            self._check_deadline(started)
            raise BrokenPageError(f"The answer broke off: {_shown(error)}.") from error
        finally:
            # A connection with an unread rest must not be used again.
            response.release_conn() if whole else response.close()
        if response.status != 200 and not (method != "GET" and 200 <= response.status < 300):
            raise _status_error(response, body if self._shows_bodies else b"")
        # `items` lists a repeated header once per value; the index joins the values by a comma.
        return Reply(
            body, {name.lower(): response.headers[name] for name in response.headers}, shown
        )

    def _checked_url(self, address: str, query: Mapping[str, str | int]) -> str:
        try:
            url = _with_query(address, query)
            ours, theirs = urlsplit(self.base_url), urlsplit(url)
            same = (
                _origin(ours) == _origin(theirs)
                and theirs.username is None
                and theirs.password is None
            )
        except ValueError:
            url, same = address, False
        if (
            not same
            or "/../" in urlsplit(url).path + "/"
            or any(ord(letter) <= 32 or ord(letter) > 126 for letter in url)
        ):
            raise GuardError(
                f"The address {printable(url)} leaves the connector's origin {printable(self.base_url)}."
            )
        return url

    def _read(self, response: urllib3.BaseHTTPResponse, started: float, traffic: Traffic) -> bytes:
        # Handed over without a second copy.
        whole = io.BytesIO()
        decoded = wire = 0
        while True:
            chunk = response.read1(_CHUNK_BYTES, decode_content=True)
            arrived = response.tell()
            traffic.bytes_wire += arrived - wire
            wire = arrived
            if not chunk:
                if response.closed or response._fp is None or _at_end(response):  # type: ignore[attr-defined]
                    break
                continue
            whole.write(chunk)
            decoded += len(chunk)
            traffic.bytes_decoded += len(chunk)
            if decoded > self.limits.max_page_bytes:
                raise GuardError(
                    f"The answer is larger than {self.limits.max_page_bytes} bytes.",
                    next_command=self._when_too_large,
                    answered=True,
                )
            if decoded > 1_000_000 and decoded > self.limits.max_ratio * max(wire, 1):
                raise GuardError(
                    f"The answer unpacks to more than {self.limits.max_ratio} times its size on the wire.",
                    answered=True,
                )
            self._check_deadline(started)
        return whole.getvalue()

    def _check_deadline(self, started: float) -> None:
        if time.monotonic() - started > self.limits.page_deadline_seconds:
            raise BrokenPageError(
                f"The answer was not complete after {self.limits.page_deadline_seconds:g} s."
            )


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _with_query(url: str, query: Mapping[str, str | int]) -> str:
    """The address with parameters; those it has already of the same names give way."""
    if not query:
        return url
    parts = urlsplit(url)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in query
    ]
    return urlunsplit(parts._replace(query=urlencode([*kept, *query.items()])))


def _at_end(response: urllib3.BaseHTTPResponse) -> bool:
    return getattr(response, "length_remaining", None) in (0, None)


def _shown(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}", 200)


def _transport_error(error: Exception) -> RetriableError | ConfigurationError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError) or isinstance(reason.__cause__, ssl.SSLError):
        cause = reason.__cause__ if isinstance(reason.__cause__, ssl.SSLError) else reason
        # urllib3 hands the error of the ssl module over as an argument, without raising its own from it.
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in (cause, *reason.args)):
            return ConfigurationError(
                f"The source's certificate is not valid: {_shown(cause)}.",
                next_command="renew the certificate",
            )
    return SourceUnreachableError(f"The source does not answer: {_shown(reason)}.")


def _status_error(
    response: urllib3.BaseHTTPResponse, body: bytes
) -> RetriableError | ConfigurationError:
    status = response.status
    # Redacted before it is cut: half a token is none that the redactor knows.
    excerpt = printable(body[:100_000].decode("utf-8", errors="backslashreplace"), 200)
    said = f"The source answered {status}" + (f": {excerpt}" if excerpt else ".")
    if status in _BUSY_STATUSES or status >= 500:
        busy = SourceBusyError(said, status=status)
        # A date is meant by the clock of the one who wrote it, which may differ from ours.
        asked = retry_after_seconds(
            response.headers.get("Retry-After"), _moment(response.headers.get("Date"))
        )
        busy.retry_after_seconds = asked
        return busy
    if status in (401, 403):
        return AuthenticationError(
            f"The source refused the token. {said}",
            next_command="check the token's variable, then sync-pipelines doctor",
            status=status,
        )
    if 300 <= status < 400:
        target = printable(response.headers.get("Location", "elsewhere"), 120)
        return GuardError(
            f"The source redirects to {target}; redirects are not followed, the token stays here.",
            status=status,
            answered=True,
        )
    return SourceContractError(said, status=status)


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3): a number or an HTTP date; None when absent or unreadable."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header.strip()[:12])
    moment = _moment(header)
    return (
        None if moment is None else max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    )


def _moment(header: str | None) -> datetime | None:
    """The moment of an HTTP date; None when absent or unreadable."""
    try:
        moment = parsedate_to_datetime(header or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
