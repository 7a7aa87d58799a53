"""A gate's YAML file: bounded, safe, and complaints that name file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sync_pipelines.errors import GateDefinitionError, SettingsError
from sync_pipelines.files import bounded as bounded_files
from sync_pipelines.files.safe_yaml import Lines, Location, UnsafeYamlError, line_of, read_yaml
from sync_pipelines.secrets import printable

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Document:
    """A file's content and the line of each of its keys.

    Attributes:
        path: the file.
        data: plain dicts, lists and scalars.
        lines: line, from 1, of each key or list item by its location.
    """

    path: Path
    data: Any
    lines: Lines = field(default_factory=dict)

    def fault(self, what: str, location: Location = ()) -> GateDefinitionError:
        """An error at a place of this file: file, line, key, what is wrong."""
        key = ".".join(map(str, location))
        line = line_of(self.lines, location)
        if key:
            what = f"{key}: {what}"
        return definition_fault(self.path, line, what)


def definition_fault(
    path: Path,
    line: int | None,
    what: str,
) -> GateDefinitionError:
    """An error of a gate's file."""
    place = f"{path}:{line}" if line else str(path)
    return GateDefinitionError(
        f"{place}: {printable(what, 1000)}",
        where={"file": str(path)},
        next_command="sync-pipelines gate check",
    )


def nearest(name: Any, known: Iterable[str]) -> str:
    """ " Did you mean …?" or the list of what there is."""
    names = sorted(set(known))
    found = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if found:
        return f" Did you mean {found[0]!r}?"
    listed = printable(", ".join(names), 1000)
    return f" There is: {listed or 'nothing'}."


def read_bounded(path: Path) -> bytes:
    """The bytes of a file of at most `MAX_BYTES`.

    Raises:
        GateDefinitionError: it is larger, or cannot be read.
    """
    try:
        return bounded_files.read_bounded(path, MAX_BYTES)
    except SettingsError as error:
        raise definition_fault(path, None, error.what) from None
    except OSError as error:
        raise definition_fault(
            path,
            None,
            f"it cannot be read: {error.strerror}.",
        ) from None


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        GateDefinitionError: too large, or not the plain data that `read_yaml` takes.
    """
    content = read_bounded(path)
    try:
        return Document(path, *read_yaml(content))
    except UnsafeYamlError as error:
        raise definition_fault(path, error.line, error.what) from None
