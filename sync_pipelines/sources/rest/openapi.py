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
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.names import check_slug
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.documents import NotADocumentError, decode_document
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.rest.openapi_pages import Operation, plan_pagination
from sync_pipelines.sources.rest.openapi_schemas import Schemas

MAX_FILE_BYTES = 32 * 1024 * 1024


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
    if place.file is not None:
        try:
            body = read_bounded(Path(place.file), MAX_FILE_BYTES)
        except OSError as error:
            raise SettingsError(
                f"The OpenAPI document {printable(place.file)} cannot be read: {error.strerror}."
            ) from None
    else:
        body = session.for_documents().get(place.path or "")
    document = read_document(body, place.file or place.path or "")
    overrides = declaration.overrides
    if overrides is None:
        overrides = {
            slug: one.model_dump(mode="json", by_alias=True, exclude_unset=True)
            for slug, one in declaration.endpoints.items()
        }
    found = plan_endpoints(document, overrides, place.include)
    endpoints: dict[str, Endpoint] = {}
    for slug, raw in found.endpoints.items():
        try:
            endpoints[slug] = Endpoint.model_validate(raw)
        except ValueError as error:
            found.skipped[slug] = found.left_out[slug] = printable(str(error), 300)
    return declaration.model_copy(update={"endpoints": endpoints, "overrides": overrides}), found


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

    def leave_out(self, label: str, slug: str | None, why: str) -> None:
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
    if (
        not isinstance(document, dict)
        or not isinstance(version, str)
        or not version.startswith("3.")
    ):
        raise SourceContractError(f"{printable(name)} is no OpenAPI document of version 3.")
    return document


def plan_endpoints(
    document: dict[str, Any], overrides: dict[str, Any], include: list[str] | None = None
) -> OpenApiPlan:
    """Endpoints for every usable operation.

    Args:
        document: the OpenAPI document.
        overrides: by slug, what the connector's file says on top (key, pagination, cursor, …).
        include: slugs to take; None = all.
    """
    plan = OpenApiPlan()
    schemas = Schemas(document)
    for path, item, operation in _operations(document):
        slug = _slug(path)
        label = printable(f"GET {path}", 200)
        if include is not None and slug not in include:
            plan.left_out.setdefault(slug, "`openapi.include` does not name it")
            continue
        override = overrides.get(slug, {})
        try:
            _check_usable(path, slug, plan)
            plan.endpoints[slug] = {
                **_endpoint(schemas, path, item, operation, override, slug),
                **override,
            }
        except SyncError as error:
            plan.leave_out(label, None if "{" in path else slug, error.what)
        except (TypeError, AttributeError, KeyError, ValueError, RecursionError):
            # A document may have anything anywhere; it spoils only this operation.
            plan.leave_out(label, slug, "its description is not readable")
    for slug in [*overrides, *(include or ())]:
        if slug not in plan.endpoints:
            plan.skipped.setdefault(slug, f"the document offers no usable {slug}")
    return plan


def _slug(path: str) -> str:
    """The last part of the path that names something."""
    parts = [part for part in path.split("/") if part and "{" not in part]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", parts[-1]) if parts else "root"


def _check_usable(path: str, slug: str, plan: OpenApiPlan) -> None:
    if "{" in path:
        raise EntityDefinitionError("its path needs a value, so it is about one record")
    check_slug(slug)
    if slug in plan.endpoints:
        raise EntityDefinitionError(f"another operation is called {slug}, too")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The paths of a document that can be asked with GET, with their item and operation."""
    paths = document.get("paths")
    for path, item in (paths if isinstance(paths, dict) else {}).items():
        operation = item.get("get") if isinstance(item, dict) else None
        if isinstance(operation, dict):
            yield path, item, operation


def _endpoint(
    schemas: Schemas,
    path: str,
    item: dict[str, Any],
    operation: dict[str, Any],
    override: dict[str, Any],
    slug: str,
) -> dict[str, Any]:
    parameters = [
        schemas.resolve(one)
        for one in [*item.get("parameters", ()), *operation.get("parameters", ())]
    ]
    _check_required(parameters, override.get("params", {}))
    schema = schemas.answer_schema(operation)
    records, record = schemas.records(schema)
    columns = schemas.columns(record, override.get("key"))
    title = operation.get("summary") or operation.get("operationId") or path
    endpoint: dict[str, Any] = {
        "path": path,
        "title": printable(str(title), 190),
        "description": _storable(operation.get("description"))[:10_000],
        "records": records,
        "columns": columns,
    }
    if "pagination" not in override and "ids" not in override:
        paged = _paging_of(
            schemas, operation, parameters, schema, override.get("records") or records
        )
        paged.slug = slug
        paged.key = [one["name"] for one in columns if one.get("key")]
        pagination = plan_pagination(paged)
        if pagination:
            endpoint["pagination"] = pagination
    return endpoint


def _check_required(parameters: list[dict[str, Any]], given: dict[str, Any]) -> None:
    required = [
        one.get("name") for one in parameters if one.get("required") and one.get("in") == "query"
    ]
    if any(name not in given for name in required):
        raise EntityDefinitionError(
            f"it needs the parameter {required[0]!r}; declare it under params"
        )


def _storable(text: Any) -> str:
    """A text without what PostgreSQL's JSON cannot have."""
    return str(text or "").replace("\x00", "").encode("utf-8", "replace").decode()


def _paging_of(
    schemas: Schemas,
    operation: dict[str, Any],
    parameters: list[dict[str, Any]],
    schema: dict[str, Any],
    records: str,
) -> Operation:
    """What concerns the pages of an operation."""
    asked = (one for one in parameters if one.get("in") == "query")
    query = {str(one.get("name")): schemas.resolve(one.get("schema") or {}) for one in asked}
    return Operation(
        "", query, records, schemas.beside(schema, records), headers=schemas.headers(operation)
    )
