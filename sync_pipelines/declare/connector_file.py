"""Connector files from YAML: safe, with file, line and key in every complaint, and the nearest valid name."""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync_pipelines.catalog.connectors import check_base_url
from sync_pipelines.destinations.registry import DEFAULT, NAMES, check_options, kind_with_options
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.bounded import is_within, read_bounded
from sync_pipelines.files.safe_yaml import Lines, Location, UnsafeYamlError, line_of, read_yaml
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.secrets import is_known_secret, printable
from sync_pipelines.sources.registry import declared_kinds, source_kind_named

MAX_FILE_BYTES = 1_000_000
MAX_FILLED_CHARACTERS = 1_000_000
# Longer than a word, with letters and digits: what services put into addresses that are secrets themselves.
_LIKE_A_KEY = re.compile(
    r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_~.%+=-]{20,}|[A-Za-z0-9_~.%+=-]{40,}"
)
_INPUT = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")


class Input(BaseModel):
    """One input of a connector file, given with `--set NAME=VALUE`.

    Attributes:
        type: what a value is; `secret` takes only a reference env:NAME, `list` takes values separated by commas.
        choices, min, max: which values are allowed.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: typing.Literal["text", "integer", "secret", "list", "integers"] = "text"
    description: str = ""
    default: Any = None
    choices: list[str] | None = None
    min: int | None = None
    max: int | None = None
    required: bool = Field(False)


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
        key = ".".join(map(str, location))
        return f"{self.name}:{line_of(self.lines, location)}" + (
            f": {printable(key, 100)}" if key else ""
        )


def shipped_folder() -> Path:
    """Where the connector files are that come with the program."""
    return Path(str(resources.files("sync_pipelines") / "connectors"))


def shipped_names() -> list[str]:
    """Names of the connector files that come with the program."""
    return sorted(entry.stem for entry in shipped_folder().iterdir() if entry.suffix == ".yaml")


def read_file(name: str) -> SourceFile:
    """Read a connector file, or one that comes with the program.

    Raises:
        SettingsError: it is not there, too large, or no safe YAML.
    """
    try:
        found = locate(name)
        if found is not None:
            return _with_included(
                parse_yaml(_read_bounded(found), name if Path(name).is_file() else found.name),
                found.parent,
            )
    except OSError as error:
        raise _refused(f"{printable(name)} cannot be read: {error.strerror}.") from None
    near = difflib.get_close_matches(name, shipped_names(), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise _refused(
        f"There is no file {printable(name)}, and no shipped connector of that name; shipped:"
        f" {', '.join(shipped_names())}.{hint}"
    )


def locate(name: str) -> Path | None:
    """The connector file of a path, or of the name of a shipped one; None when there is neither."""
    if Path(name).is_file():
        return Path(name)
    return shipped_folder() / f"{name}.yaml" if name in shipped_names() else None


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
    if ".." in parts or Path(*parts).is_absolute():
        raise _refused(
            f"{file.place((key,))}: a file beside this one is named by a path without .. ."
        )
    place = folder.joinpath(*parts)
    if not place.exists():
        raise SettingsError(
            f"{file.place((key,))}: {printable(str(relative), 200)} is not beside the file; without it the connector"
            " would be another one.",
            state="Nothing was stored.",
            next_command="copy it along (sync-pipelines connector copy NAME FOLDER gives all files of a shipped"
            " connector),"
            f" or take it out of `{key}`",
        )
    # What comes along may be installed by links.
    if folder != shipped_folder() and not is_within(place, folder):
        raise _refused(
            f"{file.place((key,))}: {printable(str(relative), 200)} leads out of the folder of this file by a"
            " symbolic link."
        )
    return place


def included(file: SourceFile) -> list[Any]:
    """What a connector file includes, as it names them."""
    names = file.data.get("include") if isinstance(file.data, dict) else None
    return names if isinstance(names, list) else [] if names is None else [names]


def _with_included(file: SourceFile, folder: Path) -> SourceFile:
    """The file with the top-level keys of the files that it includes."""
    for relative in included(file):
        path = part_beside(file, folder, "include", relative)
        part = parse_yaml(_read_bounded(path), path.name)
        if not isinstance(part.data, dict):
            raise _refused(f"{part.name}:1: an included file is a mapping.")
        for key, value in part.data.items():
            if key in file.data or key == "include":
                raise _refused(
                    f"{part.place((key,))}: this key belongs into {file.name}; an included file cannot have it."
                )
            file.data[key], file.parts[key] = value, part
    return file


def parse_yaml(content: bytes, name: str) -> SourceFile:
    """Plain data of a YAML text; dates and numbers with a fraction stay texts.

    Raises:
        SettingsError: says the line.
    """
    try:
        return SourceFile(name, *read_yaml(content, only_texts=True))
    except UnsafeYamlError as error:
        raise _refused(f"{name}{f':{error.line}' if error.line else ''}: {error.what}") from None


def fill_inputs(file: SourceFile, given: dict[str, str]) -> dict[str, Any]:
    """The file's data with `${name}` replaced by the inputs; `inputs` itself is taken out.

    Raises:
        SettingsError: an unknown or missing input, or a value that is not allowed.
    """
    if not isinstance(file.data, dict):
        raise _refused(
            f"{file.name}:1: a connector file is a mapping with name, kind, base_url and endpoints."
        )
    data = dict(file.data)
    data.pop("include", None)
    # The gates are files beside this one and no part of what the catalog keeps.
    data.pop("gates", None)
    declared = data.pop("inputs", None) or {}
    if not isinstance(declared, dict):
        raise _refused(f"{file.place(('inputs',))}: inputs are a mapping of names.")
    for name in given:
        if name not in declared:
            raise _refused(
                f"{file.name} has no input {printable(name)!r}; {_nearest(name, list(declared))}."
            )
    inputs = _Inputs()
    for name, raw in declared.items():
        try:
            one = Input.model_validate(raw or {})
        except ValidationError as error:
            raise _refused(explain(error, file, Input, ("inputs", name))) from None
        inputs[name] = _input_value(
            file, name, _of_others(one, inputs, file, name), given.get(name)
        )
    filled: dict[str, Any] = _filled(data, inputs, file, ())
    return filled


class _Inputs(dict[str, Any]):
    """Values of inputs. What they add to the file is bounded: texts of texts of texts would fill the memory."""

    def __init__(self) -> None:
        super().__init__()
        self._left_characters = MAX_FILLED_CHARACTERS

    def take(self, name: str, place: str) -> Any:
        """A value, to be put where a file names it.

        Raises:
            SettingsError: there is no such input, or all of them together add too much.
        """
        if name not in self:
            raise _refused(f"{place}: there is no input {name!r}; {_nearest(name, list(self))}.")
        value = self[name]
        parts = value if isinstance(value, list) else [value]
        self._left_characters -= sum(len(str(part)) + 1 for part in parts)
        if self._left_characters < 0:
            raise _refused(
                f"{place}: the inputs add more than {MAX_FILLED_CHARACTERS} characters to the file."
            )
        return value


def _of_others(one: Input, inputs: _Inputs, file: SourceFile, name: str) -> Input:
    """An input whose default may name inputs before it."""
    if not isinstance(one.default, str) or not _INPUT.search(one.default):
        return one
    return one.model_copy(update={"default": _filled(one.default, inputs, file, ("inputs", name))})


def _parts_of(value: Any) -> list[str]:
    """The members of a list, or of a text with commas."""
    if isinstance(value, list):
        return list(map(str, value))
    parts = map(str.strip, str(value).split(","))
    return [part for part in parts if part]


def _integer_within(place: str, value: Any, one: Input) -> int:
    number = _integer(place, value)
    if (one.min is not None and number < one.min) or (one.max is not None and number > one.max):
        raise _refused(f"{place}: {number} is not between {one.min} and {one.max}.")
    return number


def _input_value(file: SourceFile, name: str, one: Input, text: str | None) -> Any:
    place = file.place(("inputs", name))
    value: Any = one.default if text is None else text
    if value is None and one.required:
        raise _refused(f"{place}: needs a value: --set {name}=… ({one.description or one.type}).")
    if value is None:
        return None
    match one.type:
        case "secret":
            if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", str(value)):
                raise _refused(f"{place}: a secret is given as a reference: --set {name}=env:NAME.")
            return value
        case "list":
            return _parts_of(value)
        case "integers":
            return [_integer(place, part) for part in _parts_of(value)]
        case "integer":
            return _integer_within(place, value, one)
    if one.choices is not None and value not in one.choices:
        raise _refused(
            f"{place}: {printable(str(value))!r} is not allowed; {_nearest(str(value), one.choices)}."
        )
    return str(value)


def _integer(place: str, value: Any) -> int:
    if re.fullmatch(r"-?[0-9]{1,18}", str(value)):
        return int(value)
    raise _refused(f"{place}: {printable(str(value))!r} is not a whole number.")


def _filled(value: Any, inputs: _Inputs, file: SourceFile, location: Location) -> Any:
    if isinstance(value, dict):
        return _filled_keys(value, inputs, file, location)
    if isinstance(value, list):
        filled = [
            _filled(inner, inputs, file, (*location, place)) for place, inner in enumerate(value)
        ]
        return [inner for inner in filled if inner is not _ABSENT]
    if not isinstance(value, str):
        return value
    place = file.place(location)
    whole = _INPUT.fullmatch(value)
    if whole:
        found = inputs.take(whole[1], place)
        return _ABSENT if found is None else found
    return _INPUT.sub(lambda match: _text_of(inputs.take(match[1], place)), value)


def _filled_keys(
    value: dict[Any, Any], inputs: _Inputs, file: SourceFile, location: Location
) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for key, inner in value.items():
        place = (*location, key)
        name = _filled(key, inputs, file, place)
        if not isinstance(name, str) or not name or name in filled:
            raise _refused(
                f"{file.place(place)}: {printable(str(key))!r} becomes no name of its own."
            )
        filled[name] = _filled(inner, inputs, file, place)
    # An input without a value leaves its key out.
    return {key: inner for key, inner in filled.items() if inner is not _ABSENT}


def _text_of(found: Any) -> str:
    """The value of an input within a text."""
    if found is None:
        return ""
    return ",".join(map(str, found)) if isinstance(found, list) else str(found)


_ABSENT = object()


@dataclass(frozen=True)
class LoadedFile:
    """A connector file, filled and validated.

    Attributes:
        declaration: what it says.
        base_url_variable: the variable that its base URL was read from; None where the file or a person wrote it.
    """

    declaration: Declaration
    base_url_variable: str | None = None


def load_file(
    name: str, given: dict[str, str] | None = None, *, base_url: str | None = None
) -> LoadedFile:
    """A connector file, filled and validated.

    Args:
        name: path of the file, or the name of a shipped one.
        given: inputs by name.
        base_url: instead of the file's.

    Raises:
        SettingsError: what is wrong, with file, line, key and the nearest valid name.
    """
    file = read_file(name)
    data = fill_inputs(file, given or {})
    if base_url is not None:
        data["base_url"] = base_url
    address, variable = data.get("base_url"), None
    if isinstance(address, str) and address.startswith("env:"):
        variable = address[4:]
        data["base_url"] = _base_url_of(variable, file)
    declaration = validate(data, file)
    if variable is not None and f"env:{variable}" in declaration.secrets:
        raise _refused(
            f"{file.place(('base_url',))}: {printable(variable)} is a secret of this file; a base URL is shown"
            " and stored."
        )
    return LoadedFile(declaration, variable)


def load_declaration(
    name: str, given: dict[str, str] | None = None, *, base_url: str | None = None
) -> Declaration:
    """The declaration of `load_file`."""
    return load_file(name, given, base_url=base_url).declaration


def _base_url_of(variable: str, file: SourceFile) -> str:
    """The base URL that a variable holds.

    It is stored and shown, so what looks like a secret is refused; never repeats the value.
    """
    place = file.place(("base_url",))
    value = os.environ.get(variable, "")
    if not value:
        raise _refused(
            f"{place}: the environment variable {printable(variable)} is not set; or use --base-url URL."
        )
    try:
        check_base_url(value)
    except SettingsError:
        raise _refused(
            f"{place}: what the variable {printable(variable)} holds is no base URL: http(s)://host[:port][/path],"
            " without credentials."
        ) from None
    if is_known_secret(value) or any(
        _LIKE_A_KEY.fullmatch(part) for part in urlsplit(value).path.split("/")
    ):
        raise _refused(
            f"{place}: the address in the variable {printable(variable)} looks as if it held a key, and a base URL"
            " is shown and stored; give the key by `auth`, or the address with --base-url URL."
        )
    return value


def validate(data: Any, file: SourceFile) -> Declaration:
    """Raises SettingsError with file, line and key."""
    if isinstance(data, dict) and "overrides" in data:
        raise _refused(f"{file.place(('overrides',))}: unknown key.")
    try:
        declaration = Declaration.model_validate(data)
    except ValidationError as error:
        raise _refused(explain(error, file, Declaration)) from None
    _check_kind(declaration, file)
    _check_destination(declaration, file)
    return declaration


def _check_kind(declaration: Declaration, file: SourceFile) -> None:
    known = declared_kinds()
    if declaration.kind not in known:
        raise _refused(
            f"{file.place(('kind',))}: this kind is not known; {_nearest(declaration.kind, known)}."
        )
    problems = source_kind_named(declaration.kind).check_declaration(declaration)
    told = [f"{file.place(place)}: {printable(why, 300)}" for place, why in problems]
    if told:
        raise _refused("; ".join(dict.fromkeys(told)) + ".")


def _check_destination(declaration: Declaration, file: SourceFile) -> None:
    if declaration.destination is not None and declaration.destination not in NAMES:
        raise _refused(
            f"{file.place(('destination',))}: {_nearest(declaration.destination, list(NAMES))}."
        )
    options = declaration.reach or {}
    key = "trino" if declaration.trino is not None else "destination_options"
    known = kind_with_options(declaration.destination or DEFAULT).options
    for name in options:
        if name not in known:
            raise _refused(
                f"{file.place((key, name))}: unknown key; {_nearest(name, list(known))}."
            )
    try:
        check_options(declaration.destination or DEFAULT, options)
    except SettingsError as error:
        raise _refused(f"{file.place((key,))}: {error.what}") from None


def explain(
    error: ValidationError, file: SourceFile, model: type[BaseModel], prefix: Location = ()
) -> str:
    """All problems, one sentence each; no value is repeated, as it may be a secret."""
    told = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        # Discriminated unions put the variant's name into the location; it is in no file.
        location = tuple(
            part
            for part in problem["loc"]
            if part not in _VARIANTS or (*prefix, part) in file.lines
        )
        where = file.place((*prefix, *_standing(location, file, prefix)))
        if problem["type"] == "extra_forbidden":
            names = _names_at(model, problem["loc"][:-1])
            told.append(f"{where}: unknown key; {_nearest(str(location[-1]), names)}")
        elif problem["type"] == "missing":
            told.append(f"{where}: is missing")
        elif problem["type"] == "union_tag_invalid":
            told.append(
                f"{where}: this `type` is not known; known: {problem['msg'].rpartition('expected tags: ')[2]}"
            )
        else:
            told.append(f"{where}: {printable(problem['msg'].removeprefix('Value error, '), 300)}")
    return "; ".join(dict.fromkeys(told)) + "."


_VARIANTS = {
    "api_key",
    "bearer",
    "basic",
    "oauth2",
    "none",
    "page",
    "offset",
    "cursor",
    "link_header",
    "next_link",
    "connection",
}


def _standing(location: Location, file: SourceFile, prefix: Location) -> Location:
    """The location without parts that pydantic invents for unions of plain types."""
    kept: Location = ()
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if last or (*prefix, *kept, part) in file.lines:
            kept = (*kept, part)
    return (
        kept
        if not location or location[-1] not in ("int", "str", "bool", "list[str]")
        else kept[:-1]
    )


def _followed(option: type[BaseModel], part: Any) -> typing.Iterator[Any]:
    """What a part of pydantic's location may mean in a model: one of its keys, or the model by its `type`."""
    for name, info in option.model_fields.items():
        if part in (name, info.alias):
            yield info.annotation
        if name == "type" and part in typing.get_args(info.annotation):
            yield option


def _names_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Valid keys of the model that pydantic's location leads to."""
    current: Any = model
    for part in location:
        following = [found for option in _models_in(current) for found in _followed(option, part)]
        current = following[0] if following else current
    return [
        info.alias or name
        for option in _models_in(current)
        for name, info in option.model_fields.items()
    ]


def _models_in(annotation: Any) -> typing.Iterator[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not isinstance(annotation, types.GenericAlias)
    ):
        yield annotation
        return
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _nearest(name: str, names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(names)}" if names else "none is known"


def _refused(what: str) -> SettingsError:
    return SettingsError(what, state="Nothing was stored.")
