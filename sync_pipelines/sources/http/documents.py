"""JSON documents that a source sends about itself: bounded in size by the session, in depth and in values here."""

from __future__ import annotations

from typing import Any

import msgspec

MAX_NODES = 2_000_000
_SEPARATORS = (b",", b"[", b"{")


class NotADocumentError(ValueError):
    """No JSON, or one that is nested too deeply or holds too many values; its message names which."""


def decode_document(body: bytes) -> Any:
    """The plain data of a JSON document.

    A small text can have very many values, each of which takes far more memory than its text, so that they are
    counted first.

    Raises:
        NotADocumentError: it cannot be read, or holds more than `MAX_NODES` values.
    """
    if sum(map(body.count, _SEPARATORS)) > MAX_NODES:
        raise NotADocumentError(f"it holds more than {MAX_NODES} values")
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise NotADocumentError("it is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise NotADocumentError("it is no JSON") from None
