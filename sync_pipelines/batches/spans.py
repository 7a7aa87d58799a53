"""Where a JSON value ends whatever its depth: the brackets are counted, nothing is decoded and nothing recurses."""

from __future__ import annotations

import re

# A text without its closing quote runs to the end, so that it is found in one pass; possessive, so that nothing is
# tried twice.
_MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{}]', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


def end_of_nested(text: str, start: int) -> int:
    """The place behind the object or list that begins at `start`.

    Raises:
        ValueError: it has no end, or brackets that do not match.
    """
    waiting: list[str] = []
    for mark in _MARK.finditer(text, start):
        letter = text[mark.start()]
        if letter == '"':
            if not mark[1]:
                break
        elif letter in _CLOSING:
            waiting.append(_CLOSING[letter])
        elif not waiting or waiting.pop() != letter:
            raise ValueError("brackets that do not match")
        if not waiting:
            return mark.end()
    raise ValueError("no end of a value")
