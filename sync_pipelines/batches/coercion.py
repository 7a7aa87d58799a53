"""What a person allows where a value does not fit its declared type: it is cut, or left out; never without a word.

The words are in a connector's file (`coerce`). What was sent is kept beside the row, in `_bridge_coerced`.
"""

from __future__ import annotations

import json
import re
from decimal import ROUND_DOWN, Decimal, InvalidOperation, localcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.batches.values import convert, decode_bytes
from sync_pipelines.errors import RecordError
from sync_pipelines.model.types import INTEGER_BITS, MAX_NUMERIC_PRECISION, ColumnType, Kind

TRUNCATE = "truncate"
LENIENT = "lenient"
COERCIONS = (TRUNCATE, LENIENT)
_MOMENTS = (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ].+", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_decoder = json.JSONDecoder(parse_int=str, parse_float=str)


def words_of(*, truncate: bool, lenient: bool) -> str:
    """The words of a column's coercion in the order in which they are tried."""
    words = []
    if truncate:
        words.append(TRUNCATE)
    if lenient:
        words.append(LENIENT)
    return " ".join(words)


def coerce(
    value: Any,
    column_type: ColumnType,
    words: str,
) -> tuple[str | None, bool]:
    """The canonical text of a value, and whether it is not quite what was sent.

    Args:
        value: as `batches.values.convert` takes it.
        column_type: the declared type.
        words: of COERCIONS; `truncate` cuts what is finer or longer than the type, toward zero; `lenient` makes null of
            what is left.

    Raises:
        RecordError: the value does not fit, and the words do not help.
    """
    try:
        if not _is_too_long(value, column_type):
            return convert(value, column_type), False
        refusal = RecordError(
            f"It has more than the {column_type.length} characters of {column_type}; nothing is cut."
        )
    except RecordError as error:
        refusal = error
    if TRUNCATE in words:
        try:
            cut = _cut(value, column_type)
            return convert(cut, column_type), True
        except RecordError:
            pass
    if LENIENT in words:
        return None, True
    raise refusal


def _is_too_long(value: Any, column_type: ColumnType) -> bool:
    # Elsewhere the contract looks at lengths, whole columns at a time.
    longest = column_type.length
    if column_type.kind is not Kind.TEXT or longest is None:
        return False
    return isinstance(value, str) and len(value) > longest


def _cut(value: Any, column_type: ColumnType) -> Any:
    """The value without what is finer or longer than its type; itself where nothing can be cut."""
    kind = column_type.kind
    scale = column_type.scale
    if kind in INTEGER_BITS or (kind is Kind.NUMERIC and scale is not None):
        return _cut_number(value, scale or 0)
    if isinstance(value, str):
        return _cut_text(value, column_type)
    return value


def _cut_text(value: str, column_type: ColumnType) -> str:
    longest = column_type.length
    match column_type.kind:
        case Kind.TEXT:
            return value[:longest]
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ | Kind.TIME:
            pattern, replacement = _finer(column_type)
            return re.sub(pattern, replacement, value, count=1)
        case Kind.DATE if _DATE.fullmatch(value):
            return value[:10]
        case Kind.BYTES if longest is not None:
            raw = decode_bytes(value, column_type)
            return "\\x" + raw[:longest].hex()
    return value


def _finer(column_type: ColumnType) -> tuple[str, str]:
    """Pattern and replacement that cut the fraction of a second to the digits of a type."""
    digits = column_type.precision or 0
    if not digits:
        return r"[.,][0-9]+", ""
    return rf"([.,][0-9]{{{digits}}})[0-9]+", r"\1"


def _cut_number(value: Any, scale: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        return value
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value
    last_digit = Decimal((0, (1,), -scale))
    try:
        with localcontext(prec=MAX_NUMERIC_PRECISION + scale + 1):
            return Decimal(value).quantize(last_digit, rounding=ROUND_DOWN)
    except InvalidOperation:
        return value


def cut_texts(
    texts: pa.Array,
    column_type: ColumnType,
    words: str,
) -> tuple[pa.Array, pa.Array | None]:
    """The vectorised way for fractions of seconds: the texts to go on with, and which of them lost something.

    None where nothing did; then every doubt is for the exact path.
    """
    if TRUNCATE not in words or column_type.kind not in _MOMENTS:
        return texts, None
    digits = column_type.precision or 0
    has_more_digits = pc.match_substring_regex(texts, rf"[.,][0-9]{{{digits}}}[0-9]*[1-9]")
    lost = pc.fill_null(has_more_digits, False)
    if not pc.any(lost).as_py():
        return texts, None
    pattern, replacement = _finer(column_type)
    cut = pc.replace_substring_regex(
        texts,
        pattern,
        replacement,
        max_replacements=1,
    )
    return cut, lost


def note(sent: dict[str, Any]) -> str | None:
    """The value of `_bridge_coerced`: column -> the value as it was sent, as JSON; None when nothing was coerced.

    Args:
        sent: texts as such, anything else as its JSON literal in `Literal`.
    """
    if not sent:
        return None
    parts = []
    for name, value in sent.items():
        written = value if isinstance(value, Literal) else json.dumps(value)
        parts.append(f"{json.dumps(name)}: {written}")
    whole = "{" + ", ".join(parts) + "}"
    # Bytes that are no UTF-8 are lone surrogates here, and stay as escapes of JSON.
    return whole.encode("utf-8", "backslashreplace").decode()


class Literal(str):
    """A JSON value as it was written."""


def names_in(noted: str) -> list[str]:
    """The columns that a note is about."""
    return list(_parts(noted))


def _parts(noted: str) -> dict[str, str]:
    """The values of a note as they are written, by column: they may be numbers of any length, or nested deeply."""
    parts: dict[str, str] = {}
    position = 1
    while noted[position] != "}":
        name, colon = _decoder.raw_decode(noted, position)
        start = colon + 2
        _, end = _decoder.raw_decode(noted, start)
        parts[name] = noted[start:end]
        position = end + 2 if noted[end] == "," else end
    return parts


def hide(noted: str | None, masked: frozenset[str]) -> str | None:
    """A note without the values of masked columns."""
    if noted is None:
        return None
    parts = _parts(noted)
    if masked.isdisjoint(parts):
        return noted
    shown: dict[str, str] = {}
    for name, text in parts.items():
        shown[name] = "***" if name in masked else Literal(text)
    return note(shown)
