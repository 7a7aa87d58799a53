"""What an answer says about the list that it is a page of: that there is more, where the next page is, how many there
are.

Only what is beside the list, or in an object beside it, counts; a record's own fields never do. Of an object
without a known name only what means nothing else counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sync_pipelines.batches.raw_json import compile_path
from sync_pipelines.batches.records import members_of
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.guarded import Reply
from sync_pipelines.sources.http.links import next_target
from sync_pipelines.sources.rest.page_words import (
    ENVELOPES,
    FLAGS,
    LAST,
    LIMIT,
    MORE,
    PAGES,
    POSITIONS,
    REMAINING,
    TOTAL,
    header_word,
    names_next,
    plain_name,
)

MAX_BYTES = 4096
"""Of a value beside the list; longer ones are neither flags nor addresses."""
MAX_DEPTH = 4
_FIGURES = {"pages": PAGES, "total": TOTAL, "limit": LIMIT}
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
_RANGE = re.compile(r"(?!bytes)[^/]*/\s*([0-9]{1,15})\s*", re.IGNORECASE)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Told:
    """What one answer says.

    Attributes:
        more: the words that say that there is more; None when there are none.
        position: the words that say where one could go on, which prove no more; None when there are none.
        ends: it says in so many words that there is no more.
        total: how many records there are.
        pages: how many pages there are.
        limit: how many records a page has at most.
    """

    more: str | None = None
    position: str | None = None
    ends: bool = False
    total: int | None = None
    pages: int | None = None
    limit: int | None = None


@dataclass
class _Words:
    """What was said so far; of two figures of a kind the first counts."""

    more: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    ends: bool = False
    figures: dict[str, int] = field(default_factory=dict)

    def note(self, plain: str, shown: str, value: Any, *, in_envelope: bool = True) -> None:
        """Take in a value by its plain name."""
        flag = _flag(value)
        if plain in (MORE if in_envelope else FLAGS) and flag is not None:
            self._note_end(is_more=flag, words=f"{shown} is {str(flag).lower()}")
        elif names_next(plain) and (in_envelope or plain != "next" or _is_address(value)):
            self._note_end(is_more=_names_a_page(value), words=f"{shown} names a next page")
        elif in_envelope:
            self._note_plain(plain, shown, value)

    def _note_plain(self, plain: str, shown: str, value: Any) -> None:
        figure = _figure(value)
        if plain in LAST and figure is None and _flag(value) is not None:
            self._note_end(
                is_more=not _flag(value), words=f"{shown} is {str(_flag(value)).lower()}"
            )
        elif plain in REMAINING and figure is not None:
            self._note_end(is_more=figure > 0, words=f"{shown} is {figure}")
        elif plain in POSITIONS or plain == "offset":
            self.positions += (
                [f"{shown} names a place to go on from"]
                if isinstance(value, str) and value and figure is None
                else []
            )
        elif figure is not None:
            kind = next((kind for kind, names in _FIGURES.items() if plain in names), None)
            if kind is not None:
                self.figures.setdefault(kind, figure)

    def _note_end(self, *, is_more: bool, words: str) -> None:
        self.more += [words] if is_more else []
        self.ends = self.ends or not is_more


def read_told(reply: Reply, records: str | list[str]) -> Told:
    """What an answer says about its list.

    Args:
        reply: the answer.
        records: JSONPath to its list.

    Raises:
        SourceContractError: its header Link cannot be read.
    """
    words = _Words()
    _note_headers(words, reply)
    # Of several paths the first counts that has anything beside its list.
    paths = [records] if isinstance(records, str) else records
    for name, value, in_envelope in next(
        (found for found in (list(_beside(reply.body, path)) for path in paths) if found), []
    ):
        words.note(
            plain_name(name.rpartition(".")[2]),
            f"`{printable(name, 80)}`",
            value,
            in_envelope=in_envelope,
        )
    figures, more, positions = words.figures, words.more, words.positions
    return Told(
        more[0] if more else None,
        positions[0] if positions else None,
        words.ends and not more,
        figures.get("total"),
        figures.get("pages"),
        figures.get("limit"),
    )


def _note_headers(words: _Words, reply: Reply) -> None:
    if next_target(reply.headers.get("link", ""), reply.url) is not None:
        words.more.append("the header Link names a next page")
    span = _RANGE.fullmatch(reply.headers.get("content-range", ""))
    if span is not None:
        words.figures["total"] = int(span[1])
    for name, value in reply.headers.items():
        word, shown = header_word(name), f"the header {printable(name.title(), 80)}"
        if word in ("pagination", "paging"):
            for inner, one in _object_in(value).items():
                words.note(plain_name(inner), f"`{printable(inner, 80)}` in {shown}", one)
        elif word is not None and value.strip():
            words.note(word, shown, value.strip())


def _object_in(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _flag(value: Any) -> bool | None:
    """A flag, also one that is written as a text or as 0 or 1."""
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return bool(value) if value in (0, 1) and isinstance(value, int) else None


def _figure(value: Any) -> int | None:
    if isinstance(value, dict):  # hits.total of Elasticsearch
        value = value.get("value")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names_a_page(value: Any) -> bool:
    if isinstance(value, dict):
        inner = [one for name, one in value.items() if plain_name(name) in _ADDRESSES]
        return any(map(_names_a_page, inner)) if inner else bool(value)
    if isinstance(value, list):
        return bool(value)
    if isinstance(value, str):
        return value.strip().lower() not in _NO_PAGE
    return value not in (None, False, 0, -1)


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and any(mark in value for mark in "/?=")


def _step_into(raw: bytes, step: Any) -> tuple[bytes, list[tuple[str, Any]]] | None:
    """What one step of a JSONPath leads to, with the names and values beside it; None where it leads nowhere."""
    if isinstance(step, int):
        items = _items(raw)
        if items is None or not -len(items) <= step < len(items):
            return None
        place = step % len(items)
        beside: list[tuple[str, Any]] = []
        for number, item in enumerate(items):
            if number != place:
                beside += _short(_members(item) or {}, None)
        return bytes(items[place]), beside
    members = _members(raw)
    if members is None or not isinstance(step, str) or step not in members:
        return None
    return bytes(members[step]), list(_short(members, step))


def _beside(body: bytes, records: str) -> Iterator[tuple[str, Any, bool]]:
    """Names and values beside the list, on the way to it and in objects there, and whether the object is known."""
    raw = body
    prefix = ""
    found: list[tuple[str, Any]] = []
    for step in compile_path(records):
        taken = _step_into(raw, step)
        if taken is None:
            break
        raw, beside = taken
        found += [(f"{prefix}{name}", value) for name, value in beside]
        if isinstance(step, str):
            prefix = f"{prefix}{step}."
    if not raw.lstrip(b" \t\r\n").startswith(b"["):
        return  # one object is its own record
    for name, value in found:
        yield name, value, True
        yield from _within(name, value, MAX_DEPTH, is_known=True)


def _within(
    prefix: str, value: Any, depth: int, *, is_known: bool
) -> Iterator[tuple[str, Any, bool]]:
    """What an object has in it; of a list, the links by their relations: `links: [{rel: next, href: …}]`."""
    if isinstance(value, list):
        for one in value:
            relation = one.get("rel") if isinstance(one, dict) else None
            if isinstance(relation, str) and "next" in relation.lower().split():
                yield f"{prefix}.next", one, True
        return
    if not isinstance(value, dict) or not depth:
        return
    in_envelope = is_known and plain_name(prefix.rpartition(".")[2]) in ENVELOPES
    for name, inner in value.items():
        yield f"{prefix}.{name}", inner, in_envelope
        yield from _within(f"{prefix}.{name}", inner, depth - 1, is_known=in_envelope)


def _items(raw: bytes | msgspec.Raw) -> list[msgspec.Raw] | None:
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _members(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(raw)
    except (
        RecursionError
    ):  # one record is too deep; what stands beside the records is told all the same
        return {name: msgspec.Raw(value) for name, value in members_of(bytes(raw)).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _short(members: dict[str, msgspec.Raw], step: str | None) -> Iterator[tuple[str, Any]]:
    for name, raw in members.items():
        if name == step or len(bytes(raw)) > MAX_BYTES:
            continue
        try:
            yield name, msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
