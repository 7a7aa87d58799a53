"""The kind `apismith`: a source that lists its APIs and describes their columns itself (S2)."""

from __future__ import annotations

from typing import Any

import msgspec

from sync_pipelines.batches.records import rowversion_of, split_records
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import (
    AuthenticationError,
    ConfigurationError,
    SecretMissingError,
    SourceContractError,
    SyncError,
)
from sync_pipelines.model.check import Check, attempt, failed, passed, skipped
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.outbound import of_connector, shown_secrets
from sync_pipelines.secrets import resolve_secret
from sync_pipelines.settings import Settings
from sync_pipelines.sources.apismith.adapter import ApismithSource
from sync_pipelines.sources.apismith.protocol import APIS_PATH, fetch_apis, fetch_data
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.http.connector_session import auth_key, new_session, open_session
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.kind import Description, Prober, SourceKind
from sync_pipelines.sources.probe import UNVERSIONED
from sync_pipelines.sources.source import PageRequest, Source

_CHECKS = ("secret", "reachable", "token", "protocol", "definitions", "data")


class ApismithProber(Prober):
    """Asks for one record after a rowversion."""

    def __init__(self, session: GuardedSession) -> None:
        self._session = session
        self.max_connections = session.limits.max_connections
        self.requests_per_second = session.limits.requests_per_second

    def can_probe(self, slug: str) -> bool:
        """The protocol sorts by rowversion."""
        return True

    def first_after(
        self,
        slug: str,
        seen: str,
        patience_seconds: float | None = None,
    ) -> str | None:
        """As `Prober.first_after`."""
        request = PageRequest(seen, number=1, page_size=1)
        records = fetch_data(
            self._session,
            slug,
            request,
            Traffic(),
            split_records,
            patience_seconds,
        )
        if not records:
            return None
        return rowversion_of(records[0]) or UNVERSIONED


class ApismithKind(SourceKind):
    """A source that describes itself."""

    title = "an APISmith connector"
    is_declared = False

    def describe(
        self,
        connector: Connector,
        settings: Settings,
        database: Database | None,
    ) -> Description:
        """As `SourceKind.describe`."""
        return Description(fetch_apis(open_session(connector, settings, database)))

    def open(self, context: ReadContext) -> Source:
        """As `SourceKind.open`."""
        entity = context.entity
        page_size = entity.policy.page_size or context.settings.sources.max_page_size
        return ApismithSource(context.open_session(), entity.slug, page_size)

    def open_prober(
        self,
        connector: Connector,
        settings: Settings,
        database: Database,
        *,
        seconds: float,
    ) -> Prober:
        """As `SourceKind.open_prober`."""
        session = open_session(
            connector,
            settings,
            database,
            timeout_seconds=seconds,
            page_deadline_seconds=seconds,
            tries=1,
        )
        # A probe knows nothing of masks.
        return ApismithProber(session.hiding_bodies())

    def waits_for(self, connector: Connector) -> str:
        """As `SourceKind.waits_for`."""
        return "the source's own description does not declare them; a discovery asks it again"

    def test(self, connector: Connector, settings: Settings) -> list[Check]:
        """As `SourceKind.test`."""
        checks: list[Check] = []
        try:
            limits = HttpLimits.from_settings(
                connector.settings, timeout_seconds=min(10.0, settings.sources.api_timeout_seconds)
            )
            outbound = of_connector(connector, settings)
            outbound.check_secret(connector.auth_token, connector.base_url)
            resolve_secret(connector.auth_token)
        except ConfigurationError as error:
            return _failing(checks, error)
        if connector.auth_token:
            checks.append(passed("secret", shown_secrets(connector)))
        else:
            checks.append(skipped("secret", "no token is used"))
        session = new_session(
            connector.base_url,
            auth_key(connector),
            limits.model_copy(update={"tries": 1}),
            outbound,
        )
        try:
            apis = fetch_apis(session)
        except (SyncError, SecretMissingError) as error:
            if error.answered:
                checks.append(passed("reachable", connector.base_url))
            if error.answered and not isinstance(error, AuthenticationError):
                checks.append(passed("token", "not refused"))
            return _failing(checks, error)
        finally:
            session.close()
        checks += [
            passed("reachable", connector.base_url),
            passed("token", "accepted"),
            passed("protocol", f"{APIS_PATH} lists {len(apis)} APIs"),
        ]
        return checks + _check_apis(connector, settings, session, apis)


def _failing(checks: list[Check], error: SyncError) -> list[Check]:
    """The checks so far, the one that failed, and those that need it."""
    needing = _CHECKS[len(checks) + 1 :]
    return [
        *checks,
        failed(_CHECKS[len(checks)], error),
        *(skipped(name, "needs the check above") for name in needing),
    ]


def _check_apis(
    connector: Connector,
    settings: Settings,
    session: GuardedSession,
    apis: list[Any],
) -> list[Check]:
    entities, errors = parse_apis(apis, connector, settings)
    if errors:
        label, error = next(iter(errors.items()))
        checks = [
            failed(
                "definitions",
                f"{len(errors)} of {len(apis)} cannot be used, for example {label}: {error.what}",
            )
        ]
    else:
        checks = [passed("definitions", f"{len(entities)} usable")]
    if not entities:
        return [*checks, skipped("data", "no usable API")]

    def first_page() -> str:
        slug = next(iter(entities))
        request = PageRequest(None, number=1, page_size=1)
        body: bytes = fetch_data(session, slug, request, Traffic())
        try:
            rows = msgspec.json.decode(body)["rows"]
            if not isinstance(rows, list):
                raise TypeError
        except (
            msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            KeyError,
            TypeError,
        ):
            raise SourceContractError(
                f'The data of {slug} is not an object with a list of "rows".'
            ) from None
        return f"{slug} answers a page"

    return [*checks, attempt("data", first_page)]


KIND = ApismithKind()
