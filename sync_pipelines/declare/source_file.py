"""The text of a connector file: where it is, what it includes, and the line of every key."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from sync_pipelines.declare.refusals import refused
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.bounded import is_within, read_bounded
from sync_pipelines.files.safe_yaml import Lines, Location, UnsafeYamlError, line_of, read_yaml
from sync_pipelines.secrets import printable

MAX_FILE_BYTES = 1_000_000


@dataclass
class SourceFile:
    """A parsed file: plain data, and the line of every key and element.

    Attributes:
        parts: the included file that a top-level key comes from.
    """

    name: str
    data: Any
    lines: Lines = field(default_factory=dict)
    parts: dict[str, SourceFile] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """`file:line: key` of the nearest part that is in the file."""
        part = self.parts.get(str(location[0])) if location else None
        if part is not None:
            return part.place(location)
        line = line_of(self.lines, location)
        place = f"{self.name}:{line}"
        key = ".".join(map(str, location))
        return f"{place}: {printable(key, 100)}" if key else place


def shipped_folder() -> Path:
    """Where the connector files are that come with the program."""
    package = resources.files("sync_pipelines")
    return Path(str(package / "connectors"))


def shipped_names() -> list[str]:
    """Names of the connector files that come with the program."""
    entries = shipped_folder().iterdir()
    return sorted(entry.stem for entry in entries if entry.suffix == ".yaml")


def read_file(name: str) -> SourceFile:
    """Read a connector file, or one that comes with the program.

    Raises:
        SettingsError: it is not there, too large, or no safe YAML.
    """
    try:
        found = locate(name)
        if found is not None:
            shown = name if Path(name).is_file() else found.name
            file = parse_yaml(_read_bounded(found), shown)
            return _with_included(file, found.parent)
    except OSError as error:
        raise refused(f"{printable(name)} cannot be read: {error.strerror}.") from None
    shipped = shipped_names()
    near = difflib.get_close_matches(name, shipped, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise refused(
        f"There is no file {printable(name)}, and no shipped connector of that name; shipped:"
        f" {', '.join(shipped)}.{hint}"
    )


def locate(name: str) -> Path | None:
    """The connector file of a path, or of the name of a shipped one; None when there is neither."""
    path = Path(name)
    if path.is_file():
        return path
    if name in shipped_names():
        return shipped_folder() / f"{name}.yaml"
    return None


def _read_bounded(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_FILE_BYTES)
    except SettingsError as error:
        raise error.leaves("Nothing was stored.") from None


def part_beside(file: SourceFile, folder: Path, key: str, relative: Any) -> Path:
    """The place that a connector file names relative to its own folder.

    Raises:
        SettingsError: it leads out of the folder, or nothing is there.
    """
    parts = Path(relative).parts if isinstance(relative, str) and relative else ("..",)
    where = file.place((key,))
    if ".." in parts or Path(*parts).is_absolute():
        raise refused(f"{where}: a file beside this one is named by a path without .. .")
    place = folder.joinpath(*parts)
    shown = printable(str(relative), 200)
    if not place.exists():
        raise SettingsError(
            f"{where}: {shown} is not beside the file; without it the connector would be another one.",
            state="Nothing was stored.",
            next_command="copy it along (sync-pipelines connector copy NAME FOLDER gives all files of a shipped"
            f" connector), or take it out of `{key}`",
        )
    # What comes along may be installed by links.
    if folder != shipped_folder() and not is_within(place, folder):
        raise refused(f"{where}: {shown} leads out of the folder of this file by a symbolic link.")
    return place


def included(file: SourceFile) -> list[Any]:
    """What a connector file includes, as it names them."""
    names = file.data.get("include") if isinstance(file.data, dict) else None
    if names is None:
        return []
    return names if isinstance(names, list) else [names]


def _with_included(file: SourceFile, folder: Path) -> SourceFile:
    """The file with the top-level keys of the files that it includes."""
    for relative in included(file):
        path = part_beside(file, folder, "include", relative)
        part = parse_yaml(_read_bounded(path), path.name)
        if not isinstance(part.data, dict):
            raise refused(f"{part.name}:1: an included file is a mapping.")
        for key, value in part.data.items():
            if key in file.data or key == "include":
                where = part.place((key,))
                why = f"this key belongs into {file.name}; an included file cannot have it"
                raise refused(f"{where}: {why}.")
            file.data[key] = value
            file.parts[key] = part
    return file


def parse_yaml(content: bytes, name: str) -> SourceFile:
    """Plain data of a YAML text; dates and numbers with a fraction stay texts.

    Raises:
        SettingsError: names the line.
    """
    try:
        data, lines = read_yaml(content, only_texts=True)
    except UnsafeYamlError as error:
        where = f"{name}:{error.line}" if error.line else name
        raise refused(f"{where}: {error.what}") from None
    return SourceFile(name, data, lines)
