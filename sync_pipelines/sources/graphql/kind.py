"""The kind `graphql`: endpoints that are queries."""

from __future__ import annotations

from collections.abc import Iterable

from sync_pipelines.batches.raw_json import Step, compile_path
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.pagination import ConnectionPagination, NoPagination
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.endpoints import page_size_of
from sync_pipelines.sources.declared.infer import SAMPLE_RECORDS
from sync_pipelines.sources.declared.kind import DeclaredKind
from sync_pipelines.sources.declared.paths import records_path
from sync_pipelines.sources.graphql.adapter import (
    GraphqlSource,
    ask,
    info_of,
    variables_for,
)
from sync_pipelines.sources.graphql.document import variables_of
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.kind import Problem, Resolved
from sync_pipelines.sources.source import Source

DEFAULT_PATH = "/graphql"


class GraphqlKind(DeclaredKind):
    """Queries of a connector file."""

    endpoint_keys = frozenset({"path", "query", "variables", "pagination"})

    def check_declaration(self, declaration: Declaration) -> Iterable[Problem]:
        """As `SourceKind.check_declaration`."""
        yield from super().check_declaration(declaration)
        for slug, endpoint in declaration.endpoints.items():
            for place, why in _problems(endpoint):
                yield ("endpoints", slug, *place), why

    def resolve(self, declaration: Declaration, session: GuardedSession) -> Resolved:
        """As `SourceKind.resolve`: what a file may leave out is written down, so that it never changes by itself."""
        endpoints = {}
        for slug, endpoint in declaration.endpoints.items():
            endpoints[slug] = _completed(endpoint)
        completed = declaration.model_copy(update={"endpoints": endpoints})
        return Resolved(completed)

    def open_endpoint(self, context: ReadContext, endpoint: Endpoint) -> Source:
        """As `SourceKind.open`."""
        return GraphqlSource(context, endpoint)

    def sample(
        self,
        declaration: Declaration,
        slug: str,
        session: GuardedSession,
        settings: Settings,
    ) -> bytes:
        """As `SourceKind.sample`."""
        endpoint = declaration.endpoints[slug]
        page_size = page_size_of(endpoint, None, settings)
        variables = variables_for(endpoint, min(SAMPLE_RECORDS, page_size))
        body = ask(session, endpoint, variables, Traffic(), lambda reply: reply.body)
        info_of(endpoint, body)
        assert isinstance(body, bytes)
        return body


def _completed(endpoint: Endpoint) -> Endpoint:
    """The endpoint with the path and the pagination that its file leaves out."""
    declared = endpoint.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if "path" not in endpoint.model_fields_set:
        declared["path"] = DEFAULT_PATH
    if "pagination" not in endpoint.model_fields_set and _is_connection(endpoint):
        declared["pagination"] = {"type": "connection"}
    return Endpoint.model_validate(declared)


def _is_connection(endpoint: Endpoint) -> bool:
    steps = compile_path(records_path(endpoint))
    if steps[-1:] == ("nodes",):
        return True
    return steps[-3:] == ("edges", None, "node")


def _is_inside(steps: tuple[Step, ...]) -> bool:
    """Whether a connection is inside of a list, or of one element of it."""
    last = 0
    for place, step in enumerate(steps):
        if step in ("nodes", "edges"):
            last = place
    return any(not isinstance(step, str) for step in steps[:last])


def _own_variables(endpoint: Endpoint, pagination: object) -> dict[str, str]:
    """The variables of the query that the read fills, and with what."""
    ours = {}
    if isinstance(pagination, ConnectionPagination):
        ours[pagination.after] = "the place in the connection"
        if pagination.size_param is not None:
            ours[pagination.size_param] = "the size of a page"
    if endpoint.cursor is not None:
        ours[endpoint.cursor.param] = "the filter by the cursor"
    return ours


def _problems_of_pages(endpoint: Endpoint, pagination: object) -> Iterable[Problem]:
    if _is_inside(compile_path(records_path(endpoint))):
        yield (
            ("records",),
            (
                "these lists are inside of another list, and only the pages of one list can be followed: each would"
                " be cut at its first page; ask for them by a separate query, from the root"
            ),
        )
    if isinstance(pagination, NoPagination):
        if pagination.size_param is not None or pagination.size is not None:
            yield (
                ("pagination",),
                "the pagination none has no size for a query; set it in `variables`",
            )
    elif not isinstance(pagination, ConnectionPagination):
        yield ("pagination",), "an endpoint of kind graphql has the pagination connection or none"


def _problems(endpoint: Endpoint) -> Iterable[Problem]:
    if endpoint.query is None:
        yield (), "an endpoint of kind graphql needs a `query`"
        return
    has_paths = not isinstance(endpoint.records, str)
    if has_paths and len(endpoint.records) > 1:
        yield ("records",), "the records of a query have one path, beside which its pageInfo is"
        return
    try:
        declared = variables_of(endpoint.query)
        pagination = _completed(endpoint).pagination
    except (ValueError, SettingsError) as error:
        yield ("query",), f"this is no query that can be sent: {error}"
        return
    yield from _problems_of_pages(endpoint, pagination)
    for name, what in _own_variables(endpoint, pagination).items():
        if name not in declared:
            yield ("query",), f"the query declares no variable ${name}, which would take {what}"
        if name in endpoint.variables:
            yield ("variables", name), f"this variable takes {what}, so it has no value of the file"
    for name in endpoint.variables:
        if name not in declared:
            yield ("variables", name), "the query declares no such variable"


KIND = GraphqlKind()
