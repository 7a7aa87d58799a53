"""What a dlt resource yields, as JSON with the very values that the resource gave: no digit and no NaN is lost."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa

from sync_pipelines.errors import SourceContractError

_encoder = msgspec.json.Encoder(decimal_format="number")


def pages_of(records: Iterable[Any], size: int) -> Iterator[bytes]:
    """Lists of so many records.

    Raises:
        SourceContractError: a record has a value of a type that JSON has no word for.
    """
    waiting: list[Any] = []
    for record in records:
        plain = _plain(record) if _has_names(record) else _pairs(record)
        waiting.append(plain)
        if len(waiting) >= size:
            yield _encoder.encode(waiting)
            waiting = []
    if waiting:
        yield _encoder.encode(waiting)


def records_of(items: Iterable[Any]) -> Iterator[Any]:
    """The records of what a resource yields.

    Raises:
        SourceContractError: an item is no record.
    """
    for item in items:
        if isinstance(item, (pa.Table, pa.RecordBatch)):
            yield from item.to_pylist()
        elif isinstance(item, list):
            yield from records_of(item)
        elif isinstance(item, Mapping):
            yield item
        elif hasattr(item, "to_arrow"):
            yield from item.to_arrow().to_pylist()
        elif item is not None:
            raise SourceContractError(
                f"The resource yields a {type(item).__name__}, which is no record."
            )


def _not_finite(is_nan: bool, is_negative: bool) -> msgspec.Raw:
    """The word that lenient writers of JSON have for it: its record goes to quarantine, where null would pass."""
    if is_nan:
        return msgspec.Raw(b"NaN")
    return msgspec.Raw(b"-Infinity" if is_negative else b"Infinity")


def _is_text(value: str) -> bool:
    """Whether a text can be stored: half of a surrogate pair cannot, and its record goes to quarantine."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_names(record: Any) -> bool:
    if not isinstance(record, Mapping):
        return True
    return all(isinstance(name, str) and _is_text(name) for name in record)


def _pairs(record: Mapping[Any, Any]) -> list[Any]:
    """A record with a key that is no text as a list, which goes to quarantine as it is."""
    pairs = []
    for name, inner in record.items():
        pairs.append([_plain(name), _plain(inner)])
    return pairs


def _object(value: Mapping[Any, Any]) -> Any:
    """An object; one with a key that is no text is spelled so that no reader takes it.

    1 and "1" would be one name in JSON, and one of their values would be lost.
    """
    if _has_names(value):
        return {name: _plain(inner) for name, inner in value.items()}
    members: list[bytes] = []
    for name, inner in value.items():
        encoded = _encoder.encode(_plain(inner))
        members.append(_name(name) + b":" + encoded)
    inside = b",".join(members)
    return msgspec.Raw(b"{" + inside + b"}")


def _name(name: Any) -> bytes:
    text = name if isinstance(name, str) else f"\ud800 a key that is no text: {name!r}"
    return json.dumps(text).encode()


def _plain(value: Any) -> Any:
    match value:
        case str():
            if _is_text(value):
                return value
            escaped = json.dumps(value)
            return msgspec.Raw(escaped.encode())
        case None | bool() | int():
            return value
        case float():
            if math.isfinite(value):
                return value
            return _not_finite(math.isnan(value), value < 0)
        case Decimal():
            if value.is_finite():
                return value
            return _not_finite(value.is_nan(), value.is_signed())
        case Mapping():
            return _object(value)
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case datetime() | date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            encoded = base64.b64encode(value)
            return encoded.decode()
    raise SourceContractError(
        f"A value of the resource is a {type(value).__name__}, which has no place in a record."
    )
