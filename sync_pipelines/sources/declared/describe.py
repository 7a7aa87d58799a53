"""Declared endpoints in the words of `/api/v1/apis`, and whether their parts fit together."""

from __future__ import annotations

from typing import Any

from sync_pipelines.batches.coercion import words_of
from sync_pipelines.batches.raw_json import compile_path
from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.declaration import Coercion, ColumnDeclaration, Declaration, Endpoint
from sync_pipelines.secrets import printable
from sync_pipelines.sources.declared.paths import id_column


def describe_declaration(declaration: Declaration) -> list[dict[str, Any]]:
    """One description for each endpoint."""
    return [_describe(slug, endpoint) for slug, endpoint in declaration.endpoints.items()]


def _describe(slug: str, endpoint: Endpoint) -> dict[str, Any]:
    columns = endpoint.columns or []
    keys = endpoint.key or [column.name for column in columns if column.key]
    description: dict[str, Any] = {
        "slug": slug,
        "name": endpoint.title or slug,
        "description": endpoint.description,
        "columns": [
            _describe_column(column, endpoint.coerce.get(column.name), column.name in keys)
            for column in columns
        ],
        "business_key_columns": keys,
        "delta_strategy": str(endpoint.delta_strategy),
        "rowversion_codec": str(endpoint.cursor.codec)
        if endpoint.cursor and endpoint.cursor.codec
        else None,
        "declared_interval_seconds": endpoint.interval_seconds,
        "declared_lookback_seconds": endpoint.cursor.lookback_seconds if endpoint.cursor else None,
    }
    return description


def _describe_column(
    column: ColumnDeclaration,
    coercion: Coercion | None,
    is_key: bool,
) -> dict[str, Any]:
    described = {
        "name": column.name,
        "data_type": column.type,
        "is_nullable": column.null and not is_key,
        "is_business_key": is_key,
    }
    if coercion is not None:
        described["data_type"] = coercion.type or column.type
        described["is_nullable"] = described["is_nullable"] or (coercion.lenient and not is_key)
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
    for path in [endpoint.records] if isinstance(endpoint.records, str) else endpoint.records:
        compile_path(path)
    names = [column.name for column in endpoint.columns or ()]
    for what, name in _named_columns(endpoint).items():
        if name is not None and name not in names:
            raise EntityDefinitionError(
                f"{what} names {name!r}, which is not among the columns {printable(', '.join(names), 1000)}.",
                where={"entity": slug},
            )
    _check_keys(slug, endpoint)


def _named_columns(endpoint: Endpoint) -> dict[str, str | None]:
    """The columns that the parts of an endpoint name, by the part."""
    written = endpoint.write_back.columns if endpoint.write_back else ()
    return {
        "cursor.field": endpoint.cursor.field if endpoint.cursor else None,
        "ids.column": id_column(endpoint),
        **{f"key {name}": name for name in endpoint.key},
        **{f"coerce {name}": name for name in endpoint.coerce},
        **{f"write_back.columns {name}": name for name in written},
    }


def _check_keys(slug: str, endpoint: Endpoint) -> None:
    for name in _keys(endpoint):
        coercion = endpoint.coerce.get(name)
        if coercion is not None and (coercion.truncate or coercion.lenient):
            raise EntityDefinitionError(
                f"coerce names {name!r}, which is the business key: cut, two records could become one row.",
                where={"entity": slug},
            )
    if endpoint.ids is not None and id_column(endpoint) is None:
        raise EntityDefinitionError(
            "An id list needs `key` or `ids.column`.", where={"entity": slug}
        )
    if endpoint.ids is not None and [id_column(endpoint)] != _keys(endpoint):
        # What did not come back is known by its id only, which must name the row that is to stay.
        raise EntityDefinitionError(
            "The ids of an id list are its business key; declare that column alone as `key`.",
            where={"entity": slug},
        )
    if endpoint.write_back is not None and len(_keys(endpoint)) != 1:
        raise EntityDefinitionError(
            "A write-back needs a business key of one column.", where={"entity": slug}
        )


def _keys(endpoint: Endpoint) -> list[str]:
    return endpoint.key or [column.name for column in endpoint.columns or () if column.key]
