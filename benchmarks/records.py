"""Records made by arithmetic: a page is one byte matrix whose columns are looked up, about a millisecond for 1000
records.

A record is a pure function of its key and its revision, so nothing is stored and ten million cost no memory. All
records are equally long: where a value may be shorter it is followed by blanks, which JSON allows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
SECONDS_A_DAY = 86_400
COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("item_number", "VARCHAR(20)", False),
    ("description", "VARCHAR(100)", False),
    ("category", "VARCHAR(30)", False),
    ("warehouse", "VARCHAR(10)", True),
    ("quantity", "INTEGER", False),
    ("reorder_level", "INTEGER", True),
    ("supplier_id", "BIGINT", False),
    ("unit_price", "NUMERIC(17,3)", False),
    ("weight", "NUMERIC(8,4)", False),
    ("modified_at", "TIMESTAMP", False),
    ("valid_from", "DATE", False),
    ("is_active", "BOOLEAN", False),
)
KEY = "item_number"

# Placeholders are letters repeated to the width of the value; each letter is there once.
_TEMPLATE = (
    b'{"data":{"item_number":"ITM-aaaabbbb","description":"cccccccc dddddddd eeeeeeee, batch ffffgggg",'
    b'"category":"hhhhhhhh","warehouse":iiiiiiiii,"quantity":jjjj,"reorder_level":kkkk,"supplier_id":llllmmmmnnnn,'
    b'"unit_price":ooooppppqqqqrr.sss,"weight":"tttt.uuuu","modified_at":"vvvvvvvvvvTwwwwwwwwZ",'
    b'"valid_from":"xxxxxxxxxx","is_active":yyyyy},"row_version":"AAAAAAAABBBBBB"},'
)
_HEAD, _TAIL = b'{"rows":[', b"]}"


def _table(texts: list[str]) -> Bytes:
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)


def _span(letter: bytes) -> slice:
    widest = max(range(1, 20), key=lambda width: width if letter * width in _TEMPLATE else 0)
    start = _TEMPLATE.index(letter * widest)
    return slice(start, start + widest)


_FOUR = _table([f"{number:04}" for number in range(10_000)])
_THREE, _TWO = _FOUR[:1000, 1:], _FOUR[:100, 2:]
_NUMBER = _table([f"{number:<4}" for number in range(10_000)])
_NULLABLE = np.concatenate([_NUMBER[:9000], _table(["null"] * 1000)])
_WORDS = _table(
    [
        "hexagon.",
        "stainles",
        "galvaniz",
        "titanium",
        "washered",
        "threaded",
        "carbonic",
        "hardened",
        "bearings",
        "gearbox1",
        "flanges2",
        "pulleys3",
        "couplers",
        "brackets",
        "manifold",
        "actuator",
    ]
)
_WAREHOUSES = _table([f'"WH-{number:04}"' for number in range(60)] + ["null     "] * 4)
_BOOLEANS = _table(["true ", "false"])
_DAYS = [EPOCH.date() + timedelta(days=number) for number in range(2000)]
_DATE = _table([day.isoformat() for day in _DAYS])
_DAY_DIGITS = _table([f"{day:%Y%m%d}" for day in _DAYS])
_CLOCK = [(second // 3600, second // 60 % 60, second % 60) for second in range(SECONDS_A_DAY)]
_TIME = _table([f"{hour:02}:{minute:02}:{second:02}" for hour, minute, second in _CLOCK])
_TIME_DIGITS = _table([f"{hour:02}{minute:02}{second:02}" for hour, minute, second in _CLOCK])
_ROW = np.frombuffer(_TEMPLATE, np.uint8)
_SPANS = {letter: _span(letter.encode()) for letter in "abcdefghijklmnopqrstuvwxyAB"}


def _mixed(keys: Numbers, revisions: Numbers) -> Numbers:
    """Well spread 64 bits for each record (the finalizer of splitmix64)."""
    bits = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + revisions.astype(
        np.uint64
    ) * np.uint64(0xD1B54A32D192ED03)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def render_page(keys: Numbers, revisions: Numbers, versions: Numbers) -> bytes:
    """The answer with these records.

    Args:
        keys: below 10**8.
        revisions: of each record's content.
        versions: rowversions as seconds since EPOCH.
    """
    if not len(keys):
        return _HEAD + _TAIL
    page = np.repeat(_ROW[np.newaxis], len(keys), axis=0)

    def put(letter: str, table: Bytes, index: Numbers) -> None:
        page[:, _SPANS[letter]] = table[index]

    fixed, moving = _mixed(keys, np.zeros_like(revisions)), _mixed(keys, revisions)

    def pick(bits: Numbers, shift: int, below: int) -> Numbers:
        return ((bits >> np.uint64(shift)) % np.uint64(below)).astype(np.intp)

    put("a", _FOUR, keys // 10_000)
    put("b", _FOUR, keys % 10_000)
    for letter, shift in (("c", 0), ("d", 4), ("e", 8), ("h", 12)):
        put(letter, _WORDS, pick(fixed, shift, 16))
    for letter, shift in (("f", 3), ("g", 17), ("m", 29), ("n", 41)):
        put(letter, _FOUR, pick(fixed, shift, 10_000))
    for letter, shift in (("p", 5), ("q", 19), ("u", 33)):
        put(letter, _FOUR, pick(moving, shift, 10_000))
    put("i", _WAREHOUSES, pick(fixed, 21, 64))
    put("j", _NUMBER, pick(moving, 7, 10_000))
    put("k", _NULLABLE, pick(fixed, 11, 10_000))
    put("l", _FOUR, 1000 + pick(fixed, 37, 9000))
    put("o", _FOUR, 1000 + pick(moving, 23, 9000))
    put("r", _TWO, pick(moving, 43, 100))
    put("s", _THREE, pick(moving, 31, 1000))
    put("t", _FOUR, pick(fixed, 45, 10_000))
    put("v", _DATE, pick(moving, 13, 1500))
    put("w", _TIME, pick(moving, 27, SECONDS_A_DAY))
    put("x", _DATE, pick(fixed, 15, 1500))
    put("y", _BOOLEANS, pick(moving, 50, 2))
    put("A", _DAY_DIGITS, versions // SECONDS_A_DAY)
    put("B", _TIME_DIGITS, versions % SECONDS_A_DAY)
    return _HEAD + page.tobytes()[:-1] + _TAIL


def parse_rowversion(text: str) -> int:
    """Seconds since EPOCH of a rowversion `YYYYMMDDHHMMSS`."""
    day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    clock = int(text[8:10]) * 3600 + int(text[10:12]) * 60 + int(text[12:14])
    return (day - EPOCH.date()).days * SECONDS_A_DAY + clock


def describe(slug: str) -> dict[str, Any]:
    """The API as `/api/v1/apis` lists it."""
    return {
        "slug": slug,
        "name": f"Benchmark items {slug}",
        "description": "Generated records",
        "delta_strategy": "rowversion",
        "business_key_columns": [KEY],
        "columns": [
            {
                "name": name,
                "data_type": kind,
                "is_nullable": nullable,
                "is_business_key": name == KEY,
            }
            for name, kind, nullable in COLUMNS
        ],
    }
