"""Address and query of a declared endpoint's requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.sources.declared.paths import source_paths
from sync_pipelines.sources.http.guarded import GuardedSession

Query = dict[str, Any]
"""The parameters of a request, by name."""


def url_of(
    session: GuardedSession,
    endpoint: Endpoint,
    one: str = "",
) -> str:
    """The address of an endpoint, for this id where it takes one."""
    quoted = quote(one, safe="")
    path = endpoint.path.replace("{id}", quoted)
    return f"{session.base_url}{path}"


def query_of(endpoint: Endpoint, after: str | None = None) -> Query:
    """The query parameters of every request of an endpoint, with the filter by its cursor."""
    query: Query = {}
    for name, value in endpoint.params.items():
        query[name] = _joined(value)
    fields = _asked_fields(endpoint)
    if fields is not None and endpoint.fields_param is not None:
        query[endpoint.fields_param] = ",".join(fields)
    if after is not None and endpoint.cursor is not None:
        query[endpoint.cursor.param] = after
    return query


def _asked_fields(endpoint: Endpoint) -> list[str] | None:
    """Fields of the records that a request names, once each; None where it does not choose."""
    columns = endpoint.columns
    if endpoint.fields is None or columns is None:
        return None
    paths = source_paths(endpoint)
    fields: dict[str, None] = {}
    for column in columns:
        field = column.name
        if field in paths:
            field = paths[field][0]
        fields[field] = None
    return list(fields)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        texts = map(_written, value)
        return ",".join(texts)
    return _written(value)


def _written(value: str | int | bool) -> str:
    text = str(value)
    if isinstance(value, bool):
        return text.lower()
    return text
