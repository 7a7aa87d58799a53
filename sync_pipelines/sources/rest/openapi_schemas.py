"""What the schemas of an OpenAPI document say about records and columns.

Many operations may share one schema, and a small document may refer to a large one thousands of times. So every schema
is looked at once, and the columns of all operations together are bounded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.entity import MAX_COLUMNS
from sync_pipelines.model.types import MAX_TEXT_LENGTH
from sync_pipelines.secrets import printable
from sync_pipelines.sources.rest.openapi_beside import beside_list

MAX_REFERENCES = 50
MAX_DOCUMENT_COLUMNS = 200_000
MAX_HEADERS = 500
_STRING_FORMATS = {
    "date": "date",
    "date-time": "timestamptz",
    "uuid": "uuid",
    "byte": "bytea",
}
_INTEGER_FORMATS = {"int32": "integer", "int64": "bigint"}
_JSON_MEDIA = re.compile(r"application/(.+\+)?json(;.*)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_ENDING = re.compile(r"(_id|Id|_uuid|_number|_no|_code)$")
Schema = dict[str, Any]
ColumnType = tuple[str, bool]
"""A type, and whether it may be null."""
Properties = tuple[dict[str, Any], set[str]]
"""The schemas of an object's properties, and the names of those that are required."""
T = TypeVar("T")


class _ByIdentity(Generic[T]):
    """What was found for a schema, which is kept beside it so that nothing else gets its identity."""

    def __init__(self, find: Callable[[Any], T]) -> None:
        self._find = find
        self._found: dict[int, tuple[Any, T]] = {}

    def get(self, schema: Any) -> T:
        """What `find` makes of a schema, called once for each."""
        if id(schema) not in self._found:
            found = self._find(schema)
            self._found[id(schema)] = (schema, found)
        _, result = self._found[id(schema)]
        return result


class Schemas:
    """The schemas of one document.

    Args:
        document: as it was read; it must not change while this is used.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._properties = _ByIdentity(self._gather_all)
        self._types = _ByIdentity(self._type_of)
        self._records = _ByIdentity(self._found_or_not)
        self._media = _ByIdentity(_json_media)
        self._headers = _ByIdentity(_header_names)
        # By the path of the list, too.
        self._beside: dict[str, _ByIdentity[dict[str, Schema]]] = {}
        self._gathered = 0
        self._columns = 0

    def resolve(self, schema: Any) -> Schema:
        """A schema without reference at its top; only references within the document are followed.

        Raises:
            EntityDefinitionError: it is none, or its references lead out of the document, nowhere, or in circles.
        """
        for _ in range(MAX_REFERENCES):
            if schema is True:  # OpenAPI 3.1: anything
                return {}
            if not isinstance(schema, dict):
                raise EntityDefinitionError("its schema is not readable")
            reference = schema.get("$ref")
            if reference is None:
                return schema
            if not isinstance(reference, str) or not reference.startswith("#/"):
                raise EntityDefinitionError(
                    f"the reference {printable(str(reference), 100)} leads out of the document"
                )
            schema = self._at(reference)
        raise EntityDefinitionError("its references go in circles")

    def _at(self, reference: str) -> Any:
        """What a reference `#/…` of the document leads to."""
        found: Any = self._document
        for part in reference[2:].split("/"):
            with_slashes = part.replace("~1", "/")
            name = with_slashes.replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            raise EntityDefinitionError(f"the reference {printable(reference, 100)} leads nowhere")
        return found

    def answer(self, operation: Schema) -> Schema:
        """The answer of an operation that went well."""
        responses = operation.get("responses", {})
        for code in ("200", "2XX", "default"):
            if code in responses:
                return self.resolve(responses[code] or {})
        return {}

    def answer_schema(self, operation: Schema) -> Schema:
        """The schema of the JSON in it.

        Raises:
            EntityDefinitionError: it declares none.
        """
        answer = self.answer(operation)
        media = self._media.get(answer)
        if not isinstance(media, dict) or "schema" not in media:
            raise EntityDefinitionError("it declares no JSON answer")
        return self.resolve(media["schema"])

    def headers(self, operation: Schema) -> list[str]:
        """Names of the headers that its answer is declared to have."""
        answer = self.answer(operation)
        found = self._headers.get(answer)
        if len(found) > MAX_HEADERS:
            raise EntityDefinitionError(f"its answer has more than {MAX_HEADERS} headers")
        return found

    def records(self, schema: Schema) -> tuple[str, Schema]:
        """The path to the records of an answer, and the schema of one.

        Raises:
            EntityDefinitionError: there is not exactly one list of objects.
        """
        found = self._records.get(schema)
        if isinstance(found, str):
            raise EntityDefinitionError(found)
        return found

    def _found_or_not(self, schema: Schema) -> tuple[str, Schema] | str:
        try:
            return self._find_records(schema)
        except EntityDefinitionError as error:
            return error.what

    def _find_records(self, schema: Schema) -> tuple[str, Schema]:
        if "array" in types_of(schema):
            record = self._object_of(schema.get("items"))
            return "$", record
        properties, _ = self.properties(schema)
        lists: list[tuple[str, Schema]] = []
        for name, inner in properties.items():
            resolved = self.resolve(inner)
            if "array" not in types_of(resolved):
                continue
            try:
                record = self._object_of(resolved.get("items"))
            except EntityDefinitionError:
                continue
            lists.append((name, record))
        if len(lists) != 1:
            raise EntityDefinitionError(
                f"it answers an object with {len(lists)} lists of objects instead of one"
            )
        name, record = lists[0]
        if not _WORD.fullmatch(name):
            without_quotes = name.replace('"', "")
            name = f'"{without_quotes}"'
        return f"$.{name}", record

    def _object_of(self, items: Any) -> Schema:
        schema = self.resolve(items)
        properties, _ = self.properties(schema)
        if not properties:
            raise EntityDefinitionError("its records are no objects with declared properties")
        return schema

    def properties(self, schema: Schema) -> Properties:
        """Properties and required names, those of `allOf` included, each schema once: twos of twos would never end.

        Raises:
            EntityDefinitionError: the document says so much in so few words that it is not followed.
        """
        return self._properties.get(schema)

    def _gather_all(self, schema: Schema) -> Properties:
        properties: dict[str, Any] = {}
        required: set[str] = set()
        self._gather(schema, properties, required, set())
        return properties, required

    def _gather(
        self,
        schema: Schema,
        properties: dict[str, Any],
        required: set[str],
        seen: set[int],
    ) -> None:
        seen.add(id(schema))
        required.update(schema.get("required") or ())
        for part in schema.get("allOf") or ():
            resolved = self.resolve(part)
            if id(resolved) not in seen:
                self._gather(resolved, properties, required, seen)
        own = schema.get("properties") or {}
        self._gathered += len(own)
        if self._gathered > 10 * MAX_DOCUMENT_COLUMNS:
            raise EntityDefinitionError(
                f"the document repeats more than {10 * MAX_DOCUMENT_COLUMNS} properties by reference"
            )
        properties.update(own)

    def beside(self, schema: Schema, records: str) -> dict[str, Schema]:
        """What is beside the list of an answer, see `openapi_beside.beside_list`."""

        def find(one: Schema) -> dict[str, Schema]:
            return beside_list(one, records, self.resolve, self._properties_alone)

        by_schema = self._beside.setdefault(records, _ByIdentity(find))
        return by_schema.get(schema)

    def _properties_alone(self, schema: Schema) -> dict[str, Any]:
        properties, _ = self.properties(schema)
        return properties

    def columns(self, record: Schema, key: list[str] | None) -> list[dict[str, Any]]:
        """The columns of a record.

        Raises:
            EntityDefinitionError: too many of them, in one table or in the document; or nothing says what the key is.
        """
        properties, required = self.properties(record)
        if len(properties) > MAX_COLUMNS:
            raise EntityDefinitionError(
                f"{len(properties)} columns: PostgreSQL holds at most {MAX_COLUMNS} beside ours"
            )
        self._columns += len(properties)
        if self._columns > MAX_DOCUMENT_COLUMNS:
            raise EntityDefinitionError(
                f"the operations before it have {MAX_DOCUMENT_COLUMNS} columns already; name those that you want"
                " under openapi.include"
            )
        typed: dict[str, ColumnType] = {}
        for name, schema in properties.items():
            if not self.resolve(schema).get("writeOnly"):
                typed[name] = self.column_type(schema)
        keys = key or key_candidate(typed, required, properties)
        columns = []
        for name, (data_type, nullable) in typed.items():
            is_nullable = nullable or name not in required
            column: dict[str, Any] = {
                "name": name,
                "type": data_type,
                "null": is_nullable,
            }
            if name in keys:
                column["key"] = True
            columns.append(column)
        return columns

    def column_type(self, schema: Any) -> ColumnType:
        """The declared type of a property's schema, and whether it may be null."""
        resolved = self.resolve(schema)
        return self._types.get(resolved)

    def _type_of(self, schema: Schema) -> ColumnType:
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._type_of_choices(choices)
        is_nullable = schema.get("nullable") is True
        parts: list[Any] = schema.get("allOf") or []
        is_alone = "type" not in schema and "properties" not in schema
        if is_alone and len(parts) == 1:
            data_type, nullable = self.column_type(parts[0])
            return data_type, nullable or is_nullable
        types = types_of(schema)
        others = [one for one in types if one != "null"]
        is_nullable = is_nullable or len(others) < len(types)
        if len(others) != 1:
            return "jsonb", is_nullable
        return _scalar_type(others[0], schema), is_nullable

    def _type_of_choices(self, choices: list[Any]) -> ColumnType:
        resolved = [self.resolve(one) for one in choices]
        others = [one for one in resolved if types_of(one) != ["null"]]
        is_nullable = len(others) < len(resolved)
        if len(others) != 1:
            return "jsonb", is_nullable
        data_type, nullable = self.column_type(others[0])
        return data_type, nullable or is_nullable


def _header_names(answer: Schema) -> list[str]:
    """Names of an answer's headers, one more than there may be."""
    declared = answer.get("headers") or {}
    some = itertools.islice(declared, MAX_HEADERS + 1)
    return [str(name) for name in some]


def _json_media(answer: Schema) -> Any:
    """The first kind of JSON that an answer may have; None where it has none."""
    content = answer.get("content", {})
    for name in content:
        if _JSON_MEDIA.fullmatch(name):
            return content[name]
    return None


def types_of(schema: Schema) -> list[str]:
    """The types that a schema names; one with properties is an object."""
    declared = schema.get("type")
    listed = declared if isinstance(declared, list) else [declared]
    types = [one for one in listed if isinstance(one, str)]
    if not types and "properties" in schema:
        return ["object"]
    return types


def key_candidate(
    typed: dict[str, ColumnType],
    required: set[str],
    properties: dict[str, Any],
) -> list[str]:
    """The business key that a schema suggests.

    Raises:
        EntityDefinitionError: nothing does.
    """
    marked = _marked_keys(properties)
    if marked:
        return marked
    by_name = []
    by_ending = []
    for name, (data_type, nullable) in typed.items():
        if nullable or data_type == "jsonb":
            continue
        if name.lower() in ("id", "uuid"):
            by_name.append(name)
        if name in required and _KEY_ENDING.search(name):
            by_ending.append(name)
    for candidates in (by_name, by_ending):
        if len(candidates) == 1:
            return candidates
    raise EntityDefinitionError(
        "nothing says what identifies a record; declare its `key` under endpoints"
    )


def _marked_keys(properties: dict[str, Any]) -> list[str]:
    """The properties that the document marks as business key."""
    marked = []
    for name, schema in properties.items():
        if isinstance(schema, dict) and schema.get("x-business-key") is True:
            marked.append(name)
    return marked


def _scalar_type(name: str, schema: Schema) -> str:
    form = schema.get("format")
    if name == "boolean":
        return "boolean"
    if name == "integer":
        if form is None:
            return "bigint"
        return _INTEGER_FORMATS.get(str(form), "numeric")
    if name == "number":
        # `float` and `double` say how the server computes, not how many digits its JSON has.
        return "numeric"
    if name == "string":
        if form in _STRING_FORMATS:
            return _STRING_FORMATS[form]
        length = schema.get("maxLength")
        if isinstance(length, int) and 0 < length <= MAX_TEXT_LENGTH:
            return f"varchar({length})"
        return "text"
    return "jsonb"
