"""Endpoints from an OpenAPI 3 document: GET operations that return lists of objects, typed exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_pipelines.errors import (
    EntityDefinitionError,
    SettingsError,
    SourceContractError,
    SyncError,
)
from sync_pipelines.files.bounded import read_bounded
from sync_pipelines.files.safe_yaml import UnsafeYamlError, read_yaml
from sync_pipelines.model.declaration import Declaration, OpenApiSource
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.names import check_slug
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.documents import NotADocumentError, decode_document
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.rest.openapi_pages import Operation, plan_pagination
from sync_pipelines.sources.rest.openapi_schemas import Schema, Schemas

MAX_FILE_BYTES = 32 * 1024 * 1024
_NO_SLUG = re.compile(r"[^A-Za-z0-9_.-]")


def resolve_openapi(
    declaration: Declaration, session: GuardedSession
) -> tuple[Declaration, OpenApiPlan]:
    """The declaration with the endpoints of its OpenAPI document, and what was left out of that.

    Raises:
        SyncError: the document cannot be read.
    """
    place = declaration.openapi
    if place is None:
        return declaration, OpenApiPlan()
    name = place.file or place.path or ""
    body = _document_body(place, session)
    document = read_document(body, name)
    overrides = _overrides_of(declaration)
    found = plan_endpoints(document, overrides, place.include)
    endpoints: dict[str, Endpoint] = {}
    for slug, raw in found.endpoints.items():
        try:
            endpoints[slug] = Endpoint.model_validate(raw)
        except ValueError as error:
            why = printable(str(error), 300)
            found.leave_out(slug, slug, why)
    resolved = {"endpoints": endpoints, "overrides": overrides}
    return declaration.model_copy(update=resolved), found


def _document_body(place: OpenApiSource, session: GuardedSession) -> bytes:
    if place.file is None:
        bounded = session.for_documents()
        body: bytes = bounded.get(place.path or "")
        return body
    try:
        return read_bounded(Path(place.file), MAX_FILE_BYTES)
    except OSError as error:
        raise SettingsError(
            f"The OpenAPI document {printable(place.file)} cannot be read: {error.strerror}."
        ) from None


def _overrides_of(declaration: Declaration) -> dict[str, Any]:
    """What the connector's file says of endpoints, by slug."""
    if declaration.overrides is not None:
        return declaration.overrides
    overrides = {}
    for slug, endpoint in declaration.endpoints.items():
        overrides[slug] = endpoint.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return overrides


@dataclass
class OpenApiPlan:
    """What a document offers.

    Attributes:
        endpoints: by slug.
        skipped: operations that cannot become entities, with the reason.
        left_out: the same reasons by the slug that the operation would have.
    """

    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(
        self,
        label: str,
        slug: str | None,
        why: str,
    ) -> None:
        """Note that an operation becomes no entity; `slug` is None where it would never be one."""
        self.skipped[label] = why
        if slug is not None:
            self.left_out[slug] = why


def read_document(body: bytes, name: str) -> dict[str, Any]:
    """An OpenAPI document from JSON or YAML.

    Raises:
        SourceContractError: it is none, or not of version 3.
    """
    try:
        document = decode_document(body)
    except NotADocumentError as no_json:
        try:
            document, _ = read_yaml(body, only_texts=True)
        except UnsafeYamlError as error:
            place = f"{name}:{error.line}" if error.line else name
            raise SourceContractError(
                f"The OpenAPI document is neither JSON ({no_json}) nor YAML: {place}: {error.what}"
            ) from None
    version = document.get("openapi") if isinstance(document, dict) else None
    is_third = isinstance(version, str) and version.startswith("3.")
    if not is_third:
        raise SourceContractError(f"{printable(name)} is no OpenAPI document of version 3.")
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True)
class _Get:
    """One path of a document that can be asked with GET.

    Attributes:
        path: with its parameters in braces.
        item: what all operations of the path have in common.
        operation: the one of GET.
    """

    path: str
    item: dict[str, Any]
    operation: dict[str, Any]

    @property
    def slug(self) -> str:
        """The last part of the path that names something."""
        name = "root"
        for part in self.path.split("/"):
            if part and "{" not in part:
                name = part
        return _NO_SLUG.sub("_", name)

    @property
    def parameters(self) -> list[Any]:
        """Its parameters, those of the path first; a reference is not followed."""
        of_path = self.item.get("parameters", ())
        of_operation = self.operation.get("parameters", ())
        return [*of_path, *of_operation]


def plan_endpoints(
    document: dict[str, Any],
    overrides: dict[str, Any],
    include: list[str] | None = None,
) -> OpenApiPlan:
    """Endpoints for every usable operation.

    Args:
        document: the OpenAPI document.
        overrides: by slug, what the connector's file says on top (key, pagination, cursor, …).
        include: slugs to take; None = all.
    """
    plan = OpenApiPlan()
    schemas = Schemas(document)
    for get in _operations(document):
        slug = get.slug
        label = printable(f"GET {get.path}", 200)
        if include is not None and slug not in include:
            plan.left_out.setdefault(slug, "`openapi.include` does not name it")
            continue
        override = overrides.get(slug, {})
        try:
            _check_usable(get, plan)
            endpoint = _endpoint(schemas, get, override)
            plan.endpoints[slug] = endpoint | override
        except SyncError as error:
            # An operation about one record would never be an entity.
            is_about_one = "{" in get.path
            plan.leave_out(label, None if is_about_one else slug, error.what)
        except (
            TypeError,
            AttributeError,
            KeyError,
            ValueError,
            RecursionError,
        ):
            # A document may have anything anywhere; it spoils only this operation.
            plan.leave_out(label, slug, "its description is not readable")
    wanted = [*overrides, *(include or ())]
    for slug in wanted:
        if slug not in plan.endpoints:
            plan.skipped.setdefault(slug, f"the document offers no usable {slug}")
    return plan


def _check_usable(get: _Get, plan: OpenApiPlan) -> None:
    if "{" in get.path:
        raise EntityDefinitionError("its path needs a value, so it is about one record")
    check_slug(get.slug)
    if get.slug in plan.endpoints:
        raise EntityDefinitionError(f"another operation is called {get.slug}, too")


def _operations(document: dict[str, Any]) -> Iterator[_Get]:
    """What of a document can be asked with GET."""
    paths = document.get("paths")
    if not isinstance(paths, dict):
        return
    for path, item in paths.items():
        if not isinstance(item, dict):
            continue
        operation = item.get("get")
        if isinstance(operation, dict):
            yield _Get(path, item, operation)


def _endpoint(
    schemas: Schemas,
    get: _Get,
    override: dict[str, Any],
) -> dict[str, Any]:
    operation = get.operation
    parameters = [schemas.resolve(one) for one in get.parameters]
    _check_required(parameters, override.get("params", {}))
    schema = schemas.answer_schema(operation)
    records, record = schemas.records(schema)
    columns = schemas.columns(record, override.get("key"))
    title = operation.get("summary") or operation.get("operationId")
    description = _storable(operation.get("description"))
    endpoint: dict[str, Any] = {
        "path": get.path,
        "title": printable(str(title or get.path), 190),
        "description": description[:10_000],
        "records": records,
        "columns": columns,
    }
    if "pagination" in override or "ids" in override:
        return endpoint
    records = override.get("records") or records
    keys = [column["name"] for column in columns if column.get("key")]
    paged = Operation(
        slug=get.slug,
        query=_query_of(schemas, parameters),
        records=records,
        beside=schemas.beside(schema, records),
        key=keys,
        headers=schemas.headers(operation),
    )
    pagination = plan_pagination(paged)
    if pagination:
        endpoint["pagination"] = pagination
    return endpoint


def _query_of(schemas: Schemas, parameters: list[Schema]) -> dict[str, Schema]:
    """Schemas of the query parameters, by name."""
    query = {}
    for parameter in parameters:
        if parameter.get("in") == "query":
            name = str(parameter.get("name"))
            schema = parameter.get("schema") or {}
            query[name] = schemas.resolve(schema)
    return query


def _check_required(parameters: list[Schema], given: dict[str, Any]) -> None:
    for parameter in parameters:
        is_of_query = parameter.get("in") == "query"
        if not is_of_query or not parameter.get("required"):
            continue
        name = parameter.get("name")
        if name not in given:
            raise EntityDefinitionError(f"it needs the parameter {name!r}; declare it under params")


def _storable(text: Any) -> str:
    """A text without what PostgreSQL's JSON cannot have."""
    storable = str(text or "").replace("\x00", "")
    return storable.encode("utf-8", "replace").decode()
