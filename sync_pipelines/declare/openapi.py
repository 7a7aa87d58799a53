"""Endpoints from an OpenAPI 3 document: GET operations that return lists of objects, typed exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_pipelines.bounded_files import read_bounded
from sync_pipelines.declare.files import parse_yaml
from sync_pipelines.declare.openapi_pages import Operation, beside_list, plan_pagination
from sync_pipelines.errors import EntityDefinitionError, SettingsError, SourceContractError, SyncError
from sync_pipelines.extract.documents import NotADocumentError, decode_document
from sync_pipelines.extract.http import GuardedSession
from sync_pipelines.model.declaration import Declaration, Endpoint
from sync_pipelines.model.names import check_slug
from sync_pipelines.model.types import MAX_TEXT_LENGTH
from sync_pipelines.secrets import printable

MAX_REFERENCES = 50
MAX_FILE_BYTES = 32 * 1024 * 1024
_STRING_FORMATS = {"date": "date", "date-time": "timestamptz", "uuid": "uuid", "byte": "bytea"}
_INTEGER_FORMATS = {"int32": "integer", "int64": "bigint"}


def resolve_openapi(declaration: Declaration, session: GuardedSession) -> tuple[Declaration, OpenApiPlan]:
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
            raise SettingsError(f"The OpenAPI document {printable(place.file)} cannot be read: {error.strerror}.") from None
    else:
        body = session.for_documents().get(place.path or "")
    document = read_document(body, place.file or place.path or "")
    overrides = declaration.overrides
    if overrides is None:
        overrides = {slug: one.model_dump(mode="json", by_alias=True, exclude_unset=True) for slug, one in declaration.endpoints.items()}
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
            document = parse_yaml(body, name).data
        except SettingsError as error:
            raise SourceContractError(f"The OpenAPI document is neither JSON ({no_json}) nor YAML: {error.what}") from None
    version = document.get("openapi") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("3."):
        raise SourceContractError(f"{printable(name)} is no OpenAPI document of version 3.")
    return document


def plan_endpoints(document: dict[str, Any], overrides: dict[str, Any], include: list[str] | None = None) -> OpenApiPlan:
    """Endpoints for every usable operation.

    Args:
        document: the OpenAPI document.
        overrides: by slug, what the connector's file says on top (key, pagination, cursor, …).
        include: slugs to take; None = all.
    """
    plan = OpenApiPlan()
    paths = document.get("paths")
    for path, item in (paths if isinstance(paths, dict) else {}).items():
        operation = item.get("get") if isinstance(item, dict) else None
        if not isinstance(operation, dict):
            continue
        slug = _slug(path)
        label = printable(f"GET {path}", 200)
        if include is not None and slug not in include:
            plan.left_out.setdefault(slug, "`openapi.include` does not name it")
            continue
        try:
            if "{" in path:
                raise EntityDefinitionError("its path needs a value, so it is about one record")
            check_slug(slug)
            if slug in plan.endpoints:
                raise EntityDefinitionError(f"another operation is called {slug}, too")
            plan.endpoints[slug] = {**_endpoint(document, path, item, operation, overrides.get(slug, {}), slug), **overrides.get(slug, {})}
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


def _endpoint(
    document: dict[str, Any], path: str, item: dict[str, Any], operation: dict[str, Any], override: dict[str, Any], slug: str
) -> dict[str, Any]:
    parameters = [_resolve(document, one) for one in [*item.get("parameters", ()), *operation.get("parameters", ())]]
    required = [one.get("name") for one in parameters if one.get("required") and one.get("in") == "query"]
    given = override.get("params", {})
    if [name for name in required if name not in given]:
        raise EntityDefinitionError(f"it needs the parameter {required[0]!r}; declare it under params")
    schema = _answer_schema(document, operation)
    records, record = _record_schema(document, schema)
    columns = _columns(document, record, override.get("key"))
    endpoint: dict[str, Any] = {
        "path": path,
        "title": printable(str(operation.get("summary") or operation.get("operationId") or path), 190),
        # Without what PostgreSQL's JSON cannot hold.
        "description": str(operation.get("description") or "").replace("\x00", "").encode("utf-8", "replace").decode()[:10_000],
        "records": records,
        "columns": columns,
    }
    if "pagination" not in override and "ids" not in override:
        paged = _paging_of(document, operation, parameters, schema, override.get("records") or records)
        paged.slug, paged.key = slug, [one["name"] for one in columns if one.get("key")]
        if pagination := plan_pagination(paged):
            endpoint["pagination"] = pagination
    return endpoint


def _paging_of(
    document: dict[str, Any],
    operation: dict[str, Any],
    parameters: list[dict[str, Any]],
    schema: dict[str, Any],
    records: str,
) -> Operation:
    """What concerns the pages of an operation."""
    query = {
        str(one.get("name")): _resolve(document, one.get("schema") or {})
        for one in parameters
        if one.get("in") == "query"
    }
    beside = beside_list(schema, records, lambda one: _resolve(document, one), lambda one: _properties(document, one)[0])
    headers = _answer(document, operation).get("headers") or {}
    return Operation("", query, records, beside, headers=[str(name) for name in headers])


def _resolve(document: dict[str, Any], schema: Any) -> dict[str, Any]:
    """A schema without reference at its top; only references within the document are followed."""
    for _ in range(MAX_REFERENCES):
        if schema is True:  # OpenAPI 3.1: anything
            return {}
        if not isinstance(schema, dict):
            raise EntityDefinitionError("its schema is not readable")
        reference = schema.get("$ref")
        if reference is None:
            return schema
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise EntityDefinitionError(f"the reference {printable(str(reference), 100)} leads out of the document")
        found: Any = document
        for part in reference[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if found is None:
            raise EntityDefinitionError(f"the reference {printable(reference, 100)} leads nowhere")
        schema = found
    raise EntityDefinitionError("its references go in circles")


def _answer(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    responses = operation.get("responses", {})
    answer = next((responses[code] for code in ("200", "2XX", "default") if code in responses), None)
    return _resolve(document, answer or {})


def _answer_schema(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = _answer(document, operation).get("content", {})
    media = next((content[name] for name in content if re.fullmatch(r"application/(.+\+)?json(;.*)?", name)), None)
    if not isinstance(media, dict) or "schema" not in media:
        raise EntityDefinitionError("it declares no JSON answer")
    return _resolve(document, media["schema"])


def _record_schema(document: dict[str, Any], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path to the records, and the schema of one."""
    if "array" in _types(schema):
        return "$", _object_of(document, schema.get("items"))
    lists = []
    for name, inner in _properties(document, schema)[0].items():
        resolved = _resolve(document, inner)
        if "array" in _types(resolved):
            try:
                lists.append((name, _object_of(document, resolved.get("items"))))
            except EntityDefinitionError:
                continue
    if len(lists) != 1:
        raise EntityDefinitionError(f"it answers an object with {len(lists)} lists of objects instead of one")
    name, record = lists[0]
    quoted = '"' + name.replace('"', "") + '"'
    return (f"$.{name}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f"$.{quoted}"), record


def _object_of(document: dict[str, Any], items: Any) -> dict[str, Any]:
    schema = _resolve(document, items)
    if not _properties(document, schema)[0]:
        raise EntityDefinitionError("its records are no objects with declared properties")
    return schema


def _properties(
    document: dict[str, Any], schema: dict[str, Any], seen: set[int] | None = None
) -> tuple[dict[str, Any], set[str]]:
    """Properties and required names, those of `allOf` included, each schema once: twos of twos would never end."""
    seen = set() if seen is None else seen
    seen.add(id(schema))
    properties: dict[str, Any] = {}
    required = set(schema.get("required") or ())
    for part in schema.get("allOf") or ():
        resolved = _resolve(document, part)
        if id(resolved) in seen:
            continue
        inner, names = _properties(document, resolved, seen)
        properties, required = properties | inner, required | names
    return properties | (schema.get("properties") or {}), required


def _types(schema: dict[str, Any]) -> list[str]:
    declared = schema.get("type")
    types = declared if isinstance(declared, list) else [declared]
    return [one for one in types if isinstance(one, str)] or (["object"] if "properties" in schema else [])


def _columns(document: dict[str, Any], record: dict[str, Any], key: list[str] | None) -> list[dict[str, Any]]:
    properties, required = _properties(document, record)
    readable = {name: one for name, one in properties.items() if not _resolve(document, one).get("writeOnly")}
    typed = {name: column_type(document, schema) for name, schema in readable.items()}
    keys = key or key_candidate(typed, required, properties)
    return [
        {"name": name, "type": data_type, "null": nullable or name not in required, **({"key": True} if name in keys else {})}
        for name, (data_type, nullable) in typed.items()
    ]


def key_candidate(typed: dict[str, tuple[str, bool]], required: set[str], properties: dict[str, Any]) -> list[str]:
    """The business key that a schema suggests.

    Raises:
        EntityDefinitionError: nothing does.
    """
    marked = [name for name, schema in properties.items() if isinstance(schema, dict) and schema.get("x-business-key") is True]
    if marked:
        return marked
    suited = [name for name, (data_type, nullable) in typed.items() if not nullable and data_type != "jsonb"]
    for candidates in (
        [name for name in suited if name.lower() in ("id", "uuid")],
        [name for name in suited if name in required and re.search(r"(_id|Id|_uuid|_number|_no|_code)$", name)],
    ):
        if len(candidates) == 1:
            return candidates
    raise EntityDefinitionError("nothing says what identifies a record; declare its `key` under endpoints")


def column_type(document: dict[str, Any], schema: Any) -> tuple[str, bool]:
    """The declared type of a property's schema, and whether it may be null."""
    schema = _resolve(document, schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        resolved = [_resolve(document, one) for one in choices]
        others = [one for one in resolved if _types(one) != ["null"]]
        inner, nullable = column_type(document, others[0]) if len(others) == 1 else ("jsonb", False)
        return inner, nullable or len(others) < len(resolved)
    if len(schema.get("allOf") or ()) == 1 and "type" not in schema and "properties" not in schema:
        inner, nullable = column_type(document, schema["allOf"][0])
        return inner, nullable or schema.get("nullable") is True
    types = [one for one in _types(schema) if one != "null"]
    nullable = schema.get("nullable") is True or len(types) < len(_types(schema))
    return (_scalar_type(types[0], schema) if len(types) == 1 else "jsonb"), nullable


def _scalar_type(name: str, schema: dict[str, Any]) -> str:
    form = schema.get("format")
    if name == "boolean":
        return "boolean"
    if name == "integer":
        return _INTEGER_FORMATS.get(str(form), "bigint" if form is None else "numeric")
    if name == "number":
        # `float` and `double` say how the server computes, not how many digits its JSON has.
        return "numeric"
    if name == "string":
        length = schema.get("maxLength")
        if form in _STRING_FORMATS:
            return _STRING_FORMATS[form]
        return f"varchar({length})" if isinstance(length, int) and 0 < length <= MAX_TEXT_LENGTH else "text"
    return "jsonb"
