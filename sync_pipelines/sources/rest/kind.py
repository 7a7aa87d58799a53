"""The kinds `rest` and `openapi`: endpoints of a connector file, or of an OpenAPI document, asked by GET."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from sync_pipelines.batches.records import rowversion_of, split_records
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.bounded import read_bounded
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint, WriteBack
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.pagination import ConnectionPagination
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.describe import describe_declaration
from sync_pipelines.sources.declared.endpoints import declaration_of, endpoint_of
from sync_pipelines.sources.declared.infer import SAMPLE_RECORDS
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.sources.declared.kind import DeclaredKind
from sync_pipelines.sources.http.connector_session import open_session
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.kind import Description, Prober, Problem, Resolved
from sync_pipelines.sources.probe import UNVERSIONED
from sync_pipelines.sources.rest.adapter import SortedRestSource, WalkedRestSource
from sync_pipelines.sources.rest.answers import Answers
from sync_pipelines.sources.rest.ids import find_ids
from sync_pipelines.sources.rest.openapi import resolve_openapi
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines.sources.rest.requests import query_of, url_of
from sync_pipelines.sources.source import Source

logger = logging.getLogger(__name__)


class RestProber(Prober):
    """Asks endpoints that are sorted by their cursor for one record after a rowversion."""

    def __init__(self, session: GuardedSession, endpoints: dict[str, Endpoint]) -> None:
        self._session = session
        self._endpoints = endpoints
        self.max_connections = session.limits.max_connections
        self.requests_per_second = session.limits.requests_per_second

    def can_probe(self, slug: str) -> bool:
        """Only of a source in order does the first record decide for all."""
        endpoint = self._endpoints.get(slug)
        return endpoint is not None and endpoint.is_ascending

    def first_after(
        self,
        slug: str,
        seen: str,
        patience_seconds: float | None = None,
    ) -> str | None:
        """As `Prober.first_after`."""
        endpoint = self._endpoints[slug]
        url = url_of(self._session, endpoint)
        query = query_of(endpoint, seen)
        pages = Pages(endpoint, url, query, size=1)
        names = [column.name for column in endpoint.columns or ()]
        keeper = Keeper(endpoint, names)

        def parse(reply: Reply) -> list[str]:
            kept = keeper.keep(reply.body)
            return split_records(kept.body)

        records = self._session.send(
            pages.current,
            parse,
            patience_seconds=patience_seconds,
        )
        if not records:
            return None
        return rowversion_of(records[0]) or UNVERSIONED


class RestKind(DeclaredKind):
    """Endpoints that answer pages of JSON."""

    endpoint_keys = frozenset(
        [
            "path",
            "params",
            "pagination",
            "fields",
            "fields_param",
            "ids",
            "resume_seconds",
            "recording",
            "write_back",
        ]
    )

    def describe(
        self,
        connector: Connector,
        settings: Settings,
        database: Database | None,
    ) -> Description:
        """As `SourceKind.describe`: what the file says, with the endpoints of its OpenAPI document as that is now."""
        declaration = declaration_of(connector)
        if declaration.openapi is None or declaration.openapi.path is None:
            return Description(describe_declaration(declaration), declaration)
        # What the document leaves out was shown by `connector apply`; here it counts as not offered.
        known = set(declaration.endpoints)
        session = open_session(connector, settings, database)
        declaration, found = resolve_openapi(declaration, session)
        if known - set(declaration.endpoints):
            for name, why in found.skipped.items():
                logger.warning("%s: %s is left out: %s", connector.name, name, why)
        described = describe_declaration(declaration)
        return Description(described, declaration, found.left_out)

    def check_declaration(self, declaration: Declaration) -> Iterable[Problem]:
        """As `SourceKind.check_declaration`."""
        yield from super().check_declaration(declaration)
        for slug, endpoint in declaration.endpoints.items():
            if declaration.openapi is None and "path" not in endpoint.model_fields_set:
                yield ("endpoints", slug), f"the endpoint {slug} needs a `path`"
            if isinstance(endpoint.pagination, ConnectionPagination):
                yield (
                    ("endpoints", slug, "pagination"),
                    "the pagination connection is one of the kind graphql",
                )

    def open_endpoint(self, context: ReadContext, endpoint: Endpoint) -> Source:
        """As `SourceKind.open`."""
        # The session first: no table is read for a source whose authentication or address is refused.
        answers = Answers(context, endpoint)
        ids = find_ids(context, endpoint)
        if endpoint.is_ascending:
            return SortedRestSource(context, endpoint, answers, ids)
        return WalkedRestSource(context, endpoint, answers, ids)

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
        declaration = declaration_of(connector)
        return RestProber(session.hiding_bodies(), declaration.endpoints)

    def write_back_for(self, connector: Connector, slug: str) -> WriteBack | None:
        """As `SourceKind.write_back_for`."""
        return endpoint_of(connector, slug).write_back

    def waits_for(self, connector: Connector) -> str:
        """As `SourceKind.waits_for`."""
        openapi = declaration_of(connector).openapi
        if openapi is not None and openapi.path is not None:
            return "the OpenAPI document does not declare them; a discovery asks it again"
        return super().waits_for(connector)

    def resolve(self, declaration: Declaration, session: GuardedSession) -> Resolved:
        """As `SourceKind.resolve`: the endpoints of an OpenAPI document."""
        resolved, found = resolve_openapi(declaration, session)
        return Resolved(resolved, found.skipped, found.left_out)

    def sample(
        self,
        declaration: Declaration,
        slug: str,
        session: GuardedSession,
        settings: Settings,
    ) -> bytes:
        """As `SourceKind.sample`."""
        endpoint = declaration.endpoints[slug]
        if endpoint.recording is not None:
            path = Path(endpoint.recording)
            try:
                return read_bounded(path, session.limits.max_page_bytes)
            except OSError as error:
                raise SettingsError(
                    f"The recording {printable(endpoint.recording)} cannot be read: {error.strerror}."
                ) from None
        url = url_of(session, endpoint)
        query = query_of(endpoint)
        if endpoint.ids is not None:
            values = endpoint.ids.values
            if not values:
                raise SettingsError("An id list from a table has no sample yet; declare `columns`.")
            ids = list(map(str, values))
            url = url_of(session, endpoint, ids[0])
            if endpoint.ids.param is not None:
                most = min(endpoint.ids.size, SAMPLE_RECORDS)
                query[endpoint.ids.param] = ",".join(ids[:most])
        size = min(
            SAMPLE_RECORDS,
            endpoint.pagination.size or SAMPLE_RECORDS,
            getattr(endpoint.pagination, "max_size", SAMPLE_RECORDS),
        )
        pages = Pages(endpoint, url, query, size)
        reply: Reply = session.send(pages.current)
        return reply.body


KIND = RestKind()
