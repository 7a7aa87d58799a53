"""What kinds have in common whose entities a connector file declares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from sync_pipelines.batches.raw_json import find_records
from sync_pipelines.batches.sieve import is_cut
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.model.check import Check, Verdict, attempt, skipped
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Connector
from sync_pipelines.network.outbound import of_connector, shown_secrets, wanted_secrets
from sync_pipelines.secrets import resolve_secret
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.describe import describe_declaration
from sync_pipelines.sources.declared.endpoints import declaration_of, endpoint_of
from sync_pipelines.sources.http.connector_session import auth_key, connector_limits, new_session
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.kind import Description, EntityWords, Problem, SourceKind
from sync_pipelines.sources.source import Source

COMMON_KEYS = frozenset(
    {
        "title",
        "description",
        "records",
        "key",
        "strategy",
        "cursor",
        "columns",
        "mapping",
        "flatten",
        "interval_seconds",
        "metrics",
        "coerce",
    }
)
"""Keys of an endpoint that every declared kind takes."""
_KIND_KEYS = frozenset({"source", "arguments"})
_DECLARE = (
    "declare them under `columns` of the connector's file and apply it, or apply it with --infer-again where columns"
    " were inferred"
)


class DeclaredKind(SourceKind):
    """A source whose entities a connector file declares."""

    def describe(
        self,
        connector: Connector,
        settings: Settings,
        database: Database | None,
    ) -> Description:
        """As `SourceKind.describe`: what the file says."""
        declaration = declaration_of(connector)
        return Description(describe_declaration(declaration), declaration)

    def open(self, context: ReadContext) -> Source:
        """As `SourceKind.open`.

        Raises:
            ConfigurationError: the cursor, which is kept in clear, is masked.
        """
        entity = context.entity
        endpoint = endpoint_of(context.connector, entity.slug)
        cursor = endpoint.cursor
        if cursor is not None and cursor.field in context.masked:
            raise ConfigurationError(
                f"The column {cursor.field} of {entity.path} is its cursor, which is kept in clear;"
                " it cannot be masked.",
                where=dict(entity.where),
                next_command="take the mask out of the gate, or the cursor out of the connector's file",
            )
        return self.open_endpoint(context, endpoint)

    @abstractmethod
    def open_endpoint(self, context: ReadContext, endpoint: Endpoint) -> Source:
        """As `open`, of an endpoint that can be read."""

    def waits_for(self, connector: Connector) -> str:
        """As `SourceKind.waits_for`."""
        return _DECLARE

    def words_for(self, connector: Connector, slug: str) -> EntityWords:
        """As `SourceKind.words_for`."""
        endpoint = endpoint_of(connector, slug)
        cursor = endpoint.cursor.field if endpoint.cursor is not None else "row_version"
        return EntityWords(
            cursor_name=cursor,
            metrics=dict(endpoint.metrics),
            chooses_fields=endpoint.fields is not None,
        )

    def check_declaration(self, declaration: Declaration) -> Iterable[Problem]:
        """As `SourceKind.check_declaration`: keys of endpoints that would do nothing."""
        for name in sorted(declaration.model_fields_set & _KIND_KEYS - self.connector_keys):
            yield (name,), f"a connector of kind {declaration.kind} has no `{name}`"
        for slug, endpoint in declaration.endpoints.items():
            for name in sorted(endpoint.model_fields_set - COMMON_KEYS - self.endpoint_keys):
                yield (
                    ("endpoints", slug, name),
                    f"an endpoint of kind {declaration.kind} has no `{name}`",
                )

    def test(self, connector: Connector, settings: Settings) -> list[Check]:
        """Secrets, then one answer of every endpoint: reachable, accepted, records where they are declared."""
        declaration = declaration_of(connector)
        outbound = of_connector(connector, settings)
        # Outside of the check: a declaration that cannot be read is no finding about its secrets.
        wanted = sorted(wanted_secrets(connector))

        def resolve() -> str:
            for reference, origin in wanted:
                outbound.check_secret(reference, origin)
            for reference in declaration.secrets:
                resolve_secret(reference)
            return shown_secrets(connector)

        secret = skipped("secret", "none is used")
        if declaration.secrets:
            secret = attempt("secret", resolve)
        if secret.verdict is Verdict.FAILED:
            others = [skipped(slug, "needs the secret") for slug in declaration.endpoints]
            return [secret, *others]
        checks = [secret]
        limits = connector_limits(connector, settings)
        timeout_seconds = min(10.0, limits.timeout_seconds)
        patience = {"tries": 1, "timeout_seconds": timeout_seconds}
        session = new_session(
            connector.base_url,
            auth_key(connector),
            limits.model_copy(update=patience),
            outbound,
        )
        try:
            for slug in declaration.endpoints:
                check = self._test_endpoint(declaration, slug, session, settings)
                checks.append(check)
        finally:
            session.close()
        return checks

    def _test_endpoint(
        self,
        declaration: Declaration,
        slug: str,
        session: GuardedSession,
        settings: Settings,
    ) -> Check:
        endpoint = declaration.endpoints[slug]
        if endpoint.ids is not None and endpoint.ids.table is not None:
            return skipped(slug, f"its ids are read from {endpoint.ids.table} by a sync")

        def ask() -> str:
            body = self.sample(declaration, slug, session, settings)
            found = find_records(
                body,
                endpoint.records,
                may_be_one=not endpoint.has_pages,
                max_record_bytes=settings.runs.max_record_bytes,
            )
            place = self.place_of(endpoint)
            counted = f"{len(found)} records in one answer of {place}"
            large = sum(map(is_cut, found))
            if large:
                return f"{counted}, {large} of them larger than MAX_RECORD_BYTES"
            return counted

        return attempt(slug, ask)

    def place_of(self, endpoint: Endpoint) -> str:
        """Where an endpoint is, for a person."""
        return endpoint.path
