"""Records that are too large lose their largest values before anything copies or decodes them.

What was left out is marked by a text that no column of any type takes, so that the record goes to quarantine with its
key and every other field, and cannot be stored by accident when it is released.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import msgspec

from sync_pipelines.batches.records import rows_decoder, split_records
from sync_pipelines.batches.values import LEFT_OUT
from sync_pipelines.errors import BrokenPageError
from sync_pipelines.secrets import printable

MAX_DEPTH = 30
_READABLE_BYTES = 1000
_LEFT_OUT_JSON = json.dumps(LEFT_OUT)[1:-1].encode()
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_cut(record: bytes) -> bool:
    """Whether something was left out of a record; one with such a text of its own counts as cut, too."""
    return _LEFT_OUT_JSON in record


def sift_page(body: bytes, most_bytes: int) -> bytes:
    """`{"rows":[…]}` in which no record has more than so many bytes; the same object where none had.

    Raises:
        BrokenPageError: a page larger than a record may be that is not JSON to the letter (RFC 8259).
    """
    if len(body) <= most_bytes:
        return body
    rows: Sequence[msgspec.Raw | bytes]
    try:
        rows = rows_decoder.decode(body).rows
    except RecursionError:
        rows = [row.encode("utf-8", errors="surrogateescape") for row in split_records(body)]
    except _UNREADABLE as error:
        raise BrokenPageError(
            f'The answer has {len(body)} bytes and is no JSON with a list under "rows"'
            f" ({printable(str(error), 80)}); one of that size is"
            " not read leniently.",
            next_command="ask for smaller pages: sync-pipelines entity set … --page-size",
        ) from None
    if all(_size(row) <= most_bytes for row in rows):
        return body
    return b'{"rows":[' + b",".join(sift_record(row, most_bytes) for row in rows) + b"]}"


def sift_record(
    raw: msgspec.Raw | bytes | memoryview[int], most_bytes: int, depth: int = 0
) -> bytes | memoryview[int]:
    """A JSON text of at most about so many bytes: without its largest values, or as a whole replaced by what tells its
    size.

    A record that is small enough comes back as it is, without a copy.
    """
    view = memoryview(raw)
    if len(view) <= most_bytes:
        return view
    members = _members(view) if depth < MAX_DEPTH else None
    if members is None:
        return _told(view)
    kept: dict[str, bytes | memoryview[int]] = {
        name: memoryview(value) for name, value in members.items()
    }
    total = len(view)
    for name, value in sorted(kept.items(), key=lambda item: len(item[1]), reverse=True):
        if total <= most_bytes or len(value) <= _READABLE_BYTES:
            break
        kept[name] = sift_record(
            value, max(most_bytes - (total - len(value)), _READABLE_BYTES), depth + 1
        )
        total += len(kept[name]) - len(value)
    if total > most_bytes:
        return _told(view)
    written = [b"".join((json.dumps(name).encode(), b":", value)) for name, value in kept.items()]
    return b"{" + b",".join(written) + b"}"


def _members(view: memoryview[int]) -> dict[str, msgspec.Raw] | None:
    if bytes(view[:1]) != b"{":
        return None
    try:
        return _object.decode(view)
    except _UNREADABLE:
        return None


def _told(view: memoryview[int]) -> bytes:
    digest = hashlib.sha256(view).hexdigest()
    return json.dumps(f"{LEFT_OUT}{len(view)} bytes, sha256 {digest}").encode()


def _size(raw: msgspec.Raw | bytes) -> int:
    return len(memoryview(raw))
