"""The guarded HTTP session of a connector: one origin, no redirects, bounded sizes, bounded patience."""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    NoTurnError,
    RetriableError,
    SourceBusyError,
)
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.deadline import pool_with_deadline
from sync_pipelines.network.outbound import Outbound, named_by
from sync_pipelines.sources.http.addresses import checked_url, with_query
from sync_pipelines.sources.http.bodies import Deadline, read_body
from sync_pipelines.sources.http.credentials import Authentication, BearerToken
from sync_pipelines.sources.http.failures import describe, status_error, transport_error
from sync_pipelines.sources.http.hiding import hiding
from sync_pipelines.sources.http.traffic import HttpRequest, Reply, Traffic
from sync_pipelines.sources.http.turns import RateLimiter, Turns

logger = logging.getLogger(__name__)

T = TypeVar("T")

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": "sync_pipelines/0.1",
}


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
            limits.page_deadline_seconds,
            self.outbound.check_addresses,
            maxsize=limits.max_connections,
            num_pools=1,
            retries=False,
            block=False,
        )

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
        request = HttpRequest("GET", f"{self.base_url}{path}", query or {})

        def parse_body(reply: Reply) -> T:
            return parse(reply.body)

        return self.send(request, parse_body, traffic, patience_seconds)

    def send(
        self,
        request: HttpRequest,
        parse: Callable[[Reply], T] = lambda reply: reply,  # type: ignore[assignment,return-value]
        traffic: Traffic | None = None,
        patience_seconds: float | None = None,
    ) -> T:
        """What `parse` makes of a good answer to an idempotent request.

        Args:
            request: what to ask.
            parse: may refuse the body as broken, which is then fetched again.
            traffic: counts what it costs.
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
                self._wait_for_turn(patience_seconds)
                with self._slots:
                    reply = self._send_once(request, traffic)
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
                    urlsplit(request.url).path,
                    pause,
                    error.what,
                )
                self._sleep(pause)

    def for_documents(self) -> GuardedSession:
        """This session for what the source says of itself, of which no answer needs the size of a page."""
        bounded = copy.copy(self)
        smaller = min(self.limits.max_document_bytes, self.limits.max_page_bytes)
        stricter = {"max_page_bytes": smaller}
        bounded.limits = self.limits.model_copy(update=stricter)
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

    def _wait_for_turn(self, patience_seconds: float | None) -> None:
        if not self._rate.wait(patience_seconds):
            raise NoTurnError(f"The rate limit gives no turn within {patience_seconds:g} s.")

    def _pause(self, attempt: int, error: RetriableError) -> float:
        asked = error.retry_after_seconds if isinstance(error, SourceBusyError) else None
        if asked is not None:
            if asked > self.limits.max_retry_after_seconds:
                raise error
            return asked
        times: int = 2 ** (attempt - 1)
        doubled = self.limits.backoff_seconds * times
        return doubled * random.uniform(0.5, 1.5)

    def _send_once(self, request: HttpRequest, traffic: Traffic) -> Reply:
        shown = checked_url(self.base_url, request.url, request.query)
        headers = {**_HEADERS, **request.headers}
        headers |= self._auth.headers()
        url = with_query(shown, self._auth.query())
        deadline = Deadline(self.limits.page_deadline_seconds)
        seconds = self.limits.timeout_seconds
        traffic.requests += 1
        try:
            response = self._pool.request(
                request.method,
                url,
                headers=headers,
                body=request.body,
                timeout=urllib3.Timeout(connect=seconds, read=seconds),
                redirect=False,
                preload_content=False,
                retries=False,
            )
        except (HTTPError, OSError) as error:
            deadline.check()
            raise transport_error(error) from error
        finally:
            traffic.seconds.append(deadline.elapsed_seconds)
        body = self._body(response, deadline, traffic)
        is_good = response.status == 200
        if request.method != "GET":
            is_good = 200 <= response.status < 300
        if not is_good:
            raise status_error(response, body if self._shows_bodies else b"")
        # `items` lists a repeated header once per value; the index joins the values by a comma.
        joined = {}
        for name in response.headers:
            joined[name.lower()] = response.headers[name]
        return Reply(body, joined, shown)

    def _body(
        self,
        response: urllib3.BaseHTTPResponse,
        deadline: Deadline,
        traffic: Traffic,
    ) -> bytes:
        """The body; a connection with an unread rest is not used again."""
        is_whole = False
        try:
            body = read_body(
                response,
                self.limits,
                deadline,
                traffic,
                self._when_too_large,
            )
            is_whole = True
        except (HTTPError, OSError) as error:
            deadline.check()
            raise BrokenPageError(f"The answer broke off: {describe(error)}.") from error
        finally:
            if is_whole:
                response.release_conn()
            else:
                response.close()
        return body
