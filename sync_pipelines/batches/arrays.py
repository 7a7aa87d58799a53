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

from sync_pipelines.batches.values import MAX_JSON_DEPTH, PLAIN_DIGITS
from sync_pipelines.model.types import INTEGER_BITS, MAX_ARROW_PRECISION, ColumnType, Kind

_TIME_PATTERN = r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d$"
_UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_PLAIN_NUMBER_PATTERN = r"^(0(\.\d+)?|-?[1-9]\d*(\.\d+)?|-0\.\d*[1-9]\d*)$"
_HEX_PATTERN = r"^([0-9a-f]{2})*$"
_ZONE_ENDS = "Zz"
_LARGE_NUMBER = re.compile(rb"[eE][+-]?\d{4}|\d{1000}")


class NotExactError(ValueError):
    """The vectorised path cannot vouch for this column of this page."""


def to_array(values: list[Any], column_type: ColumnType) -> pa.Array:
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


def _to_array(values: list[Any], column_type: ColumnType) -> pa.Array:
    match column_type.kind:
        case Kind.BOOLEAN | Kind.DOUBLE | Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return pa.array(values, column_type.arrow)
        case Kind.REAL:
            return _reals(pa.array(values, pa.float64()))
        case Kind.NUMERIC:
            literals = pa.array(list(map(bytes, values)), pa.binary()).cast(pa.string())
            texts = pc.utf8_trim(
                pc.replace_with_mask(
                    literals, pc.equal(literals, "null"), pa.scalar(None, pa.string())
                ),
                '"',
            )
            return (
                _number_texts(texts, column_type)
                if column_type.is_number_text
                else _decimals(texts, column_type)
            )
        case Kind.JSON:
            return pa.array([_json_text(bytes(value)) for value in values], pa.string())
    texts = pa.array(values, pa.string())
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


def from_canonical(texts: list[str | None], column_type: ColumnType) -> pa.Array:
    """An array of `column_type.arrow` from the canonical texts of `batches.values.convert`."""
    parse = _parser_of(column_type.kind)
    if parse is not None:
        return pa.array(
            [None if text is None else parse(text) for text in texts], column_type.arrow
        )
    array = pa.array(texts, pa.string())
    if column_type.kind is Kind.TIMESTAMPTZ:
        return pc.assume_timezone(array.cast(pa.timestamp("us")), "UTC")
    return array.cast(column_type.arrow)


def _parser_of(kind: Kind) -> Callable[[str], Any] | None:
    """The Python function that reads a canonical text of the kind; None where Arrow's cast does."""
    if kind is Kind.BOOLEAN:
        return "true".__eq__
    if kind in (Kind.DOUBLE, Kind.REAL):
        return float
    return int if kind in INTEGER_BITS else None


def _matching(texts: pa.Array, pattern: str) -> pa.Array:
    if pc.all(pc.match_substring_regex(texts, pattern)).as_py() is False:
        raise NotExactError(pattern)
    return texts


def _reals(numbers: pa.Array) -> pa.Array:
    reals = numbers.cast(pa.float32(), safe=False)
    if (
        pc.all(pc.is_finite(reals)).as_py() is False
        or pc.any(pc.xor(pc.equal(reals, 0), pc.equal(numbers, 0))).as_py()
    ):
        raise NotExactError("beyond what a real holds")
    return reals


def _decimals(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    """Arrow casts a text of more digits than it can hold to some other number, silently; none may get there."""
    whole = (column_type.precision or 0) - (column_type.scale or 0)
    if (pc.max(pc.utf8_length(texts)).as_py() or 0) > MAX_ARROW_PRECISION:
        raise NotExactError("digits to be counted")
    digits = f"[0-9]{{1,{whole}}}" if whole else "0"
    return _matching(texts, rf"^-?{digits}(\.\d+)?$").cast(column_type.arrow)


def _number_texts(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    """One spelling per number, the one of `batches.values`: the content hash is taken of the text."""
    if (
        column_type.precision is not None
        or (pc.max(pc.utf8_length(texts)).as_py() or 0) >= PLAIN_DIGITS
    ):
        raise NotExactError("digits to be counted")
    return _matching(texts, _PLAIN_NUMBER_PATTERN)


def _no_year_zero(texts: pa.Array) -> pa.Array:
    if pc.any(pc.starts_with(texts, "0000")).as_py():
        raise NotExactError("year zero")
    return texts


def _timestamps(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    sample = next((text.as_py() for text in texts if text.is_valid), "")
    zoned = sample[-1:] in _ZONE_ENDS or "+" in sample[10:] or "-" in sample[10:]
    if sample and zoned:
        moments = texts.cast(pa.timestamp("us", tz="UTC"))
    else:
        moments = pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    _check_range(moments)
    _check_fraction(moments, column_type)
    return moments.cast(column_type.arrow)


def _check_range(moments: pa.Array) -> None:
    bounds = pc.min_max(moments.cast(pa.int64()))
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is not None and (low < -62_135_596_800_000_000 or high >= 253_402_300_800_000_000):
        raise NotExactError("years 1 to 9999")


def _check_fraction(moments: pa.Array, column_type: ColumnType) -> None:
    digits = column_type.precision if column_type.precision is not None else 6
    if digits < 6:
        unit = 10 ** (6 - digits)
        micros = moments.cast(pa.int64())
        if pc.any(pc.not_equal(pc.multiply(pc.divide(micros, unit), unit), micros)).as_py():
            raise NotExactError("finer than declared")


def _hex_bytes(texts: pa.Array, column_type: ColumnType) -> pa.Array:
    if not column_type.hexadecimal:
        if texts.null_count == len(texts):
            return texts
        raise NotExactError("base64 is decoded one by one")
    lower = _matching(pc.utf8_lower(texts), _HEX_PATTERN)
    longest = pc.max(pc.utf8_length(lower)).as_py() or 0
    if column_type.length is not None and longest > 2 * column_type.length:
        raise NotExactError("longer than declared")
    return pc.binary_join_element_wise("\\x", lower, "")


def _json_text(raw: bytes) -> str | None:
    if raw == b"null":
        return None
    if raw.count(b"[") + raw.count(b"{") > MAX_JSON_DEPTH:
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
