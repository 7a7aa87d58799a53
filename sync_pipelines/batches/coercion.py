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

TRUNCATE, LENIENT = "truncate", "lenient"
COERCIONS = (TRUNCATE, LENIENT)
_MOMENTS = (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ].+", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_decoder = json.JSONDecoder(parse_int=str, parse_float=str)


def words_of(*, truncate: bool, lenient: bool) -> str:
    """The words of a column's coercion in the order in which they are tried."""
    return " ".join(word for word, wanted in ((TRUNCATE, truncate), (LENIENT, lenient)) if wanted)


def coerce(value: Any, column_type: ColumnType, words: str) -> tuple[str | None, bool]:
    """The canonical text of a value, and whether it is not quite what was sent.

    Args:
        value: as `batches.values.convert` takes it.
        column_type: the declared type.
        words: of COERCIONS; `truncate` cuts what is finer or longer than the type, toward zero; `lenient` makes null of
            what is left.

    Raises:
        RecordError: the value does not fit, and the words do not help.
    """
    too_long = _is_too_long(value, column_type)
    try:
        if not too_long:
            return convert(value, column_type), False
        refusal = RecordError(
            f"It has more than the {column_type.length} characters of {column_type}; nothing is cut."
        )
    except RecordError as error:
        refusal = error
    if TRUNCATE in words:
        try:
            return convert(_cut(value, column_type), column_type), True
        except RecordError:
            pass
    if LENIENT in words:
        return None, True
    raise refusal


def _is_too_long(value: Any, column_type: ColumnType) -> bool:
    # Elsewhere the contract looks at lengths, whole columns at a time.
    return (
        column_type.kind is Kind.TEXT
        and column_type.length is not None
        and isinstance(value, str)
        and len(value) > column_type.length
    )


def _cut(value: Any, column_type: ColumnType) -> Any:
    """The value without what is finer or longer than its type; itself where nothing can be cut."""
    kind = column_type.kind
    if kind is Kind.TEXT and isinstance(value, str):
        return value[: column_type.length]
    if kind in _MOMENTS and isinstance(value, str):
        return re.sub(*_finer(column_type), value, count=1)
    if kind is Kind.DATE and isinstance(value, str) and _DATE.fullmatch(value):
        return value[:10]
    if kind is Kind.BYTES and isinstance(value, str) and column_type.length is not None:
        return "\\x" + decode_bytes(value, column_type)[: column_type.length].hex()
    if kind in INTEGER_BITS or (kind is Kind.NUMERIC and column_type.scale is not None):
        return _cut_number(value, column_type.scale or 0)
    return value


def _finer(column_type: ColumnType) -> tuple[str, str]:
    """Pattern and replacement that cut the fraction of a second to the digits of a type."""
    digits = column_type.precision or 0
    return (rf"([.,][0-9]{{{digits}}})[0-9]+", r"\1") if digits else (r"[.,][0-9]+", "")


def _cut_number(value: Any, scale: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        return value
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value
    try:
        with localcontext(prec=MAX_NUMERIC_PRECISION + scale + 1):
            return Decimal(value).quantize(Decimal((0, (1,), -scale)), rounding=ROUND_DOWN)
    except InvalidOperation:
        return value


def cut_texts(
    texts: pa.Array, column_type: ColumnType, words: str
) -> tuple[pa.Array, pa.Array | None]:
    """The vectorised way for fractions of seconds: the texts to go on with, and which of them lost something.

    None where nothing did; then every doubt is for the exact path.
    """
    if TRUNCATE not in words or column_type.kind not in _MOMENTS:
        return texts, None
    digits = column_type.precision or 0
    lost = pc.fill_null(
        pc.match_substring_regex(texts, rf"[.,][0-9]{{{digits}}}[0-9]*[1-9]"), False
    )
    if not pc.any(lost).as_py():
        return texts, None
    pattern, replacement = _finer(column_type)
    return pc.replace_substring_regex(texts, pattern, replacement, max_replacements=1), lost


def note(sent: dict[str, Any]) -> str | None:
    """The value of `_bridge_coerced`: column -> the value as it was sent, as JSON; None when nothing was coerced.

    Args:
        sent: texts as such, anything else as its JSON literal in `Literal`.
    """
    if not sent:
        return None
    parts = (
        f"{json.dumps(name)}: {value if isinstance(value, Literal) else json.dumps(value)}"
        for name, value in sent.items()
    )
    # Bytes that are no UTF-8 are lone surrogates here, and stay as escapes of JSON.
    return ("{" + ", ".join(parts) + "}").encode("utf-8", "backslashreplace").decode()


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
        end = _decoder.raw_decode(noted, colon + 2)[1]
        parts[name] = noted[colon + 2 : end]
        position = end + 2 if noted[end] == "," else end
    return parts


def hide(noted: str | None, masked: frozenset[str]) -> str | None:
    """A note without the values of masked columns."""
    if noted is None:
        return None
    parts = _parts(noted)
    return (
        noted
        if masked.isdisjoint(parts)
        else note(
            {name: "***" if name in masked else Literal(text) for name, text in parts.items()}
        )
    )
