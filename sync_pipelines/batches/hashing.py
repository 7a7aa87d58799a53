"""The content hash of a row: the same for the same values in every destination and version."""

from __future__ import annotations

import binascii
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.batches.canonical import as_one, canonical_texts

try:  # the module behind hashlib; it spares the context that OpenSSL makes for every short text
    from _md5 import md5  # type: ignore[import-not-found]  # no stubs
except ImportError:
    from functools import partial
    from hashlib import md5 as _openssl_md5

    md5 = partial(_openssl_md5, usedforsecurity=False)

_SEPARATOR = "\x1f"
_ESCAPE = "\x1e"
_NULL = "\x1e2"
_HEX_DIGITS = 32
# In this order, or the escape of a separator would be escaped itself.
_ESCAPES = {_ESCAPE: "\x1e0", _SEPARATOR: "\x1e1"}


def content_hashes(
    columns: list[pa.Array | pa.ChunkedArray],
    json_places: Collection[int] = (),
) -> pa.Array:
    """MD5 of each row's canonical text, as 32 hex digits.

    The text joins Arrow's string form of every column with \\x1f; both control characters are escaped inside values
    and null has a form that no text has, so that different rows never share a text.

    Args:
        columns: equally long arrays in the declared order.
        json_places: places of those that hold JSON, which counts by its value and not by its spelling.
    """
    texts = []
    for place, column in enumerate(columns):
        as_text = canonical_texts if place in json_places else _as_text
        texts.append(as_text(column))
    lines = _lines(texts)
    if not _are_texts_plain(texts, lines):
        escaped = [_escaped(text) for text in texts]
        lines = _lines(escaped)
    digests = [md5(line).digest() for line in lines]
    digits = binascii.hexlify(b"".join(digests))
    ends = pa.arange(0, len(digits) + 1, _HEX_DIGITS).cast(pa.int32())
    _, end_buffer = ends.buffers()
    return pa.StringArray.from_buffers(
        len(lines),
        end_buffer,
        pa.py_buffer(digits),
    )


def _are_texts_plain(texts: list[pa.Array], lines: list[bytes]) -> bool:
    """Whether the lines hold no control character but those between the texts and in nulls.

    Only texts can hold the two of them, and nearly none does: one look at all is cheaper than one at each.
    """
    content = b"".join(lines)
    nulls = sum(text.null_count for text in texts)
    if content.count(b"\x1e") != nulls:
        return False
    separators_in_line = len(texts) - 1
    return content.count(b"\x1f") == separators_in_line * len(lines)


def _lines(texts: list[pa.Array]) -> list[bytes]:
    joined = pc.binary_join_element_wise(
        *texts,
        _SEPARATOR,
        null_handling="replace",
        null_replacement=_NULL,
    )
    encoded = joined.cast(pa.binary())
    lines: list[bytes] = encoded.to_pylist()
    return lines


def _as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = as_one(column)
    if pa.types.is_string(array.type):
        return array
    return array.cast(pa.string())


def _escaped(texts: pa.Array) -> pa.Array:
    for character, replacement in _ESCAPES.items():
        has_character = pc.match_substring(texts, character)
        if pc.any(has_character).as_py():
            texts = pc.replace_substring(texts, character, replacement)
    return texts
