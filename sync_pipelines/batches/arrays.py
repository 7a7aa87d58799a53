"""Whole columns of decoded values into exact Arrow arrays; any doubt sends the page to the slow path.

`NotExactError` is no error of the data: it only says that this page needs `batches.values`, record by record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import Array

from sync_pipelines.batches.values import MAX_JSON_DEPTH, PLAIN_DIGITS
from sync_pipelines.model.types import INTEGER_BITS, MAX_ARROW_PRECISION, ColumnType, Kind

_TIME_PATTERN = r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d$"
_UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_PLAIN_NUMBER_PATTERN = r"^(0(\.\d+)?|-?[1-9]\d*(\.\d+)?|-0\.\d*[1-9]\d*)$"
_HEX_PATTERN = r"^([0-9a-f]{2})*$"
_ZONE_ENDS = "Zz"
_TEXT = pa.string()
_MICROSECONDS = pa.timestamp("us")
_MOMENT = pa.timestamp("us", tz="UTC")
_NO_TEXT = pa.scalar(None, _TEXT)
# In microseconds since 1970.
_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000
_MICROSECOND_DIGITS = 6
_LARGE_NUMBER = re.compile(rb"[eE][+-]?\d{4}|\d{1000}")


class NotExactError(ValueError):
    """The vectorised path cannot vouch for this column of this page."""


def to_array(values: list[Any], column_type: ColumnType) -> Array:
    """Decoded values as an array of `column_type.arrow`.

    Args:
        values: as msgspec decodes them for `python_type(column_type)`.
        column_type: the declared type.

    Raises:
        NotExactError: some value is not plainly one of the type.
    """
    try:
        return _to_array(values, column_type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise NotExactError(str(error)) from error


def _to_array(values: list[Any], column_type: ColumnType) -> Array:
    match column_type.kind:
        case Kind.BOOLEAN | Kind.DOUBLE:
            return pa.array(values, column_type.arrow)
        case Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return pa.array(values, column_type.arrow)
        case Kind.REAL:
            doubles = pa.array(values, pa.float64())
            return _reals(doubles)
        case Kind.NUMERIC:
            literals = _literals(values)
            if column_type.is_number_text:
                return _number_texts(literals, column_type)
            return _decimals(literals, column_type)
        case Kind.JSON:
            json_texts = [_json_text(bytes(value)) for value in values]
            return pa.array(json_texts, _TEXT)
    texts = pa.array(values, _TEXT)
    match column_type.kind:
        case Kind.DATE:
            return _no_year_zero(texts).cast(pa.date32())
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return _timestamps(_no_year_zero(texts), column_type)
        case Kind.TIME:
            return _matching(texts, _TIME_PATTERN)
        case Kind.UUID:
            return _matching(texts, _UUID_PATTERN)
        case Kind.BYTES:
            return _hex_bytes(texts, column_type)
    return texts


def _literals(values: list[Any]) -> Array:
    """The texts of numbers, with or without quotes around them, null as null."""
    raw = list(map(bytes, values))
    texts = pa.array(raw, pa.binary()).cast(_TEXT)
    is_null = pc.equal(texts, "null")
    numbers = pc.replace_with_mask(texts, is_null, _NO_TEXT)
    return pc.utf8_trim(numbers, '"')


def from_canonical(texts: list[str | None], column_type: ColumnType) -> Array:
    """An array of `column_type.arrow` from the canonical texts of `batches.values.convert`."""
    parse = _parser_of(column_type.kind)
    if parse is not None:
        values = [None if text is None else parse(text) for text in texts]
        return pa.array(values, column_type.arrow)
    array = pa.array(texts, _TEXT)
    if column_type.kind is Kind.TIMESTAMPTZ:
        moments = array.cast(_MICROSECONDS)
        return pc.assume_timezone(moments, "UTC")
    return array.cast(column_type.arrow)


def _parser_of(kind: Kind) -> Callable[[str], Any] | None:
    """The Python function that reads a canonical text of the kind; None where Arrow's cast does."""
    if kind is Kind.BOOLEAN:
        return "true".__eq__
    if kind in (Kind.DOUBLE, Kind.REAL):
        return float
    return int if kind in INTEGER_BITS else None


def _matching(texts: Array, pattern: str) -> Array:
    matches = pc.match_substring_regex(texts, pattern)
    if pc.all(matches).as_py() is False:
        raise NotExactError(pattern)
    return texts


def _longest(texts: Array) -> int:
    """Characters of the longest text."""
    lengths = pc.utf8_length(texts)
    return pc.max(lengths).as_py() or 0


def _reals(numbers: Array) -> Array:
    reals = numbers.cast(pa.float32(), safe=False)
    are_finite = pc.all(pc.is_finite(reals)).as_py()
    is_zero = pc.equal(reals, 0)
    was_zero = pc.equal(numbers, 0)
    became_zero = pc.any(pc.xor(is_zero, was_zero)).as_py()
    if became_zero or are_finite is False:
        raise NotExactError("beyond what a real holds")
    return reals


def _decimals(texts: Array, column_type: ColumnType) -> Array:
    """Arrow casts a text of more digits than it can hold to some other number, silently; none may get there."""
    if _longest(texts) > MAX_ARROW_PRECISION:
        raise NotExactError("digits to be counted")
    precision = column_type.precision or 0
    scale = column_type.scale or 0
    whole = precision - scale
    digits = f"[0-9]{{1,{whole}}}" if whole else "0"
    pattern = rf"^-?{digits}(\.\d+)?$"
    return _matching(texts, pattern).cast(column_type.arrow)


def _number_texts(texts: Array, column_type: ColumnType) -> Array:
    """One spelling per number, the one of `batches.values`: the content hash is taken of the text."""
    if column_type.precision is not None or _longest(texts) >= PLAIN_DIGITS:
        raise NotExactError("digits to be counted")
    return _matching(texts, _PLAIN_NUMBER_PATTERN)


def _no_year_zero(texts: Array) -> Array:
    is_year_zero = pc.starts_with(texts, "0000")
    if pc.any(is_year_zero).as_py():
        raise NotExactError("year zero")
    return texts


def _timestamps(texts: Array, column_type: ColumnType) -> Array:
    sample = next((text.as_py() for text in texts if text.is_valid), "")
    if sample and _has_zone(sample):
        moments = texts.cast(_MOMENT)
    else:
        moments = pc.assume_timezone(texts.cast(_MICROSECONDS), "UTC")
    _check_range(moments)
    _check_fraction(moments, column_type)
    return moments.cast(column_type.arrow)


def _has_zone(text: str) -> bool:
    time_of_day = text[10:]
    if "+" in time_of_day or "-" in time_of_day:
        return True
    return text[-1:] in _ZONE_ENDS


def _check_range(moments: Array) -> None:
    bounds = pc.min_max(moments.cast(pa.int64()))
    low = bounds["min"].as_py()
    high = bounds["max"].as_py()
    if low is None:
        return
    if low < _YEAR_1 or high >= _YEAR_10000:
        raise NotExactError("years 1 to 9999")


def _check_fraction(moments: Array, column_type: ColumnType) -> None:
    digits = column_type.precision
    if digits is None or digits >= _MICROSECOND_DIGITS:
        return
    unit = 10 ** (_MICROSECOND_DIGITS - digits)
    micros = moments.cast(pa.int64())
    units = pc.divide(micros, unit)
    cut = pc.multiply(units, unit)
    is_finer = pc.not_equal(cut, micros)
    if pc.any(is_finer).as_py():
        raise NotExactError("finer than declared")


def _hex_bytes(texts: Array, column_type: ColumnType) -> Array:
    if not column_type.hexadecimal:
        if texts.null_count == len(texts):
            return texts
        raise NotExactError("base64 is decoded one by one")
    lower = _matching(pc.utf8_lower(texts), _HEX_PATTERN)
    most_bytes = column_type.length
    if most_bytes is not None and _longest(lower) > 2 * most_bytes:
        raise NotExactError("longer than declared")
    return pc.binary_join_element_wise("\\x", lower, "")


def _json_text(raw: bytes) -> str | None:
    if raw == b"null":
        return None
    brackets = raw.count(b"[") + raw.count(b"{")
    if brackets > MAX_JSON_DEPTH:
        raise NotExactError("depth to be checked")
    if _LARGE_NUMBER.search(raw):
        raise NotExactError("number to be checked")
    return raw.decode()


def python_type(column_type: ColumnType) -> Any:
    """The type as which msgspec decodes a column for `to_array`; always optional, nulls are the gate's business."""
    match column_type.kind:
        case Kind.NUMERIC:
            # The literal itself: a float in between would change 12345678901234.567.
            return msgspec.Raw
        case Kind.BOOLEAN:
            return bool | None
        case Kind.DOUBLE | Kind.REAL:
            return float | None
        case Kind.JSON:
            return msgspec.Raw
        case kind if kind in INTEGER_BITS:
            return int | None
    return str | None
