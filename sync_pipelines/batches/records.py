"""Records one by one: cut out of the page byte for byte, then converted or rejected with a reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from sync_pipelines.batches.coercion import Literal, coerce, note
from sync_pipelines.batches.spans import end_of_nested
from sync_pipelines.batches.values import NotANumber, convert
from sync_pipelines.errors import BrokenPageError, RecordError
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.types import Kind
from sync_pipelines.secrets import excerpt_of, printable

MAX_ROWVERSION_CHARACTERS = 1000
# An entry of an index of PostgreSQL's holds at most 2704 bytes (BTMaxItemSize), and a letter has up to four.
MAX_ROWVERSION_BYTES = 2000


class _Rows(msgspec.Struct):
    rows: list[msgspec.Raw]


rows_decoder = msgspec.json.Decoder(_Rows)
_BLANK = re.compile(r"[ \t\r\n]*")
_KEEP_INTEGER_DIGITS = 400
_TOO_DEEP = "The record is nested too deeply."


@dataclass(frozen=True)
class Reject:
    """A record that goes to quarantine.

    Attributes:
        page, position: where it was in the run; position from 0 within the page.
        reason, column: why, and in which column.
        record: the record as the source sent it, byte for byte.
        business_key: canonical texts of the key columns where all of them are good, else None.
        rowversion: its rowversion where it has one.
    """

    page: int
    position: int
    reason: str
    column: str | None
    record: bytes
    business_key: tuple[str, ...] | None = None
    rowversion: str | None = None


@dataclass(frozen=True)
class ParsedRecord:
    """One record: canonical texts in column order, or a reject; and what was coerced in it, in words for its row."""

    outcome: list[str | None] | Reject
    rowversion: str | None
    field_names: frozenset[str]
    coerced: str | None = None


def _parse_integer(literal: str) -> int | Decimal:
    if len(literal) < _KEEP_INTEGER_DIGITS:
        return int(literal)
    return Decimal(literal)


def _parse_number(literal: str) -> Decimal | NotANumber:
    try:
        return Decimal(literal)
    except InvalidOperation:
        # An exponent of 19 digits.
        mantissa = re.split("[eE]", literal)[0]
        is_zero = not mantissa.strip("-0.")
        return Decimal(0) if is_zero else NotANumber(literal)


_decoder = json.JSONDecoder(
    parse_float=_parse_number,
    parse_int=_parse_integer,
    parse_constant=NotANumber,
)
# Cuts records although one of them has a raw line end inside a text; that one is refused when it is parsed.
_cutter = json.JSONDecoder(
    parse_float=_parse_number,
    parse_int=_parse_integer,
    parse_constant=NotANumber,
    strict=False,
)


def split_records(body: bytes) -> list[str]:
    """The texts of the records in a page; bytes that are not UTF-8 survive as lone surrogates.

    Raises:
        BrokenPageError: the answer is not JSON with a list under `rows`; shows its first characters, redacted.
    """
    text = raw_text(body)
    rows: list[str] | None = None
    try:
        for key, start in _members(text):
            if key == "rows":
                spans = _elements(text, start)
                rows = [text[first:last] for first, last in spans]
        # Only a page that is whole to its last brace may say "no more rows".
        if rows is not None:
            return rows
    except (ValueError, RecursionError, IndexError) as error:
        raise _not_json(body, error) from error
    raise BrokenPageError('The answer has no list under "rows"', excerpt=excerpt_of(body))


def each_record(body: bytes) -> Iterator[str]:
    """The texts that `split_records` gives, one after the other, so that only one of them is in memory beside the page.

    Raises:
        BrokenPageError: as `split_records`.
    """
    try:
        rows = rows_decoder.decode(body).rows
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        yield from split_records(body)
        return
    for row in rows:
        yield str(memoryview(row), "utf-8", "surrogateescape")


def members_of(raw: bytes) -> dict[str, bytes]:
    """The members of an object byte for byte, also where only a patient reader gets through.

    Raises:
        BrokenPageError: it is no JSON object.
    """
    text = raw_text(raw)
    values: dict[str, bytes] = {}
    try:
        for key, start in _members(text):
            end = _end(text, start)
            values[key] = raw_bytes(text[start:end])
    except (ValueError, RecursionError, IndexError) as error:
        raise _not_json(raw, error) from error
    return values


def elements_of(raw: bytes) -> list[bytes]:
    """The elements of a list byte for byte, also where only a patient reader gets through.

    Raises:
        BrokenPageError: it is no whole JSON list.
    """
    text = raw_text(raw)
    try:
        start = _skip(text, 0)
        spans = _elements(text, start)
        end = _end(text, start)
        if _skip(text, end) != len(text):
            raise ValueError("more after the end")
    except (ValueError, RecursionError, IndexError) as error:
        raise _not_json(raw, error) from error
    return [raw_bytes(text[first:last]) for first, last in spans]


def raw_text(body: bytes) -> str:
    """The text of bytes; those that are not UTF-8 survive as lone surrogates."""
    return body.decode("utf-8", errors="surrogateescape")


def raw_bytes(text: str) -> bytes:
    """The bytes of a text that `raw_text` gave."""
    return text.encode("utf-8", errors="surrogateescape")


def _not_json(body: bytes, error: Exception) -> BrokenPageError:
    reason = f"not JSON ({printable(str(error), 80)})"
    if isinstance(error, RecursionError):
        reason = "nested too deeply"
    return BrokenPageError(f"The answer is {reason}", excerpt=excerpt_of(body))


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _end(
    text: str,
    start: int,
    *,
    only_objects: bool = False,
) -> int:
    """Where the value at `start` ends, also one that is nested too deeply to be decoded.

    Raises:
        RecursionError: it is nested so deeply, and no object although only those may be.
    """
    try:
        _, end = _cutter.raw_decode(text, start)
        return end
    except RecursionError:
        if only_objects and text[start] != "{":
            raise
        return end_of_nested(text, start)


def _members(text: str) -> Iterator[tuple[str, int]]:
    """Keys of the outermost object with the position of their values."""
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("no object")
    position = _skip(text, position + 1)
    while text[position] != "}":
        key, position = _cutter.raw_decode(text, position)
        position = _skip(text, position)
        if text[position] != ":":
            raise ValueError("no colon")
        position = _skip(text, position + 1)
        yield key, position
        position = _skip(text, _end(text, position))
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "}":
            raise ValueError("no comma")
    if _skip(text, position + 1) != len(text):
        raise ValueError("more after the end")


def _elements(text: str, position: int) -> list[tuple[int, int]]:
    """Start and end of each element of the list at `position`."""
    if text[position] != "[":
        raise ValueError("rows is no list")
    spans = []
    position = _skip(text, position + 1)
    while text[position] != "]":
        end = _end(text, position, only_objects=True)
        spans.append((position, end))
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "]":
            raise ValueError("no comma between rows")
    return spans


def parse_record(
    raw: str,
    entity: Entity,
    page: int,
    position: int,
) -> ParsedRecord:
    """Convert one record; the first failing column is the reason, key columns are tried in any case."""
    rowversion: str | None = None
    names: frozenset[str] = frozenset()
    sent: dict[str, Any] = {}
    outcome: list[str | None] | Reject
    try:
        row = _decode_record(raw)
        data = row.get("data") if isinstance(row, dict) else None
        if not isinstance(data, dict):
            raise RecordError('The record is not an object with "data".')
        names = frozenset(data)
        rowversion = _rowversion(row.get("row_version"))
        outcome = _convert_columns(data, raw, entity, sent)
    except (RecordError, RecursionError) as error:
        refusal = error if isinstance(error, RecordError) else RecordError(_TOO_DEEP)
        rowversion = rowversion or rowversion_of(raw)
        outcome = Reject(
            page,
            position,
            refusal.what,
            refusal.column,
            record=raw_bytes(raw),
            business_key=key_of(raw, entity),
            rowversion=rowversion,
        )
    return ParsedRecord(
        outcome,
        rowversion,
        names,
        coerced=note(sent),
    )


def decode_value(raw: bytes) -> Any:
    """One JSON value as `batches.values.convert` takes it: numbers with all their digits.

    Raises:
        RecordError: it is no JSON.
    """
    text = raw_text(raw.strip())
    return _decode_record(text)


def _decode_record(raw: str) -> Any:
    try:
        return _decoder.decode(raw)
    except json.JSONDecodeError as error:
        raise RecordError(f"The record is not JSON: {error.msg}.") from None
    except RecursionError:
        raise RecordError(_TOO_DEEP) from None


def _convert_columns(
    data: dict[str, Any],
    raw: str,
    entity: Entity,
    sent: dict[str, Any],
) -> list[str | None]:
    """Canonical texts in column order; `sent` gets the values that were coerced."""
    values: list[str | None] = []
    raw_values: dict[str, str] = {}
    if any(column.type.kind is Kind.JSON or column.coerce for column in entity.columns):
        raw_values = _raw_values(raw)
    for column in entity.columns:
        value = data.get(column.name)
        if column.type.kind is Kind.JSON and value is not None:
            value = raw_values.get(column.name)
        try:
            text, is_coerced = _convert(value, column)
        except RecordError as error:
            raise RecordError(error.what, column=column.name) from None
        values.append(text)
        if is_coerced:
            original = data[column.name]
            if not isinstance(original, str):
                original = Literal(raw_values[column.name].strip())
            sent[column.name] = original
    return values


def _convert(value: Any, column: Column) -> tuple[str | None, bool]:
    """The canonical text of a value, and whether it was coerced."""
    if column.coerce:
        return coerce(value, column.type, column.coerce)
    return convert(value, column.type), False


def _raw_values(raw: str) -> dict[str, str]:
    """The members of `data` as texts, the last of equal names as in `json`."""
    start = next(position for key, position in _members(raw) if key == "data")
    _, end = _decoder.raw_decode(raw, start)
    data = raw[start:end]
    values: dict[str, str] = {}
    for key, position in _members(data):
        _, end = _decoder.raw_decode(data, position)
        values[key] = data[position:end]
    return values


def _rowversion(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _bad_rowversion("neither a text nor a whole number")
    text = str(value)
    if not text or len(text) > MAX_ROWVERSION_CHARACTERS or not text.isprintable():
        raise _bad_rowversion(
            f"empty, longer than {MAX_ROWVERSION_CHARACTERS} characters or not printable"
        )
    if bytes_of(text) > MAX_ROWVERSION_BYTES:
        raise _bad_rowversion(
            f"longer than the {MAX_ROWVERSION_BYTES} bytes that an index can hold"
        )
    return text


def _bad_rowversion(what: str) -> RecordError:
    return RecordError(f"The row_version is {what}.", column="row_version")


def bytes_of(text: str) -> int:
    """Bytes of a printable text in UTF-8."""
    if text.isascii():
        return len(text)
    return len(text.encode())


def key_of(raw: str, entity: Entity) -> tuple[str, ...] | None:
    """Canonical texts of a record's key columns; None unless all of them are good."""
    try:
        data = _readable(raw)["data"]
        parts: list[str] = []
        for column in entity.business_keys:
            text = convert(data.get(column.name), column.type)
            if text is None:
                return None
            parts.append(text)
    except (RecordError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return tuple(parts)


def _readable(raw: str) -> Any:
    """A record decoded; of one that is nested too deeply the members that can be."""
    try:
        return _decoder.decode(raw)
    except RecursionError:
        return shallow_members(raw, inside="data")


def shallow_members(text: str, inside: str | None = None) -> dict[str, Any]:
    """The members of an object that can be decoded, and of the member `inside` those in it."""
    found: dict[str, Any] = {}
    for name, start in _members(text):
        found.pop(name, None)
        end = _end(text, start)
        value = text[start:end]
        try:
            found[name] = _decoder.decode(value)
        except RecursionError:
            if name == inside:
                found[name] = shallow_members(value)
    return found


def fingerprint_of(record: bytes) -> str:
    """A digest by which quarantined records are distinguished.

    It is of the record as it is kept, so that it gives nothing away that the record hides.
    """
    return hashlib.sha256(record).hexdigest()


def rowversion_of(raw: str) -> str | None:
    """The rowversion of a record's text, None where it has no usable one."""
    try:
        record = _readable(raw)
        return _rowversion(record.get("row_version"))
    except (RecordError, ValueError, LookupError, AttributeError):
        return None
