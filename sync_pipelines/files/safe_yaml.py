"""YAML from a person or a source, read without trust: plain data, bounded in depth, every key with its line."""

from __future__ import annotations

from functools import partial
from typing import Any

import yaml

from sync_pipelines.secrets import printable

MAX_DEPTH = 30
MAX_NODES = 1_000_000
MAX_RETOLD_CHARACTERS = 100_000
MAX_NUMBER_CHARACTERS = 400
# The same language in C, about ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE_TAG = "tag:yaml.org,2002:merge"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

Location = tuple[str | int, ...]
Lines = dict[Location, int]


class UnsafeYamlError(ValueError):
    """Not YAML, or more than plain data.

    Attributes:
        what: in a sentence.
        line: from 1; None where the parser knows none.
    """

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def read_yaml(content: bytes, *, only_texts: bool = False) -> tuple[Any, Lines]:
    """Plain data of a YAML text, and the line of every key and element by its location.

    Args:
        content: of one document in UTF-8; the caller has looked at its size.
        only_texts: dates and numbers with a fraction stay the texts they are, so that 1.10 is not 1.1.

    Raises:
        UnsafeYamlError: no YAML, a tag, an anchor or alias, a key twice, nested too deeply, or too many values.
    """
    lines: Lines = {}
    try:
        text = content.decode("utf-8")
        _check_letters(text)
        node = _composed(text)
        data = None if node is None else _build(node, (), lines, only_texts=only_texts)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnsafeYamlError("it is not UTF-8.", line) from None
    except RecursionError:
        raise UnsafeYamlError(f"it is nested deeper than {MAX_DEPTH} levels.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise UnsafeYamlError(f"{printable(problem)}.", mark.line + 1 if mark else None) from None
    return data, lines


def _check_letters(text: str) -> None:
    """Refuse control characters, of which the parser names no line."""
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found is not None:
        raise UnsafeYamlError(
            f"the character U+{ord(found[0]):04X} is not allowed.",
            text.count("\n", 0, found.start()) + 1,
        )


def line_of(lines: Lines, location: Location) -> int:
    """The line of the nearest part of a location that the file has."""
    for end in range(len(location), 0, -1):
        nearest = location[:end]
        if nearest in lines:
            return lines[nearest]
    return 1


def _composed(text: str) -> yaml.Node | None:
    try:
        _check_events(text, _LOADER)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError:
        if len(text) <= MAX_RETOLD_CHARACTERS:
            # The reader in C names the end of the file where the other one names the place.
            _check_events(text, yaml.SafeLoader)
        raise


def _check_events(text: str, loader: Any) -> None:
    depth = 0
    nodes = 0
    for event in yaml.parse(text, Loader=loader):
        mark = event.start_mark
        line = mark.line + 1 if mark else 1
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MAX_NODES:
            raise UnsafeYamlError(f"it holds more than {MAX_NODES} values.", line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UnsafeYamlError("anchors (&) and aliases (*) are not allowed.", line)
        if getattr(event, "tag", None):
            raise UnsafeYamlError("tags are not allowed.", line)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UnsafeYamlError(f"it is nested deeper than {MAX_DEPTH} levels.", line)


def _build(
    node: yaml.Node,
    location: Location,
    lines: Lines,
    *,
    only_texts: bool,
) -> Any:
    lines.setdefault(location, _line(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, only_texts=only_texts)
    build = partial(_build, lines=lines, only_texts=only_texts)
    if isinstance(node, yaml.SequenceNode):
        children = enumerate(node.value)
        return [build(child, (*location, place)) for place, child in children]
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE_TAG:
            raise UnsafeYamlError("a key is a plain text.", line)
        if key in built:
            raise UnsafeYamlError(f"the key {printable(key)!r} is there twice.", line)
        key_location = (*location, key)
        lines[key_location] = line
        built[key] = build(value_node, key_location)
    return built


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _scalar(node: yaml.Node, *, only_texts: bool) -> Any:
    if node.tag in _NUMBER_TAGS and len(node.value) > MAX_NUMBER_CHARACTERS:
        # Numbers to the base 60, and whole ones, take quadratic time.
        if only_texts:
            return node.value
        what = f"a number of {len(node.value)} characters is too long."
        raise UnsafeYamlError(what, _line(node))
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, yaml.YAMLError):
        if only_texts:
            return node.value
        what = f"{printable(node.value, 100)!r} is no value of its kind."
        raise UnsafeYamlError(what, _line(node)) from None
    if not only_texts or value is None or isinstance(value, bool):
        return value
    # 007 and 1:30 are no 7 and no 90.
    is_plain_number = isinstance(value, int) and str(value) == node.value
    return value if is_plain_number else node.value
