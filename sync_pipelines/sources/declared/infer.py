"""Columns from a sample of records: shown for approval, then fixed.

A later record that does not fit goes to quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

from sync_pipelines.batches.raw_json import find_records, members
from sync_pipelines.batches.sieve import is_cut
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import EntityDefinitionError, RecordError
from sync_pipelines.model.declaration import ColumnDeclaration, Endpoint
from sync_pipelines.model.types import parse_type
from sync_pipelines.sources.declared.paths import MAX_NESTED, SEPARATOR

SAMPLE_RECORDS = 100
MAX_NAME_LENGTH = 1000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NULL = b"null"


def infer_columns(
    endpoint: Endpoint,
    body: bytes,
    max_record_bytes: int,
) -> list[ColumnDeclaration]:
    """Columns for the records of one answer, in the order in which their fields appear.

    Raises:
        EntityDefinitionError: there is no record to infer from, or one is larger than `max_record_bytes`.
        BrokenPageError: the answer has no records at the declared path.
    """
    found: dict[tuple[str, ...], list[bytes]] = {}
    one = not endpoint.has_pages
    records = find_records(
        body,
        endpoint.records,
        may_be_one=one,
        max_record_bytes=max_record_bytes,
    )[:SAMPLE_RECORDS]
    if any(map(is_cut, records)):
        raise EntityDefinitionError(
            f"A record has more than the {max_record_bytes} bytes of MAX_RECORD_BYTES; raise it, or declare `columns`."
        )
    for record in records:
        _collect(record, (), endpoint.flatten, found)
    if not found:
        raise EntityDefinitionError(
            "The source sent no record to infer columns from; declare `columns`."
        )
    names = {tuple(source.split(".")): target for source, target in endpoint.mapping.items()}
    columns = []
    fields = _without_parents(found)
    # The mapping may reach into an object that is one column as a whole.
    for path in [path for path in names if path not in fields]:
        values = [value for record in records if (value := _at(record, path)) is not None]
        if values:
            fields[path] = values
    for path, values in fields.items():
        name = names.get(path, SEPARATOR.join(path))
        columns.append(_column(name, path, values, is_key=name in endpoint.key))
    return columns


def _column(
    name: str,
    path: tuple[str, ...],
    values: list[bytes],
    *,
    is_key: bool,
) -> ColumnDeclaration:
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise EntityDefinitionError(
            f"A field has a name of {len(name)} characters, which no column can have; declare `columns`."
        )
    column: dict[str, Any] = {"name": name, "type": infer_type(values), "key": is_key}
    source = list(path) if any("." in part for part in path) else ".".join(path)
    if source != name:
        column["from"] = source
    return ColumnDeclaration.model_validate(column)


def _at(raw: bytes, path: tuple[str, ...]) -> bytes | None:
    """The value at a path; None where there is none."""
    value: bytes | None = raw
    for name in path:
        value = (members(value) or {}).get(name) if value is not None else None
    return value.strip() if value is not None else None


def _collect(
    raw: bytes,
    path: tuple[str, ...],
    flatten: bool,
    found: dict[tuple[str, ...], list[bytes]],
) -> None:
    if len(path) > MAX_NESTED:
        raise EntityDefinitionError(
            f"The field {path[0]} is nested more than {MAX_NESTED} levels deep; declare `columns`."
        )
    inner = members(raw) if not path or flatten else None
    if inner is None:
        found.setdefault(path, []).append(raw.strip())
        return
    for name, value in inner.items():
        _collect(value, (*path, name), flatten, found)


def _without_parents(
    found: dict[tuple[str, ...], list[bytes]],
) -> dict[tuple[str, ...], list[bytes]]:
    """Leave out what is null where other records have an object."""
    parents = {path[:length] for path in found for length in range(1, len(path))}
    kept = {
        path: values
        for path, values in found.items()
        if path and not (path in parents and set(values) <= {_NULL})
    }
    mixed = [path for path in kept if path in parents]
    if mixed:
        raise EntityDefinitionError(
            f"The field {'.'.join(mixed[0])} is an object in some records only; declare `columns`."
        )
    return kept


def infer_type(values: Iterable[bytes]) -> str:
    """The narrowest type that keeps every value of a sample exactly."""
    decoded = [_decode(raw) for raw in values if raw != _NULL]
    if not decoded:
        return "text"
    kinds = {type(value) for value in decoded}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "bigint" if all(-(2**63) <= value < 2**63 for value in decoded) else "numeric"
    if kinds <= {int, Decimal}:
        return "numeric"
    if kinds == {str}:
        return _text_type(decoded)
    return "jsonb"


def _text_type(values: list[str]) -> str:
    candidates = [
        (_UUID, "uuid"),
        (_DATE, "date"),
        (_MOMENT, "timestamptz"),
        (_MOMENT, "timestamp"),
    ]
    for pattern, name in candidates:
        if all(pattern.fullmatch(value) for value in values) and all(
            _fits(value, name) for value in values
        ):
            zoned = [
                bool(re.search(r"(Z|[+-]\d{2}:?\d{2})$", value[10:], re.IGNORECASE))
                for value in values
            ]
            if name != "timestamptz" or all(zoned):
                return name
    return "text"


def _fits(value: str, name: str) -> bool:
    try:
        convert(value, parse_type(name))
    except RecordError:
        return False
    return name != "uuid" or str(UUID(value)) == value.lower()


def _decode(raw: bytes) -> Any:
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidOperation):
        return object()


_decoder = msgspec.json.Decoder(float_hook=Decimal)
