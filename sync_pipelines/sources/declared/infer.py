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
from sync_pipelines.batches.typed import Path
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import EntityDefinitionError, RecordError
from sync_pipelines.model.endpoint import ColumnDeclaration, Endpoint
from sync_pipelines.model.types import parse_type
from sync_pipelines.sources.declared.paths import MAX_NESTED, SEPARATOR, path_of

SAMPLE_RECORDS = 100
MAX_NAME_LENGTH = 1000
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ZONE = re.compile(r"(Z|[+-]\d{2}:?\d{2})$", re.IGNORECASE)
_TEXT_TYPES = (
    (_UUID, "uuid"),
    (_DATE, "date"),
    (_MOMENT, "timestamptz"),
    (_MOMENT, "timestamp"),
)
_NULL = b"null"
Fields = dict[Path, list[bytes]]
"""The values of a sample, by the path of their field."""


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
    found: Fields = {}
    listed = find_records(
        body,
        endpoint.records,
        may_be_one=not endpoint.has_pages,
        max_record_bytes=max_record_bytes,
    )
    records = listed[:SAMPLE_RECORDS]
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
    names: dict[Path, str] = {}
    for source, target in endpoint.mapping.items():
        names[path_of(source)] = target
    fields = _without_parents(found)
    # The mapping may reach into an object that is one column as a whole.
    for path in names:
        if path not in fields:
            values = _values_at(records, path)
            if values:
                fields[path] = values
    columns = []
    for path, values in fields.items():
        joined = SEPARATOR.join(path)
        name = names.get(path, joined)
        column = _column(name, path, values, is_key=name in endpoint.key)
        columns.append(column)
    return columns


def _column(
    name: str,
    path: Path,
    values: list[bytes],
    *,
    is_key: bool,
) -> ColumnDeclaration:
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise EntityDefinitionError(
            f"A field has a name of {len(name)} characters, which no column can have; declare `columns`."
        )
    data_type = infer_type(values)
    column: dict[str, Any] = {"name": name, "type": data_type, "key": is_key}
    has_dots = any("." in part for part in path)
    source = list(path) if has_dots else ".".join(path)
    if source != name:
        column["from"] = source
    return ColumnDeclaration.model_validate(column)


def _values_at(records: list[bytes], path: Path) -> list[bytes]:
    """The values that the records have at a path."""
    values = []
    for record in records:
        value = _at(record, path)
        if value is not None:
            values.append(value)
    return values


def _at(raw: bytes, path: Path) -> bytes | None:
    """The value at a path; None where there is none."""
    value = raw
    for name in path:
        inner = members(value)
        if inner is None or name not in inner:
            return None
        value = inner[name]
    return value.strip()


def _collect(
    raw: bytes,
    path: Path,
    flatten: bool,
    found: Fields,
) -> None:
    if len(path) > MAX_NESTED:
        raise EntityDefinitionError(
            f"The field {path[0]} is nested more than {MAX_NESTED} levels deep; declare `columns`."
        )
    opens = flatten or not path
    inner = members(raw) if opens else None
    if inner is None:
        values = found.setdefault(path, [])
        values.append(raw.strip())
        return
    for name, value in inner.items():
        _collect(value, (*path, name), flatten, found)


def _without_parents(found: Fields) -> Fields:
    """Leave out what is null where other records have an object."""
    parents: set[Path] = set()
    for path in found:
        for length in range(1, len(path)):
            parents.add(path[:length])
    kept: Fields = {}
    for path, values in found.items():
        is_parent = path in parents
        if not path or (is_parent and set(values) <= {_NULL}):
            continue
        if is_parent:
            raise EntityDefinitionError(
                f"The field {'.'.join(path)} is an object in some records only; declare `columns`."
            )
        kept[path] = values
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
        fits = all(-(2**63) <= value < 2**63 for value in decoded)
        return "bigint" if fits else "numeric"
    if kinds <= {int, Decimal}:
        return "numeric"
    if kinds == {str}:
        return _text_type(decoded)
    return "jsonb"


def _text_type(values: list[str]) -> str:
    for pattern, name in _TEXT_TYPES:
        if not all(map(pattern.fullmatch, values)):
            continue
        if all(_fits(value, name) for value in values):
            return name
    return "text"


def _fits(value: str, name: str) -> bool:
    if name == "timestamptz" and not _ZONE.search(value[10:]):
        return False
    try:
        convert(value, parse_type(name))
    except RecordError:
        return False
    if name == "uuid":
        return str(UUID(value)) == value.lower()
    return True


def _decode(raw: bytes) -> Any:
    try:
        return _decoder.decode(raw)
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        RecursionError,
        InvalidOperation,
    ):
        return object()


_decoder = msgspec.json.Decoder(float_hook=Decimal)
