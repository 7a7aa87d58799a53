"""The kinds of sources: the one place that knows them all."""

from __future__ import annotations

import importlib

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.model.entity import Connector
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.kind import SourceKind
from sync_pipelines.sources.source import Source

# Each is a module with a `KIND`, imported when a connector of that kind is used.
KINDS = {
    "apismith": "sync_pipelines.sources.apismith.kind",
    "rest": "sync_pipelines.sources.rest.kind",
    "openapi": "sync_pipelines.sources.rest.kind",
    "graphql": "sync_pipelines.sources.graphql.kind",
    "dlt": "sync_pipelines.sources.dlt_resource.kind",
}


def source_kind_named(name: str) -> SourceKind:
    """The kind of a name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in KINDS:
        raise ConfigurationError(
            f"The kind of source {name!r} is not known; known: {', '.join(KINDS)}."
        )
    kind = importlib.import_module(KINDS[name]).KIND
    assert isinstance(kind, SourceKind)
    return kind


def source_kind(connector: Connector) -> SourceKind:
    """The kind of a connector."""
    return source_kind_named(connector.kind)


def declared_kinds() -> list[str]:
    """Names of the kinds whose entities a connector file declares."""
    return [name for name in KINDS if source_kind_named(name).is_declared]


def open_source(context: ReadContext) -> Source:
    """The source that an entity is read from.

    Raises:
        ConfigurationError: the declaration cannot be used, or the cursor, which is kept in clear, is masked.
    """
    return source_kind(context.connector).open(context)
