"""Find the list of records in an answer without reading the list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from sync_pipelines.batches.typed import NOT_TYPED

_MARK = b'"\x7fhere are the records"'


class ListLocator:
    """Finds the list at a path of names.

    Args:
        names: that lead to the list, at least one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._depth = len(names)
        self._decoder = _decoder_of(names)
        self._named = quoted_name(names[-1])
        # How many lists end behind the one of records.
        self._lists_behind = 0

    def locate(self, body: bytes) -> bytes | None:
        """The text of the list; None where there is none."""
        found = self._locate_by_guess(body)
        if found is None:
            found = self._locate_by_parsing(body)
        return found

    def _locate_by_guess(self, body: bytes) -> bytes | None:
        """The list between its name and where earlier ones ended; None where what is around it does not prove that.

        What is around the list is short, so this costs next to nothing. The typed decoder reads the list itself.
        """
        named_at = body.find(self._named)
        if named_at < 0:
            return None
        start = body.find(b"[", named_at + len(self._named))
        end = len(body)
        for _ in range(self._lists_behind + 1):
            end = body.rfind(b"]", 0, end)
        if not 0 <= start < end:
            return None
        if end - start < len(body) // 2:
            return None
        behind = end + 1
        around = body[:start] + _MARK + body[behind:]
        if around.count(_MARK) != 1:
            return None
        if self._found_in(around) != _MARK:
            return None
        return body[start:behind]

    def _locate_by_parsing(self, body: bytes) -> bytes | None:
        found = self._found_in(body)
        if found is None:
            return None
        _, _, behind = body.rpartition(found)
        self._lists_behind = behind.count(b"]")
        return found

    def _found_in(self, body: bytes) -> bytes | None:
        try:
            found = self._decoder.decode(body)
        except NOT_TYPED:
            return None
        for _ in range(self._depth):
            found = found.f0
        return bytes(found)


def _decoder_of(names: Sequence[str]) -> Any:
    """A decoder that leaves the value at a path as text."""
    wanted: Any = msgspec.Raw
    for name in reversed(names):
        fields = [("f0", wanted)]
        wanted = msgspec.defstruct("At", fields, rename={"f0": name})
    return msgspec.json.Decoder(wanted)


def quoted_name(name: str) -> bytes:
    """A name as JSON without escapes has it."""
    text = json.dumps(name, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")
