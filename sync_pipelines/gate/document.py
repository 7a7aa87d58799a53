"""YAML from a person's hand, read without trust: no tags, anchors or aliases, bounded in size and depth, every key with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.secrets import printable

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A file's content and where each of its keys stands.

    Attributes:
        path: the file.
        data: plain dicts, lists and scalars.
        lines: line, from 1, of each key or list item by its location.
    """

    path: Path
    data: Any
    lines: dict[Location, int] = field(default_factory=dict)

    def fault(self, what: str, location: Location = ()) -> GateDefinitionError:
        """An error at a place of this file: file, line, key, what is wrong."""
        known = next((location[:end] for end in range(len(location), 0, -1) if location[:end] in self.lines), ())
        key = ".".join(map(str, location))
        return definition_fault(self.path, self.lines.get(known, 1), f"{key}: {what}" if key else what)


def definition_fault(path: Path, line: int | None, what: str) -> GateDefinitionError:
    """An error of a gate's file."""
    place = f"{path}:{line}" if line else str(path)
    return GateDefinitionError(f"{place}: {printable(what, 1000)}", where={"file": str(path)}, next_command="sync-pipelines gate check")


def nearest(name: Any, known: Iterable[str]) -> str:
    """" Did you mean …?" or the list of what there is."""
    names = sorted(set(known))
    found = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else f" There is: {', '.join(names[:40]) or 'nothing'}."


def read_bounded(path: Path) -> bytes:
    """The bytes of a file of at most `MAX_BYTES`.

    Raises:
        GateDefinitionError: it is larger, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise definition_fault(path, None, f"it cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise definition_fault(path, None, f"it is larger than {MAX_BYTES} bytes.")
    return content


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        GateDefinitionError: not UTF-8, not YAML, too large or deep, a key twice, or anything but plain data.
    """
    try:
        text = read_bounded(path).decode("utf-8")
        node = _compose(path, text)
    except UnicodeDecodeError:
        raise definition_fault(path, None, "it is not UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise definition_fault(path, mark.line + 1 if mark else None, f"{problem}.") from None
    lines: dict[Location, int] = {}
    data = None if node is None else _build(path, node, (), lines)
    return Document(path, data, lines)


def _compose(path: Path, text: str) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise definition_fault(path, line, "anchors (&) and aliases (*) are not allowed.")
        if getattr(event, "tag", None):
            raise definition_fault(path, line, f"tags are not allowed ({event.tag}).")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise definition_fault(path, line, f"it is nested deeper than {MAX_DEPTH} levels.")
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _build(path: Path, node: yaml.Node, location: Location, lines: dict[Location, int]) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                raise definition_fault(path, line, "a key must be a plain name.")
            key = key_node.value
            if key in found:
                raise definition_fault(path, line, f"the key {key!r} stands twice.")
            lines[(*location, key)] = line
            found[key] = _build(path, value_node, (*location, key), lines)
        return found
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*location, index)] = item.start_mark.line + 1
            items.append(_build(path, item, (*location, index), lines))
        return items
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, yaml.YAMLError):
        raise definition_fault(path, node.start_mark.line + 1, f"{node.value!r} is no value of its kind.") from None
