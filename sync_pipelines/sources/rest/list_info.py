"""What an answer says about the list that it is a page of: that there is more, where the next page is, how many there
are.

Only what is beside the list, or in an object beside it, counts; a record's own fields never do. Of an object
without a known name only what means nothing else counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from sync_pipelines.batches.raw_json import Step, compile_path
from sync_pipelines.batches.records import members_of
from sync_pipelines.secrets import printable
from sync_pipelines.sources.http.links import next_target
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.list_values import figure_of, flag_of, is_address, names_a_page
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
_RANGE = re.compile(r"(?!bytes)[^/]*/\s*([0-9]{1,15})\s*", re.IGNORECASE)
_Text = bytes | msgspec.Raw
_Members = dict[str, msgspec.Raw]
_object = msgspec.json.Decoder(_Members)


@dataclass(frozen=True)
class ListInfo:
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


class _Named(NamedTuple):
    """A value beside a list.

    Attributes:
        name: its path from the top of the answer, with dots.
        in_envelope: it is in an object that is known to be about the list.
    """

    name: str
    value: Any
    in_envelope: bool


class _Taken(NamedTuple):
    """What a step of a JSONPath leads to, and the names and values beside it."""

    raw: bytes
    beside: list[tuple[str, Any]]


@dataclass
class _Words:
    """What was found so far; of two figures of a kind the first counts."""

    more: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    ends: bool = False
    figures: dict[str, int] = field(default_factory=dict)

    def note(
        self,
        plain: str,
        shown: str,
        value: Any,
        *,
        in_envelope: bool = True,
    ) -> None:
        """Take in a value by its plain name."""
        flag = flag_of(value)
        flags = MORE if in_envelope else FLAGS
        if plain in flags and flag is not None:
            self._note_end(is_more=flag, words=f"{shown} is {str(flag).lower()}")
            return
        # Outside of an envelope, `next` may be anything.
        is_next = in_envelope or plain != "next" or is_address(value)
        if is_next and names_next(plain):
            is_more = names_a_page(value)
            self._note_end(is_more=is_more, words=f"{shown} names a next page")
        elif in_envelope:
            self._note_plain(plain, shown, value)

    def _note_plain(
        self,
        plain: str,
        shown: str,
        value: Any,
    ) -> None:
        figure = figure_of(value)
        flag = flag_of(value)
        if plain in LAST and figure is None and flag is not None:
            self._note_end(is_more=not flag, words=f"{shown} is {str(flag).lower()}")
        elif plain in REMAINING and figure is not None:
            self._note_end(is_more=figure > 0, words=f"{shown} is {figure}")
        elif plain in POSITIONS or plain == "offset":
            if isinstance(value, str) and value and figure is None:
                self.positions.append(f"{shown} names a place to go on from")
        elif figure is not None:
            self._note_figure(plain, figure)

    def _note_figure(self, plain: str, figure: int) -> None:
        for kind, names in _FIGURES.items():
            if plain in names:
                self.figures.setdefault(kind, figure)
                return

    def _note_end(self, *, is_more: bool, words: str) -> None:
        if is_more:
            self.more.append(words)
        else:
            self.ends = True

    def info(self) -> ListInfo:
        """What they say together: a word that there is more outweighs one that there is no more."""
        return ListInfo(
            more=self.more[0] if self.more else None,
            position=self.positions[0] if self.positions else None,
            ends=self.ends and not self.more,
            total=self.figures.get("total"),
            pages=self.figures.get("pages"),
            limit=self.figures.get("limit"),
        )


def read_list_info(reply: Reply, records: str | list[str]) -> ListInfo:
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
    for path in paths:
        found = list(_beside(reply.body, path))
        for one in found:
            plain = _plain_end(one.name)
            shown = f"`{printable(one.name, 80)}`"
            words.note(plain, shown, one.value, in_envelope=one.in_envelope)
        if found:
            break
    return words.info()


def _plain_end(name: str) -> str:
    """The plain name behind the last dot."""
    return plain_name(name.rpartition(".")[2])


def _note_headers(words: _Words, reply: Reply) -> None:
    link = reply.headers.get("link", "")
    if next_target(link, reply.url) is not None:
        words.more.append("the header Link names a next page")
    content_range = reply.headers.get("content-range", "")
    span = _RANGE.fullmatch(content_range)
    if span is not None:
        words.figures["total"] = int(span[1])
    for name, value in reply.headers.items():
        word = header_word(name)
        shown = f"the header {printable(name.title(), 80)}"
        if word in ("pagination", "paging"):
            for inner, one in _object_in(value).items():
                place = f"`{printable(inner, 80)}` in {shown}"
                words.note(plain_name(inner), place, one)
        elif word is not None and value.strip():
            words.note(word, shown, value.strip())


def _object_in(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _step_into(raw: bytes, step: Step) -> _Taken | None:
    """What one step of a JSONPath leads to, with what is beside it; None where it leads nowhere."""
    if isinstance(step, int):
        return _step_into_item(raw, step)
    members = _members(raw)
    if members is None or step not in members:
        return None
    taken = members.pop(step)
    beside = list(_short(members))
    return _Taken(bytes(taken), beside)


def _step_into_item(raw: bytes, step: int) -> _Taken | None:
    items = _items(raw)
    if items is None:
        return None
    if not -len(items) <= step < len(items):
        return None
    taken = items.pop(step)
    beside: list[tuple[str, Any]] = []
    for item in items:
        members = _members(item)
        if members is not None:
            beside += _short(members)
    return _Taken(bytes(taken), beside)


def _beside(body: bytes, records: str) -> Iterator[_Named]:
    """Names and values beside the list, on the way to it and in objects there."""
    raw = body
    prefix = ""
    found: list[tuple[str, Any]] = []
    for step in compile_path(records):
        taken = _step_into(raw, step)
        if taken is None:
            break
        raw = taken.raw
        for name, value in taken.beside:
            found.append((f"{prefix}{name}", value))
        if isinstance(step, str):
            prefix = f"{prefix}{step}."
    if not raw.lstrip(b" \t\r\n").startswith(b"["):
        return  # one object is its own record
    for name, value in found:
        yield _Named(name, value, True)
        yield from _within(name, value, MAX_DEPTH, is_known=True)


def _within(
    prefix: str,
    value: Any,
    depth: int,
    *,
    is_known: bool,
) -> Iterator[_Named]:
    """What an object has in it; of a list, the links by their relations: `links: [{rel: next, href: …}]`."""
    if isinstance(value, list):
        for one in value:
            if _is_next_link(one):
                yield _Named(f"{prefix}.next", one, True)
        return
    if not isinstance(value, dict) or not depth:
        return
    in_envelope = is_known and _plain_end(prefix) in ENVELOPES
    for name, inner in value.items():
        path = f"{prefix}.{name}"
        yield _Named(path, inner, in_envelope)
        yield from _within(path, inner, depth - 1, is_known=in_envelope)


def _is_next_link(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    relation = value.get("rel")
    if not isinstance(relation, str):
        return False
    return "next" in relation.lower().split()


def _items(raw: _Text) -> list[msgspec.Raw] | None:
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _members(raw: _Text) -> _Members | None:
    try:
        return _object.decode(raw)
    except RecursionError:
        # One record is too deep; what is beside the records counts all the same.
        members = members_of(bytes(raw))
        return {name: msgspec.Raw(value) for name, value in members.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _short(members: _Members) -> Iterator[tuple[str, Any]]:
    """The members that are short enough to be a flag, a figure or an address."""
    for name, raw in members.items():
        if len(bytes(raw)) > MAX_BYTES:
            continue
        try:
            yield name, msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
