"""Where in a declared endpoint's records the columns of its table are."""

from __future__ import annotations

from sync_pipelines.batches.typed import Path
from sync_pipelines.model.endpoint import Endpoint

SEPARATOR = "_"
MAX_NESTED = 100
"""Deeper objects are no columns, and would take the reader beyond what Python can call."""


def source_paths(endpoint: Endpoint) -> dict[str, Path]:
    """Where each column of the table comes from."""
    paths: dict[str, Path] = {}
    for written, target in endpoint.mapping.items():
        paths[target] = path_of(written)
    for column in endpoint.columns or ():
        source = column.source
        if isinstance(source, list):
            paths[column.name] = tuple(source)
        elif source is not None:
            paths[column.name] = path_of(source)
    return paths


def records_path(endpoint: Endpoint) -> str:
    """JSONPath of the records; of several the first."""
    records = endpoint.records
    return records if isinstance(records, str) else records[0]


def path_of(written: str) -> Path:
    """A path as a connector file has it, with dots."""
    names = written.split(".")
    return tuple(names)


def id_column(endpoint: Endpoint) -> str | None:
    """The column that holds the ids of an id list."""
    if endpoint.ids is None:
        return None
    if endpoint.ids.column:
        return endpoint.ids.column
    keys = key_columns(endpoint)
    return keys[0] if keys else None


def key_columns(endpoint: Endpoint) -> list[str]:
    """The columns of the business key."""
    if endpoint.key:
        return endpoint.key
    names = []
    for column in endpoint.columns or ():
        if column.key:
            names.append(column.name)
    return names
