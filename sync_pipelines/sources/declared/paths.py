"""Where in a declared endpoint's records the columns of its table are."""

from __future__ import annotations

from sync_pipelines.model.endpoint import Endpoint

SEPARATOR = "_"
MAX_NESTED = 100
"""Deeper objects are no columns, and would take the reader beyond what Python can call."""


def source_paths(endpoint: Endpoint) -> dict[str, tuple[str, ...]]:
    """Where each column of the table comes from."""
    paths = {target: tuple(source.split(".")) for source, target in endpoint.mapping.items()}
    for column in endpoint.columns or ():
        if isinstance(column.source, list):
            paths[column.name] = tuple(column.source)
        elif column.source is not None:
            paths[column.name] = tuple(column.source.split("."))
    return paths


def id_column(endpoint: Endpoint) -> str | None:
    """The column that holds the ids of an id list."""
    if endpoint.ids is None:
        return None
    keys = endpoint.key or [column.name for column in endpoint.columns or () if column.key]
    return endpoint.ids.column or (keys[0] if keys else None)
