"""One row of the feed, already encoded, and the JSON rules of the twin."""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

Key = tuple[t.Any, ...]
Record = dict[str, t.Any]


class NullRowversion:
    """The type of NULL_ROWVERSION."""

    def __repr__(self) -> str:
        return "NULL_ROWVERSION"


#: Pass as `rowversion` to write a row whose row_version is JSON null.
NULL_ROWVERSION: t.Final = NullRowversion()

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
    rowversion: str | int | None
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
        end = self.data_at - len(_TAIL) - len(encode_json(self.rowversion)) - len(_MIDDLE)
        return self.line[len(_HEAD) : end]

    @property
    def record(self) -> Record:
        """The `data` object decoded; numbers with a fraction are exact Decimals."""
        record: Record = decode_json(self.data)
        return record


def make_row(
    key: Key, rowversion: str | int | None, seq: int, keys: bytes, data: bytes, poison: bool = False
) -> Row:
    """Encode the row once, so that a page is only a slice and a join."""
    head = _HEAD + keys + _MIDDLE + encode_json(rowversion) + _TAIL
    return Row(key, rowversion, seq, head + data + b"}", len(head), poison)


def encode_json(value: t.Any) -> bytes:
    """Encode compactly; Decimals become numbers with their own digits."""
    return _ENCODER.encode(value)


def decode_json(data: bytes) -> t.Any:
    """Decode; numbers with a fraction or exponent become exact Decimals."""
    return _DECODER.decode(data)


def json_view(value: t.Any) -> t.Any:
    """Return the value as a reader of the JSON would see it (a datetime is text)."""
    if value is None or isinstance(value, str | int):
        return value
    return decode_json(encode_json(value))


def canonical_line(key: Key, record: Mapping[str, t.Any]) -> bytes:
    """Return the line of one row in a truth digest.

    `[[key values], {record}]` with sorted names; 1.50 and 1.5 are the same number.
    """
    return _SORTED_ENCODER.encode(
        [[_plain(v) for v in key], {name: _plain(v) for name, v in record.items()}]
    )


def truth_digest(truth: Mapping[Key, Mapping[str, t.Any]]) -> tuple[int, str]:
    """Return the count and the md5 over the sorted canonical lines.

    The same function serves both sides: digest the twin's truth and your own
    table (as key -> record) and compare.
    """
    return digest_rows(truth.items())


def digest_rows(items: Iterable[tuple[Key, Mapping[str, t.Any] | Row]]) -> tuple[int, str]:
    """Return the count and md5; rows are decoded one at a time, as all flights together are large."""
    # Sorting by the key's JSON is sorting the lines: no JSON array is a prefix of another.
    ordered = sorted(
        ((_SORTED_ENCODER.encode([_plain(v) for v in key]), key, item) for key, item in items),
        key=_first,
    )
    digest = hashlib.md5(usedforsecurity=False)
    for _, key, item in ordered:
        digest.update(canonical_line(key, item.record if isinstance(item, Row) else item) + b"\n")
    return len(ordered), digest.hexdigest()


def _first(item: tuple[bytes, Key, t.Any]) -> bytes:
    return item[0]


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, Decimal) and value.is_finite():
        return Decimal(format(value.normalize(), "f")) if value else Decimal(0)
    return value
