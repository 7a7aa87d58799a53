"""What a value beside a list can mean: a flag, a figure, or the place of a next page."""

from __future__ import annotations

from typing import Any

from sync_pipelines.sources.rest.page_words import plain_name

_ADDRESSES = {
    "href",
    "url",
    "link",
    "after",
    "cursor",
    "token",
    "uri",
    "page",
    "offset",
    "path",
    "start",
    "startingafter",
    "marker",
}
_NO_PAGE = {"", "0", "-1", "null", "none", "false"}
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_MAX_DIGITS = 15


def flag_of(value: Any) -> bool | None:
    """A flag, also one that is written as a text or as 0 or 1; None where it is none."""
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    return None


def figure_of(value: Any) -> int | None:
    """A whole number, also one that is written as a text; None where it is none."""
    if isinstance(value, dict):  # hits.total of Elasticsearch
        value = value.get("value")
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or len(value) > _MAX_DIGITS:
        return None
    is_digits = value.isascii() and value.isdigit()
    return int(value) if is_digits else None


def names_a_page(value: Any) -> bool:
    """Whether a value in the place of a next page names one."""
    if isinstance(value, dict):
        addresses = []
        for name, one in value.items():
            if plain_name(name) in _ADDRESSES:
                addresses.append(one)
        if not addresses:
            return bool(value)
        return any(map(names_a_page, addresses))
    if isinstance(value, list):
        return bool(value)
    if isinstance(value, str):
        return value.strip().lower() not in _NO_PAGE
    return value not in (None, False, 0, -1)


def is_address(value: Any) -> bool:
    """Whether a text looks like an address or a query."""
    if not isinstance(value, str):
        return False
    return any(mark in value for mark in "/?=")
