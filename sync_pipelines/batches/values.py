"""One JSON value into the canonical text of its declared type, or the reason why it cannot be.

The exact and slow path: it runs for the pages on which the vectorised path of `batches.arrays` gives up, so both
must agree. The rule for every type: a value is taken when it denotes exactly one value of the declared type; nothing
is rounded, cut or guessed. Times without zone are read as UTC, times with a zone become their UTC instant.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
import uuid
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from sync_pipelines.errors import RecordError
from sync_pipelines.model.types import INTEGER_BITS, MAX_NUMERIC_PRECISION, ColumnType, Kind
from sync_pipelines.secrets import printable

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,6})?")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}(?::\d{2}(?::\d{2})?)?)(?:[.,](\d+))?\s*([Zz]|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
_UUID = re.compile(
    r"(?:urn:uuid:)?\{?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?",
    re.IGNORECASE,
)
_JSON_MARKS = re.compile(r'\\.|["\[{\]}]', re.DOTALL)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
PLAIN_DIGITS = 400
_WIDE = Context(prec=MAX_NUMERIC_PRECISION + 1)
MAX_JSON_DEPTH = 100
_SHOWN_PARTS = 200
# How the text begins that replaces a value that was too large to be kept; no column takes one with a NUL.
LEFT_OUT = "\x00left out: "


class NotANumber(str):
    """A literal that JSON does not have (NaN, Infinity) but a lenient source may send."""


def convert(value: Any, column_type: ColumnType) -> str | None:
    """The canonical text of `value`, which Arrow and PostgreSQL read as exactly that value.

    Args:
        value: None, bool, int, str, Decimal (any JSON number with point or exponent), NotANumber, list or dict;
            for JSON columns the raw text of the value.
        column_type: the declared type.

    Raises:
        RecordError: the reason, with the value shortened and redacted.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.startswith(LEFT_OUT):
        raise _left_out(value)
    if isinstance(value, NotANumber):
        raise RecordError(
            f"{printable(value, 60)} is not a JSON value and has no place in {column_type}."
        )
    match column_type.kind:
        case Kind.TEXT:
            return _text(value)
        case Kind.NUMERIC:
            return _numeric(value, column_type)
        case Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return _integer(value, column_type)
        case Kind.DOUBLE | Kind.REAL:
            return _double(value, column_type)
        case Kind.BOOLEAN if isinstance(value, bool):
            return "true" if value else "false"
        case Kind.DATE:
            return _date(value, column_type)
        case Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return _timestamp(value, column_type)
        case Kind.TIME:
            return _time(value, column_type)
        case Kind.UUID:
            return _uuid(value, column_type)
        case Kind.JSON:
            return _json(value)
        case Kind.BYTES:
            return _bytes(value, column_type)
    raise _mismatch(value, column_type)


def _left_out(value: str) -> RecordError:
    return RecordError(
        f"The value was too large and is left out here ({printable(value.removeprefix(LEFT_OUT), 100)});"
        " the source has it still.",
        next_command="raise MAX_RECORD_BYTES, then sync again; or leave the column out of what is asked for",
    )


def _mismatch(value: Any, column_type: ColumnType) -> RecordError:
    kinds = {
        bool: "a boolean",
        str: "a text",
        int: "a number",
        Decimal: "a number",
        dict: "an object",
        list: "a list",
    }
    kind = kinds.get(type(value), "a value")
    beginning = _beginning(value) if isinstance(value, dict | list) else str(value)
    shown = printable(beginning, 60)
    return RecordError(f"{kind} ({shown}) is not a {column_type}.")


def _beginning(value: Any) -> str:
    """Enough of an object or list to show, without a text of all of it."""
    parts: list[str] = []
    try:
        for part in json.JSONEncoder(default=str, ensure_ascii=False).iterencode(value):
            parts.append(part)
            if len(parts) >= _SHOWN_PARTS:
                break
    except RecursionError:
        parts.append("…")
    return "".join(parts)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, ColumnType(Kind.TEXT))
    if "\x00" in value:
        raise RecordError("The text has a NUL character, which PostgreSQL cannot store.")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RecordError("The text has a lone surrogate or invalid UTF-8.")
    return value


def _number(value: Any, column_type: ColumnType) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        raise _mismatch(value, column_type)
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise _mismatch(value, column_type)
    number = Decimal(value)
    if not number.is_finite():
        raise RecordError(f"{value} has no place in {column_type}.")
    return number


def _integer(value: Any, column_type: ColumnType) -> str:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise _mismatch(value, column_type)
    number = _number(value, column_type)
    if number.adjusted() > 40 or number != number.to_integral_value():
        raise RecordError(
            f"{printable(str(value), 60)} is not a whole number that fits {column_type}."
        )
    bits = INTEGER_BITS[column_type.kind]
    whole = int(number)
    limit = 2 ** (bits - 1)
    if not -limit <= whole < limit:
        raise RecordError(
            f"{printable(str(value), 60)} does not fit the {bits} bits of {column_type}."
        )
    return str(whole)


def _numeric(value: Any, column_type: ColumnType) -> str:
    number = _number(value, column_type)
    number = number or abs(number)
    magnitude = number.adjusted()
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if not -16_383 < magnitude < 131_072 or len(digits) > 131_072:
        raise RecordError(f"{printable(str(value), 60)} is beyond what NUMERIC holds.")
    if column_type.precision is None:
        return f"{number:f}" if abs(magnitude) < PLAIN_DIGITS else str(number)
    scale = column_type.scale or 0
    text = "".join(map(str, digits))
    zeros_at_end = len(text) - len(text.rstrip("0"))
    if number and -exponent - zeros_at_end > scale:
        raise RecordError(
            f"{printable(str(value), 60)} has more than {scale} digits after the point ({column_type})."
        )
    if number and magnitude + 1 > column_type.precision - scale:
        raise RecordError(f"{printable(str(value), 60)} is too large for {column_type}.")
    if -exponent > scale:
        # Only zeros go: Arrow counts them as digits.
        last_digit = Decimal((0, (1,), -scale))
        number = number.quantize(last_digit, context=_WIDE)
    return f"{number:f}"


def _double(value: Any, column_type: ColumnType) -> str:
    number = _number(value, column_type)
    as_float = float(number)
    if column_type.kind is Kind.REAL and math.isfinite(as_float):
        try:
            (as_float,) = struct.unpack("f", struct.pack("f", as_float))
        except OverflowError:
            as_float = math.inf
    if not math.isfinite(as_float) or (as_float == 0 and number != 0):
        raise RecordError(f"{printable(str(value), 60)} is beyond what {column_type} holds.")
    return repr(float(number))


def _date(value: Any, column_type: ColumnType) -> str:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _mismatch(value, column_type)
    day, time_of_day, fraction, zone = match.groups(default="")
    if time_of_day.strip("0:") or fraction.strip("0") or zone not in ("", "Z", "z"):
        raise RecordError(f"{printable(value, 60)} has a time of day, which a date would lose.")
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise _mismatch(value, column_type) from None


def _fraction(
    value: str,
    digits: str | None,
    column_type: ColumnType,
) -> int:
    kept = (digits or "").rstrip("0")
    if len(kept) > (column_type.precision or 0):
        raise RecordError(
            f"{printable(value, 60)} is finer than the {column_type.precision} digits of {column_type}."
        )
    return int(kept.ljust(6, "0"))


def _timestamp(value: Any, column_type: ColumnType) -> str:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _mismatch(value, column_type)
    day, time_of_day, digits, zone = match.groups()
    if zone in (None, "Z", "z"):
        zone = "+00:00"
    elif len(zone) == 3:
        zone += ":00"
    try:
        moment = datetime.fromisoformat(f"{day}T{time_of_day or '00:00'}{zone}")
        moment = moment.astimezone(UTC)
        fraction = _fraction(value, digits, column_type)
        moment = moment.replace(microsecond=fraction)
    except (ValueError, OverflowError):
        raise RecordError(
            f"{printable(value, 60)} is not a moment of the calendar (years 1 to 9999, UTC)."
        ) from None
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _time(value: Any, column_type: ColumnType) -> str:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _mismatch(value, column_type)
    hours, minutes, seconds, digits = match.groups()
    fraction = _fraction(value, digits, column_type)
    text = f"{hours}:{minutes}:{seconds or '00'}"
    return f"{text}.{fraction:06d}" if fraction else text


def _uuid(value: Any, column_type: ColumnType) -> str:
    # uuid.UUID alone would also take blanks and underscores for digits.
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _mismatch(value, column_type)
    return str(uuid.UUID(value))


def _json(raw: Any) -> str:
    """`raw` is the text of the value as sent; it is stored as it came, without surrounding blanks."""
    if not isinstance(raw, str):
        raise RecordError("The JSON value could not be cut out of its record.")
    if json_depth(raw) > MAX_JSON_DEPTH:
        raise RecordError(f"The JSON value is nested deeper than {MAX_JSON_DEPTH} levels.")
    refused: list[str] = []
    parsed = json.loads(
        raw,
        parse_int=_json_number,
        parse_float=_json_number,
        parse_constant=lambda name: refused.append(name),
    )
    if refused:
        raise RecordError(f"The JSON value holds {refused[0]}, which is not JSON.")
    _check_json_texts(parsed)
    return raw.strip()


def _json_number(literal: str) -> None:
    """Refuse a number that jsonb, which keeps NUMERIC, cannot hold: 131072 digits before the point and 16383 after it.

    The number itself is of no use here: millions of them would take the memory of texts.
    """
    mantissa, _, exponent = literal.lower().partition("e")
    is_short = len(mantissa) <= 16_000 and len(exponent) <= 6
    if not is_short or abs(int(exponent or 0)) + len(mantissa) > 16_000:
        raise RecordError(
            f"The JSON value holds {printable(literal, 40)}, which is beyond what PostgreSQL keeps."
        )


def _check_json_texts(value: Any) -> None:
    if isinstance(value, str):
        _text(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _text(key)
            _check_json_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_json_texts(inner)


def json_depth(raw: str) -> int:
    """Deepest nesting of a JSON text, strings skipped."""
    depth = deepest = 0
    inside = False
    for token in _JSON_MARKS.findall(raw):
        if token == '"':
            inside = not inside
        elif inside or token[0] == "\\":
            continue
        elif token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _bytes(value: Any, column_type: ColumnType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, column_type)
    raw = decode_bytes(value, column_type)
    if column_type.length is not None and len(raw) > column_type.length:
        raise RecordError(
            f"{len(raw)} bytes are more than the {column_type.length} of the declared type."
        )
    return "\\x" + raw.hex()


def decode_bytes(value: str, column_type: ColumnType) -> bytes:
    """Bytes from hexadecimal digits (Oracle RAW), `\\\\x` and digits (PostgreSQL), or base64 (RFC 4648).

    Raises:
        RecordError: neither.
    """
    has_prefix = value.startswith("\\x")
    if has_prefix or column_type.hexadecimal:
        digits = value.removeprefix("\\x")
        if not _HEX.fullmatch(digits):
            raise RecordError("The bytes are not pairs of hexadecimal digits.")
        return bytes.fromhex(digits)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RecordError(
            "The bytes are neither base64 nor hexadecimal digits after \\x."
        ) from None
