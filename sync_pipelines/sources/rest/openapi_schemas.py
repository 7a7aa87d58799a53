"""What the schemas of an OpenAPI document say about records and columns.

Many operations may share one schema, and a small document may refer to a large one thousands of times. So every schema
is looked at once, and the columns of all operations together are bounded.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.model.entity import MAX_COLUMNS
from sync_pipelines.model.types import MAX_TEXT_LENGTH
from sync_pipelines.secrets import printable
from sync_pipelines.sources.rest.openapi_pages import beside_list

MAX_REFERENCES = 50
MAX_DOCUMENT_COLUMNS = 200_000
MAX_HEADERS = 500
_STRING_FORMATS = {"date": "date", "date-time": "timestamptz", "uuid": "uuid", "byte": "bytea"}
_INTEGER_FORMATS = {"int32": "integer", "int64": "bigint"}
_JSON_MEDIA = re.compile(r"application/(.+\+)?json(;.*)?")
Schema = dict[str, Any]


class Schemas:
    """The schemas of one document.

    Args:
        document: as it was read; it must not change while this is used.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # By the identity of a schema, which is kept beside the result so that nothing else gets the same one.
        self._properties: dict[int, tuple[Schema, dict[str, Any], set[str]]] = {}
        self._types: dict[int, tuple[Any, tuple[str, bool]]] = {}
        self._records: dict[int, tuple[Schema, tuple[str, Schema] | str]] = {}
        self._contents: dict[int, tuple[Schema, Any]] = {}
        self._beside: dict[tuple[int, str], tuple[Schema, dict[str, Schema]]] = {}
        self._headers: dict[int, tuple[Schema, list[str]]] = {}
        self._gathered = self._columns = 0

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
            found = (
                found.get(part.replace("~1", "/").replace("~0", "~"))
                if isinstance(found, dict)
                else None
            )
        if found is None:
            raise EntityDefinitionError(f"the reference {printable(reference, 100)} leads nowhere")
        return found

    def answer(self, operation: dict[str, Any]) -> Schema:
        """The answer of an operation that went well."""
        responses = operation.get("responses", {})
        answer = next(
            (responses[code] for code in ("200", "2XX", "default") if code in responses), None
        )
        return self.resolve(answer or {})

    def answer_schema(self, operation: dict[str, Any]) -> Schema:
        """The schema of the JSON in it.

        Raises:
            EntityDefinitionError: it declares none.
        """
        answer = self.answer(operation)
        if id(answer) not in self._contents:
            content = answer.get("content", {})
            self._contents[id(answer)] = (
                answer,
                next((content[name] for name in content if _JSON_MEDIA.fullmatch(name)), None),
            )
        media = self._contents[id(answer)][1]
        if not isinstance(media, dict) or "schema" not in media:
            raise EntityDefinitionError("it declares no JSON answer")
        return self.resolve(media["schema"])

    def headers(self, operation: dict[str, Any]) -> list[str]:
        """Names of the headers that its answer is declared to have."""
        answer = self.answer(operation)
        if id(answer) not in self._headers:
            names = itertools.islice(answer.get("headers") or {}, MAX_HEADERS + 1)
            self._headers[id(answer)] = answer, [str(name) for name in names]
        found = self._headers[id(answer)][1]
        if len(found) > MAX_HEADERS:
            raise EntityDefinitionError(f"its answer has more than {MAX_HEADERS} headers")
        return found

    def records(self, schema: Schema) -> tuple[str, Schema]:
        """The path to the records of an answer, and the schema of one.

        Raises:
            EntityDefinitionError: there is not exactly one list of objects.
        """
        if id(schema) not in self._records:
            self._records[id(schema)] = schema, self._found_or_not(schema)
        found = self._records[id(schema)][1]
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
            return "$", self._object_of(schema.get("items"))
        lists = []
        for name, inner in self.properties(schema)[0].items():
            resolved = self.resolve(inner)
            if "array" in types_of(resolved):
                try:
                    lists.append((name, self._object_of(resolved.get("items"))))
                except EntityDefinitionError:
                    continue
        if len(lists) != 1:
            raise EntityDefinitionError(
                f"it answers an object with {len(lists)} lists of objects instead of one"
            )
        name, record = lists[0]
        quoted = '"' + name.replace('"', "") + '"'
        return (
            f"$.{name}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f"$.{quoted}"
        ), record

    def _object_of(self, items: Any) -> Schema:
        schema = self.resolve(items)
        if not self.properties(schema)[0]:
            raise EntityDefinitionError("its records are no objects with declared properties")
        return schema

    def properties(self, schema: Schema) -> tuple[dict[str, Any], set[str]]:
        """Properties and required names, those of `allOf` included, each schema once: twos of twos would never end.

        Raises:
            EntityDefinitionError: the document says so much in so few words that it is not followed.
        """
        if id(schema) not in self._properties:
            properties: dict[str, Any] = {}
            required: set[str] = set()
            self._gather(schema, properties, required, set())
            self._properties[id(schema)] = schema, properties, required
        _, properties, required = self._properties[id(schema)]
        return properties, required

    def _gather(
        self, schema: Schema, properties: dict[str, Any], required: set[str], seen: set[int]
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
        """What is beside the list of an answer, see `openapi_pages.beside_list`."""
        if (id(schema), records) not in self._beside:
            found = beside_list(schema, records, self.resolve, lambda one: self.properties(one)[0])
            self._beside[id(schema), records] = schema, found
        return self._beside[id(schema), records][1]

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
        readable = {
            name: one for name, one in properties.items() if not self.resolve(one).get("writeOnly")
        }
        typed = {name: self.column_type(schema) for name, schema in readable.items()}
        keys = key or key_candidate(typed, required, properties)
        return [
            {
                "name": name,
                "type": data_type,
                "null": nullable or name not in required,
                **({"key": True} if name in keys else {}),
            }
            for name, (data_type, nullable) in typed.items()
        ]

    def column_type(self, schema: Any) -> tuple[str, bool]:
        """The declared type of a property's schema, and whether it may be null."""
        schema = self.resolve(schema)
        if id(schema) not in self._types:
            self._types[id(schema)] = schema, self._type_of(schema)
        return self._types[id(schema)][1]

    def _type_of(self, schema: Schema) -> tuple[str, bool]:
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._type_of_choices(choices)
        if (
            len(schema.get("allOf") or ()) == 1
            and "type" not in schema
            and "properties" not in schema
        ):
            inner, nullable = self.column_type(schema["allOf"][0])
            return inner, nullable or schema.get("nullable") is True
        types = [one for one in types_of(schema) if one != "null"]
        nullable = schema.get("nullable") is True or len(types) < len(types_of(schema))
        return (_scalar_type(types[0], schema) if len(types) == 1 else "jsonb"), nullable

    def _type_of_choices(self, choices: list[Any]) -> tuple[str, bool]:
        resolved = [self.resolve(one) for one in choices]
        others = [one for one in resolved if types_of(one) != ["null"]]
        inner, nullable = self.column_type(others[0]) if len(others) == 1 else ("jsonb", False)
        return inner, nullable or len(others) < len(resolved)


def types_of(schema: Schema) -> list[str]:
    """The types that a schema names; one with properties is an object."""
    declared = schema.get("type")
    types = declared if isinstance(declared, list) else [declared]
    return [one for one in types if isinstance(one, str)] or (
        ["object"] if "properties" in schema else []
    )


def key_candidate(
    typed: dict[str, tuple[str, bool]], required: set[str], properties: dict[str, Any]
) -> list[str]:
    """The business key that a schema suggests.

    Raises:
        EntityDefinitionError: nothing does.
    """
    marked = [
        name
        for name, schema in properties.items()
        if isinstance(schema, dict) and schema.get("x-business-key") is True
    ]
    if marked:
        return marked
    suited = [
        name
        for name, (data_type, nullable) in typed.items()
        if not nullable and data_type != "jsonb"
    ]
    for candidates in (
        [name for name in suited if name.lower() in ("id", "uuid")],
        [
            name
            for name in suited
            if name in required and re.search(r"(_id|Id|_uuid|_number|_no|_code)$", name)
        ],
    ):
        if len(candidates) == 1:
            return candidates
    raise EntityDefinitionError(
        "nothing says what identifies a record; declare its `key` under endpoints"
    )


def _scalar_type(name: str, schema: Schema) -> str:
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
        return (
            f"varchar({length})"
            if isinstance(length, int) and 0 < length <= MAX_TEXT_LENGTH
            else "text"
        )
    return "jsonb"
