"""The header Link by the grammar of RFC 8288: quoted texts, several relations, anchors, relative addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urldefrag, urljoin

from sync_pipelines.errors import SourceContractError
from sync_pipelines.secrets import printable

_BETWEEN = re.compile(r"[ \t,]*")
_BLANK = re.compile(r"[ \t]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TARGET = re.compile(r"<([^>]*)>")
_PARAMETER = re.compile(
    r"""[ \t]*;[ \t]*(?:(?P<name>[^\s=;,"<>]+)[ \t]*"""
    r"""(?:=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;,"]*)))?)?""",
    re.DOTALL,
)
_EXTENDED = re.compile(r"([^']*)'[^']*'(.*)", re.DOTALL)


@dataclass(frozen=True)
class Link:
    """One link of the answer that it came with; `target` is absolute where the answer's address is known."""

    target: str
    relations: tuple[str, ...]


def parse_links(header: str, base: str) -> list[Link]:
    """The links of a header whose context is the answer itself; those with the anchor of another resource are left out.

    Args:
        header: its lines, joined by commas.
        base: address of the answer.

    Raises:
        SourceContractError: it does not follow the grammar, so that what it names cannot be known.
    """
    links: list[Link] = []
    place = _after(_BETWEEN, header, 0)
    while place < len(header):
        target = _TARGET.match(header, place)
        if target is None:
            raise _unreadable(header)
        parameters, place = _parameters(header, target.end())
        if place < len(header) and header[place] != ",":
            raise _unreadable(header)
        place = _after(_BETWEEN, header, place)
        anchor = parameters.get("anchor")
        if _is_about(anchor, base):
            address = urljoin(base, target[1].strip())
            link = Link(address, _relations(parameters))
            links.append(link)
    return links


def _relations(parameters: dict[str, str]) -> tuple[str, ...]:
    """The relations of a link, in lower case."""
    relations = parameters.get("rel")
    if not relations:
        extended = parameters.get("rel*", "")
        relations = _extended(extended)
    names = relations.lower().split()
    return tuple(names)


def next_target(
    header: str,
    base: str,
    relation: str = "next",
) -> str | None:
    """Where the first link of a relation leads; None when there is none.

    Raises:
        SourceContractError: as `parse_links`.
    """
    wanted = relation.lower()
    for link in parse_links(header, base):
        if wanted in link.relations:
            return link.target
    return None


def _parameters(header: str, place: int) -> tuple[dict[str, str], int]:
    """Parameters by lower-case name, of equal ones the first; and where they end."""
    found: dict[str, str] = {}
    while match := _PARAMETER.match(header, place):
        place = match.end()
        name = match["name"]
        if name is None:
            continue
        value = match["plain"] or ""
        if match["quoted"] is not None:
            value = _ESCAPED.sub(r"\1", match["quoted"])
        found.setdefault(name.lower(), value)
    return found, _after(_BLANK, header, place)


def _extended(value: str) -> str:
    """The text of an extended parameter (RFC 8187), such as UTF-8'en'next."""
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return value
    return unquote(match[2], errors="replace")


def _is_about(anchor: str | None, base: str) -> bool:
    """Whether a link with this anchor is one of the answer itself."""
    if anchor is None:
        return True
    context = urljoin(base, anchor)
    return context in (base, urldefrag(base).url)


def _after(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def _unreadable(header: str) -> SourceContractError:
    shown = printable(header, 200)
    return SourceContractError(
        f"The header Link cannot be read, so that it is not known whether it names a next page: {shown!r}."
    )
