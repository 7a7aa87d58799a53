"""One row of the feed, already encoded, and the JSON rules of the twin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

import msgspec

Key = tuple[Any, ...]
Record = dict[str, Any]
#: A record that is only read.
AnyRecord = Mapping[str, Any]


class NullRowversion:
    """The type of NULL_ROWVERSION."""

    def __repr__(self) -> str:
        return "NULL_ROWVERSION"


#: Pass as `rowversion` to write a row whose row_version is JSON null.
NULL_ROWVERSION: Final = NullRowversion()

#: What a row has; an int is sent as a JSON number, None as null.
Rowversion = str | int | None
#: None asks the table's generator.
RowversionArgument = str | int | NullRowversion | None

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_SORTED_ENCODER = msgspec.json.Encoder(decimal_format="number", order="sorted")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_HEAD = b'{"oracle_keys":'
_MIDDLE = b',"row_version":'
_TAIL = b',"data":'


# gc=False: rows hold no cycles, and 337 000 tracked objects slow every collection.
class Row(msgspec.Struct, gc=False, eq=False):
    """A row as the feed sends it: `line` is the finished JSON object."""

    key: Key
    rowversion: Rowversion
    seq: int
    line: bytes
    data_at: int
    poison: bool = False

    @property
    def data(self) -> bytes:
        """The bytes of the `data` object."""
        return self.line[self.data_at : -1]

    @property
    def oracle_keys(self) -> bytes:
        """The bytes of the `oracle_keys` object."""
        version = encode_json(self.rowversion)
        between = len(_MIDDLE) + len(version) + len(_TAIL)
        return self.line[len(_HEAD) : self.data_at - between]

    @property
    def record(self) -> Record:
        """The `data` object decoded; numbers with a fraction are exact Decimals."""
        record: Record = decode_json(self.data)
        return record


def make_row(
    key: Key, rowversion: Rowversion, seq: int, keys: bytes, data: bytes, poison: bool = False
) -> Row:
    """Encode the row once, so that a page is only a slice and a join."""
    version = encode_json(rowversion)
    head = _HEAD + keys + _MIDDLE + version + _TAIL
    line = head + data + b"}"
    return Row(key, rowversion, seq, line, data_at=len(head), poison=poison)


def encode_json(value: Any) -> bytes:
    """Encode compactly; Decimals become numbers with their own digits."""
    return _ENCODER.encode(value)


def decode_json(data: bytes) -> Any:
    """Decode; numbers with a fraction or exponent become exact Decimals."""
    return _DECODER.decode(data)


def json_view(value: Any) -> Any:
    """Return the value as a reader of the JSON would see it (a datetime is text)."""
    if value is None or isinstance(value, str | int):
        return value
    encoded = encode_json(value)
    return decode_json(encoded)


def canonical_line(key: Key, record: AnyRecord) -> bytes:
    """Return the line of one row in a truth digest.

    `[[key values], {record}]` with sorted names; 1.50 and 1.5 are the same number.
    """
    plain_key = [_plain(value) for value in key]
    plain_record = {name: _plain(value) for name, value in record.items()}
    return _SORTED_ENCODER.encode([plain_key, plain_record])


def truth_digest(truth: Mapping[Key, AnyRecord]) -> tuple[int, str]:
    """Return the count and the md5 over the sorted canonical lines.

    The same function serves both sides: digest the twin's truth and your own
    table (as key -> record) and compare.
    """
    return digest_rows(truth.items())


def digest_rows(items: Iterable[tuple[Key, AnyRecord | Row]]) -> tuple[int, str]:
    """Return the count and md5; rows are decoded one at a time, as all flights together are large."""
    # Sorting by the key's JSON is sorting the lines: no JSON array is a prefix of another.
    ordered = []
    for key, item in items:
        plain_key = [_plain(value) for value in key]
        encoded = _SORTED_ENCODER.encode(plain_key)
        ordered.append((encoded, key, item))
    ordered.sort(key=itemgetter(0))
    digest = hashlib.md5(usedforsecurity=False)
    for _, key, item in ordered:
        record = item.record if isinstance(item, Row) else item
        digest.update(canonical_line(key, record))
        digest.update(b"\n")
    return len(ordered), digest.hexdigest()


def _plain(value: Any) -> Any:
    if not isinstance(value, Decimal) or not value.is_finite():
        return value
    if not value:
        return Decimal(0)
    digits = format(value.normalize(), "f")
    return Decimal(digits)
