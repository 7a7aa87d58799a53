"""Declared endpoints in the words of `/api/v1/apis`, and whether their parts fit together."""

from __future__ import annotations

from typing import Any

from sync_pipelines.batches.coercion import words_of
from sync_pipelines.batches.raw_json import compile_path
from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Coercion, ColumnDeclaration, Endpoint
from sync_pipelines.secrets import printable
from sync_pipelines.sources.declared.paths import id_column, key_columns


def describe_declaration(declaration: Declaration) -> list[dict[str, Any]]:
    """One description for each endpoint."""
    return [_describe(slug, endpoint) for slug, endpoint in declaration.endpoints.items()]


def _describe(slug: str, endpoint: Endpoint) -> dict[str, Any]:
    keys = key_columns(endpoint)
    codec = None
    lookback_seconds = None
    if endpoint.cursor is not None:
        codec = endpoint.cursor.codec
        lookback_seconds = endpoint.cursor.lookback_seconds
    columns = []
    for column in endpoint.columns or ():
        coercion = endpoint.coerce.get(column.name)
        described = _describe_column(column, coercion, is_key=column.name in keys)
        columns.append(described)
    return {
        "slug": slug,
        "name": endpoint.title or slug,
        "description": endpoint.description,
        "columns": columns,
        "business_key_columns": keys,
        "delta_strategy": str(endpoint.delta_strategy),
        "rowversion_codec": str(codec) if codec else None,
        "declared_interval_seconds": endpoint.interval_seconds,
        "declared_lookback_seconds": lookback_seconds,
    }


def _describe_column(
    column: ColumnDeclaration,
    coercion: Coercion | None,
    *,
    is_key: bool,
) -> dict[str, Any]:
    described = {
        "name": column.name,
        "data_type": column.type,
        "is_nullable": column.null and not is_key,
        "is_business_key": is_key,
    }
    if coercion is not None:
        if coercion.type:
            described["data_type"] = coercion.type
        if coercion.lenient and not is_key:
            described["is_nullable"] = True
        described["declared_coercion"] = words_of(
            truncate=coercion.truncate, lenient=coercion.lenient
        )
    return described


def check_endpoint(slug: str, endpoint: Endpoint) -> None:
    """Refuse an endpoint whose parts do not fit together.

    Raises:
        EntityDefinitionError: names what does not exist.
        SettingsError: a JSONPath that cannot be followed.
    """
    records = endpoint.records
    for path in [records] if isinstance(records, str) else records:
        compile_path(path)
    names = [column.name for column in endpoint.columns or ()]
    for what, name in _named_columns(endpoint).items():
        if name is None or name in names:
            continue
        shown = printable(", ".join(names), 1000)
        raise EntityDefinitionError(
            f"{what} names {name!r}, which is not among the columns {shown}.",
            where={"entity": slug},
        )
    _check_keys(slug, endpoint)


def _named_columns(endpoint: Endpoint) -> dict[str, str | None]:
    """The columns that the parts of an endpoint name, by the part."""
    named: dict[str, str | None] = {}
    if endpoint.cursor is not None:
        named["cursor.field"] = endpoint.cursor.field
    named["ids.column"] = id_column(endpoint)
    for name in endpoint.key:
        named[f"key {name}"] = name
    for name in endpoint.coerce:
        named[f"coerce {name}"] = name
    if endpoint.write_back is not None:
        for name in endpoint.write_back.columns:
            named[f"write_back.columns {name}"] = name
    return named


def _check_keys(slug: str, endpoint: Endpoint) -> None:
    keys = key_columns(endpoint)
    for name in keys:
        coercion = endpoint.coerce.get(name)
        if coercion is not None and (coercion.truncate or coercion.lenient):
            raise EntityDefinitionError(
                f"coerce names {name!r}, which is the business key: cut, two records could become one row.",
                where={"entity": slug},
            )
    if endpoint.ids is not None:
        _check_id_column(slug, endpoint, keys)
    if endpoint.write_back is not None and len(keys) != 1:
        raise EntityDefinitionError(
            "A write-back needs a business key of one column.", where={"entity": slug}
        )


def _check_id_column(
    slug: str,
    endpoint: Endpoint,
    keys: list[str],
) -> None:
    column = id_column(endpoint)
    if column is None:
        raise EntityDefinitionError(
            "An id list needs `key` or `ids.column`.", where={"entity": slug}
        )
    if [column] != keys:
        # What did not come back is known by its id only, which must name the row that is to stay.
        raise EntityDefinitionError(
            "The ids of an id list are its business key; declare that column alone as `key`.",
            where={"entity": slug},
        )
