"""Records that are too large lose their largest values before anything copies or decodes them.

What was left out is marked by a text that no column of any type takes, so that the record goes to quarantine with its
key and every other field, and cannot be stored by accident when it is released.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import msgspec

from sync_pipelines.batches.records import raw_bytes, rows_decoder, split_records
from sync_pipelines.batches.values import LEFT_OUT
from sync_pipelines.errors import BrokenPageError
from sync_pipelines.secrets import printable

MAX_DEPTH = 30
Members = dict[str, "bytes | memoryview[int]"]
_READABLE_BYTES = 1000
_LEFT_OUT_JSON = json.dumps(LEFT_OUT)[1:-1].encode()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_cut(record: bytes) -> bool:
    """Whether something was left out of a record; one that the source sent with such a text counts as cut, too."""
    return _LEFT_OUT_JSON in record


def sift_page(body: bytes, most_bytes: int) -> bytes:
    """`{"rows":[…]}` in which no record has more than so many bytes; the same object where none had.

    Raises:
        BrokenPageError: a page larger than a record may be that is not JSON to the letter (RFC 8259).
    """
    if len(body) <= most_bytes:
        return body
    rows = _rows(body)
    sizes = map(_size, rows)
    if max(sizes, default=0) <= most_bytes:
        return body
    sifted = [sift_record(row, most_bytes) for row in rows]
    return b'{"rows":[' + b",".join(sifted) + b"]}"


def _rows(body: bytes) -> Sequence[msgspec.Raw | bytes]:
    try:
        return rows_decoder.decode(body).rows
    except RecursionError:
        texts = split_records(body)
        return list(map(raw_bytes, texts))
    except _UNREADABLE as error:
        cause = printable(str(error), 80)
        raise BrokenPageError(
            f'The answer has {len(body)} bytes and is no JSON with a list under "rows"'
            f" ({cause}); one of that size is not read leniently.",
            next_command="ask for smaller pages: sync-pipelines entity set … --page-size",
        ) from None


def sift_record(
    raw: msgspec.Raw | bytes | memoryview[int],
    most_bytes: int,
    depth: int = 0,
) -> bytes | memoryview[int]:
    """A JSON text of at most about so many bytes: without its largest values, or as a whole replaced by its size and
    digest.

    A record that is small enough comes back as it is, without a copy.
    """
    view = memoryview(raw)
    if len(view) <= most_bytes:
        return view
    members = _members(view) if depth < MAX_DEPTH else None
    if members is None:
        return _left_out(view)
    kept: Members = {}
    for name, raw_value in members.items():
        kept[name] = memoryview(raw_value)
    total = len(view)
    largest_first = sorted(
        kept.items(),
        key=lambda item: len(item[1]),
        reverse=True,
    )
    for name, value in largest_first:
        if total <= most_bytes or len(value) <= _READABLE_BYTES:
            break
        others = total - len(value)
        most_bytes_here = max(most_bytes - others, _READABLE_BYTES)
        kept[name] = sift_record(value, most_bytes_here, depth + 1)
        total = others + len(kept[name])
    if total > most_bytes:
        return _left_out(view)
    return _written(kept)


def _written(members: Members) -> bytes:
    parts = []
    for name, value in members.items():
        key = json.dumps(name).encode()
        member = b"".join((key, b":", value))
        parts.append(member)
    return b"{" + b",".join(parts) + b"}"


def _members(view: memoryview[int]) -> dict[str, msgspec.Raw] | None:
    if bytes(view[:1]) != b"{":
        return None
    try:
        return _object.decode(view)
    except _UNREADABLE:
        return None


def _left_out(view: memoryview[int]) -> bytes:
    """The text that replaces a value."""
    digest = hashlib.sha256(view).hexdigest()
    text = f"{LEFT_OUT}{len(view)} bytes, sha256 {digest}"
    return json.dumps(text).encode()


def _size(raw: msgspec.Raw | bytes) -> int:
    return len(memoryview(raw))
