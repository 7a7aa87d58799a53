"""The process-wide guarded session of a connector, so that its limits hold over all of its entities."""

from __future__ import annotations

import functools
import json
import logging

from pydantic import TypeAdapter

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.slots import SharedRateLimiter
from sync_pipelines.model.authentication import Auth, BearerAuth
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.origins import origin_of, travels_in_clear
from sync_pipelines.network.outbound import Outbound, of_connector
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.auth import make_authentication
from sync_pipelines.sources.http.guarded import GuardedSession

logger = logging.getLogger(__name__)

_auth = TypeAdapter(Auth)


def open_session(
    connector: Connector, settings: Settings, database: Database | None = None, **stricter: float
) -> GuardedSession:
    """The session of a connector of any kind.

    Args:
        connector: the source.
        settings: of the process.
        database: through which a rate limit is shared with other processes; None = it holds in this one alone.
        stricter: limits to lower, of `HttpLimits`; one that the connector has lower stays.
    """
    limits = connector_limits(connector, settings)
    lowered = {}
    for name, value in stricter.items():
        lowered[name] = min(value, getattr(limits, name))
    limits = limits.model_copy(update=lowered)
    outbound = of_connector(connector, settings)
    return _session(
        connector.base_url,
        auth_key(connector),
        limits,
        outbound,
        database if limits.requests_per_second else None,
    )


def connector_limits(connector: Connector, settings: Settings) -> HttpLimits:
    """The connector's limits over the process-wide ones."""
    return HttpLimits.from_settings(
        connector.settings,
        timeout_seconds=settings.sources.api_timeout_seconds,
        tries=settings.sources.api_tries,
        max_page_bytes=settings.sources.max_page_bytes,
        max_document_bytes=settings.sources.max_document_bytes,
    )


def auth_key(connector: Connector) -> str | None:
    """The connector's authentication as text, references and no secret in it."""
    if connector.declaration is not None:
        auth = connector.declaration.get("auth")
        if auth is None:
            return None
        return json.dumps(auth, sort_keys=True)
    if connector.auth_token is None:
        return None
    bearer = BearerAuth(type="bearer", token=connector.auth_token)
    return bearer.model_dump_json()


@functools.lru_cache(maxsize=1000)
def _session(
    base_url: str,
    auth: str | None,
    limits: HttpLimits,
    outbound: Outbound,
    database: Database | None,
) -> GuardedSession:
    return new_session(base_url, auth, limits, outbound, database)


def new_session(
    base_url: str,
    auth: str | None,
    limits: HttpLimits,
    outbound: Outbound,
    database: Database | None = None,
) -> GuardedSession:
    """A session that nobody else uses; the rate limit is shared through the database, if one is given."""
    turns = None
    if database is not None and limits.requests_per_second:
        turns = SharedRateLimiter(database, base_url, limits.requests_per_second)
    declared = _auth.validate_json(auth) if auth else None
    if declared is not None and travels_in_clear(base_url):
        logger.warning(
            "%s: credentials go to %s over plain http; whoever is on the way can read them",
            outbound.connector,
            origin_of(base_url),
        )
    authentication = make_authentication(declared, base_url, limits, outbound)
    return GuardedSession(
        base_url,
        authentication,
        limits,
        turns=turns,
        outbound=outbound,
    )
