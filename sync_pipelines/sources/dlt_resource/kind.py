"""The kind `dlt`: entities are resources of a dlt source that somebody wrote or installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.secrets import is_reference
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.infer import SAMPLE_RECORDS
from sync_pipelines.sources.declared.kind import DeclaredKind
from sync_pipelines.sources.dlt_resource.adapter import (
    INCREMENTAL,
    DeclaredResource,
    DltResourceSource,
    bodies_of,
    call_source,
)
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.kind import Problem
from sync_pipelines.sources.source import Source

_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|(api|access|private)_?key)$")


class DltKind(DeclaredKind):
    """Resources of a dlt source."""

    endpoint_keys = frozenset({"resource"})
    connector_keys = frozenset({"source", "arguments"})

    def check_declaration(self, declaration: Declaration) -> Iterable[Problem]:
        """As `SourceKind.check_declaration`."""
        yield from super().check_declaration(declaration)
        if declaration.source is None:
            yield (), "a connector of kind dlt needs a `source`, module.function"
        if declaration.auth is not None:
            yield (
                ("auth",),
                "the source authenticates itself; give its secrets in `arguments`, as env:NAME",
            )
        for place in _clear_secrets(declaration.arguments):
            yield ("arguments", *place), "a secret is given as a reference, env:NAME"
        for slug, endpoint in declaration.endpoints.items():
            if endpoint.records != "$":
                yield (("endpoints", slug, "records"), "a resource yields its records themselves")
            if endpoint.cursor is not None and endpoint.cursor.param != INCREMENTAL:
                yield (
                    ("endpoints", slug, "cursor"),
                    f"the cursor of a dlt resource has `param: {INCREMENTAL}`",
                )

    def open_endpoint(self, context: ReadContext, endpoint: Endpoint) -> Source:
        """As `SourceKind.open`."""
        return DltResourceSource(context, endpoint)

    def sample(
        self,
        declaration: Declaration,
        slug: str,
        session: GuardedSession,
        settings: Settings,
    ) -> bytes:
        """As `SourceKind.sample`."""
        resource = DeclaredResource.of(declaration, slug)
        arguments = declaration.arguments
        made = call_source(resource.place, arguments, session.outbound, declaration.base_url)
        return next(bodies_of(made, resource, SAMPLE_RECORDS), b"[]")

    def place_of(self, endpoint: Endpoint) -> str:
        """As `DeclaredKind.place_of`."""
        return endpoint.resource or "the resource"


def _clear_secrets(value: Any) -> Iterator[tuple[str, ...]]:
    """Places of texts that are secrets by their name, and no references."""
    for name, inner in _named_values(value):
        is_text = isinstance(inner, str) and inner
        if is_text and _SECRET_NAME.search(name) and not is_reference(inner):
            yield (name,)
        for place in _clear_secrets(inner):
            yield (name, *place)


def _named_values(value: Any) -> Iterator[tuple[str, Any]]:
    """What is inside of an object, by its names, or of a list, by its numbers."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for name, inner in inside:
        yield str(name), inner


KIND = DltKind()
