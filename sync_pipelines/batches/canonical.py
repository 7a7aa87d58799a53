"""One spelling for every JSON value, for the content hash: texts that mean the same give the same bytes.

Keys are sorted, the last of equal keys counts, numbers are written by their value (1.10 is 1.1, 1e2 is 100), blanks and
escapes do not count. What is stored stays as it was sent.
Another spelling needs another `model.entity.JSON_HASH_VERSION`.
"""

from __future__ import annotations

import json
import re
from decimal import Context, Decimal
from typing import Any

import msgspec
import pyarrow as pa

# Of numbers up to these digits both readers below make the same; the rest takes the exact one.
_UNUSUAL = re.compile(r"\d{16}|[eE][+-]?\d{2}")
_PLAIN_DIGITS = 400
_EXACT = Context(
    prec=1_000_000,
    Emax=999_999_999_999,
    Emin=-999_999_999_999,
)


def canonical_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """JSON texts in their one spelling, nulls as nulls; equal texts are read once.

    Args:
        texts: of a JSON column, as `batches.values` and `batches.arrays` let them pass.
    """
    encoded = as_one(texts).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    spelled = list(map(canonical_text, distinct))
    array = pa.array(spelled, pa.string())
    return array.take(encoded.indices)


def as_one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column without chunks."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    return column


def canonical_text(text: str) -> str:
    """One JSON text in its one spelling."""
    if not _UNUSUAL.search(text):
        try:
            value = _quick.decode(text)
            return _encoder.encode(value).decode()
        except (msgspec.MsgspecError, RecursionError):
            pass
    exact_value = _exact.decode(text)
    return "".join(_spelled(exact_value))


def _quick_number(literal: str) -> int | Decimal:
    number = _EXACT.normalize(Decimal(literal))
    if number == number.to_integral_value():
        return int(number)
    return number


def _exact_number(literal: str) -> Decimal:
    return _EXACT.normalize(Decimal(literal))


_quick = msgspec.json.Decoder(float_hook=_quick_number)
_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")
_exact = json.JSONDecoder(
    parse_int=_exact_number,
    parse_float=_exact_number,
    strict=False,
)


def _spelled(value: Any) -> list[str]:
    if isinstance(value, Decimal):
        return [_number_text(value)]
    if isinstance(value, dict):
        members = []
        for name in sorted(value):
            inner = "".join(_spelled(value[name]))
            members.append(f"{_quoted(name)}:{inner}")
        return ["{", ",".join(members), "}"]
    if isinstance(value, list):
        elements = ["".join(_spelled(one)) for one in value]
        return ["[", ",".join(elements), "]"]
    return [_quoted(value)]


def _number_text(number: Decimal) -> str:
    if not number:
        return "0"
    is_whole = number == number.to_integral_value(context=_EXACT)
    if is_whole and number.adjusted() < _PLAIN_DIGITS:
        return f"{number:f}"
    return str(number)


def _quoted(value: str | bool | None) -> str:
    return msgspec.json.encode(value).decode()
