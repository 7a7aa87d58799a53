"""The APISmith protocol (S2): `/api/v1/apis` lists what exists, `/api/v1/data/{slug}` gives pages of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.slots import SharedRateLimiter
from sync_pipelines.errors import BrokenPageError, SourceContractError
from sync_pipelines.extract.http import GuardedSession, T, Traffic
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.secrets import printable, resolve_secret
from sync_pipelines.settings import Settings

APIS_PATH = "/api/v1/apis"


def open_session(
    connector: Connector, settings: Settings, database: Database | None = None, **stricter: float
) -> GuardedSession:
    """The process-wide session of a connector, so that its limits hold over all of its entities.

    Args:
        connector: the source.
        settings: of the process.
        database: through which a rate limit is shared with other processes; None = it holds in this one alone.
        stricter: limits to lower, of `HttpLimits`; one that the connector has lower stays.
    """
    limits = HttpLimits.from_settings(
        connector.settings,
        timeout_seconds=settings.api_timeout_seconds,
        tries=settings.api_tries,
        max_page_bytes=settings.max_page_bytes,
    )
    limits = limits.model_copy(update={name: min(value, getattr(limits, name)) for name, value in stricter.items()})
    return _session(connector.base_url, connector.auth_token, limits, database if limits.requests_per_second else None)


@functools.lru_cache(maxsize=1000)
def _session(base_url: str, auth_token: str | None, limits: HttpLimits, database: Database | None) -> GuardedSession:
    turns = None
    if database is not None and limits.requests_per_second:
        turns = SharedRateLimiter(database, base_url, limits.requests_per_second)
    return GuardedSession(base_url, functools.partial(resolve_secret, auth_token), limits, turns=turns)


def fetch_apis(session: GuardedSession) -> list[Any]:
    """The list of API descriptions as the source sends it, unchecked beyond being a list.

    Raises:
        SourceContractError: the answer is not a JSON list.
        SyncError: from the session.
    """
    body = session.get(APIS_PATH)
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenPageError(f"{APIS_PATH} did not answer JSON; it begins: {_excerpt(body)}") from error
    if not isinstance(answer, list):
        raise SourceContractError(f"{APIS_PATH} did not answer a list of APIs; it begins: {_excerpt(body)}")
    return answer


def fetch_data(
    session: GuardedSession,
    slug: str,
    rowversion_gt: str | None,
    page: int,
    page_size: int,
    traffic: Traffic,
    parse: Callable[[bytes], T] = bytes,  # type: ignore[assignment]
    patience_seconds: float | None = None,
) -> T:
    """What `parse` makes of one answer of `/api/v1/data/{slug}`; `rowversion_gt` is left out when there is no cursor."""
    query: dict[str, str | int] = {"page": page, "page_size": page_size}
    if rowversion_gt is not None:
        query = {"rowversion_gt": rowversion_gt, **query}
    return session.get(f"/api/v1/data/{slug}", query, traffic, parse, patience_seconds)


def _excerpt(body: bytes) -> str:
    return printable(body[:100_000].decode("utf-8", errors="backslashreplace"), 200) or "(empty)"
