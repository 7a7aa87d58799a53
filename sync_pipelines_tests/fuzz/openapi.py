"""OpenAPI documents of any size in which few words stand for very much."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Documents = Callable[[int], bytes]


def _json(paths: dict[str, Any], schemas: dict[str, Any], **components: Any) -> bytes:
    return json.dumps(
        {"openapi": "3.0.0", "paths": paths, "components": {"schemas": schemas, **components}}
    ).encode()


def _ref(name: str, place: str = "schemas") -> dict[str, str]:
    return {"$ref": f"#/components/{place}/{name}"}


def _answering(schema: Any) -> dict[str, Any]:
    return {"get": {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _fields(count: int, schema: Any = None) -> dict[str, Any]:
    return {
        "id": {"type": "string"},
        **{f"f{number}": schema or {"type": "string"} for number in range(count)},
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["id"], "properties": properties}


def fan_of_records(size: int) -> bytes:
    """Many operations, one wide record."""
    return _json(
        {f"/p{n}": _answering(_list(_ref("R"))) for n in range(size // 200)},
        {"R": _object(_fields(size // 80))},
    )


def fan_of_answers(size: int) -> bytes:
    """Many operations, one answer with many kinds of content and headers."""
    content = {f"text/t{n}": {} for n in range(size // 40)} | {
        "application/json": {"schema": _list(_ref("R"))}
    }
    headers = {f"h{n}": {} for n in range(size // 40)}
    answers = {"A": {"content": content, "headers": headers}}
    paths = {
        f"/p{n}": {"get": {"responses": {"200": _ref("A", "responses")}}}
        for n in range(size // 160)
    }
    return _json(paths, {"R": _object(_fields(1))}, responses=answers)


def fan_of_envelopes(size: int) -> bytes:
    """Many operations, one envelope of many lists."""
    lists = {f"l{n}": _list(_ref("R")) for n in range(size // 120)}
    return _json(
        {f"/p{n}": _answering(_ref("E")) for n in range(size // 200)},
        {"R": _object(_fields(1)), "E": _object(lists)},
    )


def envelopes_in_envelopes(size: int) -> bytes:
    """Objects beside the list whose names mean the same, each with all of them again."""
    names = {f"me{'_' * n}ta": _ref("E") for n in range(int((size / 2) ** 0.5))}
    return _json(
        {"/p": _answering(_ref("E"))},
        {"R": _object(_fields(1)), "E": _object({**names, "rows": _list(_ref("R"))})},
    )


def wide_all_of(size: int) -> bytes:
    """One record of very many parts."""
    parts = [{"properties": {f"f{n}": {"type": "string"}}} for n in range(size // 60)]
    return _json({"/p": _answering(_list({"allOf": [_object(_fields(1)), *parts]}))}, {})


def long_all_of(size: int) -> bytes:
    """Records each of which is the next one with one field more."""
    count = size // 160
    schemas = {
        f"R{n}": {"allOf": [_ref(f"R{n + 1}"), _object({"id": {"type": "string"}})]}
        for n in range(count)
    }
    return _json(
        {"/p": _answering(_list(_ref("R0")))}, {**schemas, f"R{count}": _object(_fields(1))}
    )


def wide_choices(size: int) -> bytes:
    """Many fields of one type, which is one of very many."""
    choices = {"anyOf": [{"type": "string"} for _ in range(size // 40)]}
    return _json(
        {"/p": _answering(_list(_object(_fields(min(1000, size // 60), _ref("C")))))},
        {"C": choices},
    )


def twos_of_twos(size: int) -> bytes:
    """Every record is the next one, twice."""
    count = size // 100
    schemas = {f"R{n}": {"allOf": [_ref(f"R{n + 1}"), _ref(f"R{n + 1}")]} for n in range(count)}
    return _json(
        {"/p": _answering(_list(_ref("R0")))}, {**schemas, f"R{count}": _object(_fields(1))}
    )


def many_parameters(size: int) -> bytes:
    """One operation with very many parameters."""
    parameters = [
        {"name": f"page{n}", "in": "query", "schema": _ref("S")} for n in range(size // 80)
    ]
    operation = {**_answering(_list(_object(_fields(1))))["get"], "parameters": parameters}
    return _json({"/p": {"get": operation}}, {"S": {"type": "string"}})


DOCUMENTS: dict[str, Documents] = {
    make.__name__: make
    for make in (
        fan_of_records,
        fan_of_answers,
        fan_of_envelopes,
        envelopes_in_envelopes,
        wide_all_of,
        long_all_of,
        wide_choices,
        twos_of_twos,
        many_parameters,
    )
}
