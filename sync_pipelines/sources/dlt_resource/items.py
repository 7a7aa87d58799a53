"""What a dlt resource yields, as JSON with the very values that the resource gave: no digit and no NaN is lost."""

from __future__ import annotations

import base64
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


def pages_of(items: Iterable[Any], size: int) -> Iterator[bytes]:
    """Lists of so many records.

    Raises:
        SourceContractError: an item is no record, or has a value of a type that JSON has no word for.
    """
    waiting: list[Any] = []
    for record in _records(items):
        waiting.append(_plain(record))
        if len(waiting) >= size:
            yield _encoder.encode(waiting)
            waiting = []
    if waiting:
        yield _encoder.encode(waiting)


def _records(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, (pa.Table, pa.RecordBatch)):
            yield from item.to_pylist()
        elif isinstance(item, list):
            yield from _records(item)
        elif isinstance(item, Mapping):
            yield item
        elif hasattr(item, "to_arrow"):
            yield from item.to_arrow().to_pylist()
        elif item is not None:
            raise SourceContractError(f"The resource yields a {type(item).__name__}, which is no record.")


def _not_finite(is_nan: bool, is_negative: bool) -> msgspec.Raw:
    """The word that lenient writers of JSON have for it: its record goes to quarantine, where null would pass."""
    return msgspec.Raw(b"NaN" if is_nan else b"-Infinity" if is_negative else b"Infinity")


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else _not_finite(math.isnan(value), value < 0)
        case Decimal():
            return value if value.is_finite() else _not_finite(value.is_nan(), value.is_signed())
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case datetime() | date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
    raise SourceContractError(f"A value of the resource is a {type(value).__name__}, which has no place in a record.")
