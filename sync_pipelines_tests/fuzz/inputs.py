"""Families of hostile texts, each of any size."""

from __future__ import annotations

import json
from collections.abc import Callable

_UNITS = {
    "letters": "a",
    "digits": "7",
    "nines and a point": "9.",
    "zeros": "0",
    "blanks": " ",
    "tabs": "\t",
    "line ends": "\n",
    "at signs": "@",
    "schemes": "a://b:",
    "passwords": "a://b:c@",
    "slashes": "://",
    "bearer": "bearer ",
    "token and blanks": "token\t\t",
    "query": "&token=a",
    "quotes": '"',
    "backslashes": "\\",
    "escaped": "\\u0000",
    "surrogates": "\\ud800",
    "brackets": "[",
    "closing brackets": "]",
    "braces": "{",
    "parentheses": "(",
    "commas": ",",
    "numbers": "1,",
    "texts": '"a",',
    "pairs": '{"a":1},',
    "links": "<u>;rel=a,",
    "open links": "<",
    "semicolons": ";",
    "equals": "a=",
    "hex": "\\x0f",
    "colons": "1:",
    "minus": "-",
    "dates": "2024-01-01,",
    "ands": "a AND ",
    "plus": "1+",
    "not": "not ",
    "dots": "a.",
    "steps": "[0]",
    "dollars": "$.",
    "underscores": "_a",
    "accents": "é",
    "astral": "😀",
    "controls": "\x1b[1m",
    "percent": "%41",
    "markup": "<a>",
    "yaml keys": "a: ",
    "yaml lists": "- ",
    "yaml flow": "[a, ",
    "yaml anchors": "&a ",
    "yaml literals": "|\n",
    "yaml comments": "#\n",
    "yaml folds": "'\n",
    "yaml questions": "? ",
    "closing markup": "</a>",
    "empty markup": "<a/>",
    "attributes": ' a="1"',
    "comments": "<!-- -->",
    "instructions": "<?a b?>",
    "character data": "<![CDATA[a]]>",
    "entities": "&amp;",
    "SQL comments": "/*",
    "SQL functions": "abs(",
    "SQL casts": "::int",
    "SQL subqueries": "(SELECT * FROM ",
    "SQL cases": "CASE WHEN a THEN ",
    "SQL unions": " UNION SELECT 1 ",
    "dollar quotes": "$$",
}


def _repeated(unit: str) -> Callable[[int], bytes]:
    raw = unit.encode()
    return lambda size: raw * max(1, size // len(raw))


FAMILIES: dict[str, Callable[[int], bytes]] = {
    name: _repeated(unit) for name, unit in _UNITS.items()
}
FAMILIES |= {
    "invalid UTF-8": lambda size: b"\xff" * size,
    "NULs": lambda size: b"\x00" * size,
    "letters after a scheme": lambda size: b"a://b:" + b"c" * size,
    "letters after token": lambda size: b"token " + b"c" * size,
    "blanks after bearer": lambda size: b"bearer" + b" " * size,
    "nested lists": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "nested objects": lambda size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
    "a number": lambda size: b"1" + b"3" * size,
    "a fraction": lambda size: b"0." + b"3" * size,
    "an exponent": lambda size: b"1e" + b"9" * size,
    "a base 60": lambda size: b"1" + b":59" * (size // 3),
    "a base 60 with underscores": lambda size: b"1" + b":5_9" * (size // 4),
    "hexadecimal": lambda size: b"0x" + b"f" * size,
    "binary": lambda size: b"0b" + b"1" * size,
    "octal": lambda size: b"0" + b"7" * size,
    "many members": lambda size: json.dumps(
        {f"k{index}": index for index in range(size // 12)}
    ).encode(),
    "many records": lambda size: b"[" + b",".join([b'{"id":1}'] * (size // 9)) + b"]",
    "a long text": lambda size: b'"' + b"x" * size + b'"',
    "a text of escapes": lambda size: b'"' + b"\\n" * (size // 2) + b'"',
    "a text of quotes": lambda size: b'"' + b'\\"' * (size // 2) + b'"',
    "nested markup": lambda size: b"<a>" * (size // 7) + b"</a>" * (size // 7),
    "namespaces": lambda size: (
        b"<a " + b" ".join(b'xmlns:n%d="u%d"' % (n, n) for n in range(size // 20)) + b"/>"
    ),
    "many attributes": lambda size: (
        b"<a " + b" ".join(b'n%d="u"' % n for n in range(size // 11)) + b"/>"
    ),
    "entities declared": lambda size: (
        b"<!DOCTYPE a [" + b"".join(b'<!ENTITY e%d "u">' % n for n in range(size // 20)) + b"]><a/>"
    ),
    "an open text": lambda size: b'"' + b'\\"' * (size // 2),
}


def as_value(content: bytes) -> str:
    """The text as a decoded value."""
    return content.decode("utf-8", "surrogateescape")


def as_json(content: bytes) -> bytes:
    """The text as a JSON text, where it is none by itself."""
    return json.dumps(content.decode("utf-8", "replace"), ensure_ascii=False).encode()
