"""The inputs of a connector file: what they may be, and the file filled with them."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync_pipelines.declare.explain import explain
from sync_pipelines.declare.refusals import nearest, refused
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.secrets import printable

MAX_FILLED_CHARACTERS = 1_000_000
_INPUT = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
_ABSENT = object()


class Input(BaseModel):
    """One input of a connector file, given with `--set NAME=VALUE`.

    Attributes:
        type: what a value is; `secret` takes only a reference env:NAME, `list` takes values separated by commas.
        choices, min, max: which values are allowed.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["text", "integer", "secret", "list", "integers"] = "text"
    description: str = ""
    default: Any = None
    choices: list[str] | None = None
    min: int | None = None
    max: int | None = None
    required: bool = Field(False)


def fill_inputs(file: SourceFile, given: dict[str, str]) -> dict[str, Any]:
    """The file's data with `${name}` replaced by the inputs; `inputs` itself is taken out.

    Raises:
        SettingsError: an unknown or missing input, or a value that is not allowed.
    """
    if not isinstance(file.data, dict):
        what = "a connector file is a mapping with name, kind, base_url and endpoints"
        raise refused(f"{file.name}:1: {what}.")
    data = dict(file.data)
    data.pop("include", None)
    # The gates are files beside this one and no part of what the catalog keeps.
    data.pop("gates", None)
    declared = data.pop("inputs", None) or {}
    if not isinstance(declared, dict):
        raise refused(f"{file.place(('inputs',))}: inputs are a mapping of names.")
    for name in given:
        if name not in declared:
            hint = nearest(name, list(declared))
            raise refused(f"{file.name} has no input {printable(name)!r}; {hint}.")
    inputs = _Inputs()
    for name, raw in declared.items():
        one = _read_input(file, name, raw, inputs)
        inputs[name] = _input_value(file, name, one, given.get(name))
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
            hint = nearest(name, list(self))
            raise refused(f"{place}: there is no input {name!r}; {hint}.")
        value = self[name]
        parts = value if isinstance(value, list) else [value]
        self._left_characters -= sum(len(str(part)) + 1 for part in parts)
        if self._left_characters < 0:
            what = f"the inputs add more than {MAX_FILLED_CHARACTERS} characters to the file"
            raise refused(f"{place}: {what}.")
        return value


def _read_input(file: SourceFile, name: str, raw: Any, inputs: _Inputs) -> Input:
    """An input as the file declares it. Its default may name inputs before it."""
    location = ("inputs", name)
    try:
        one = Input.model_validate(raw or {})
    except ValidationError as error:
        raise refused(explain(error, file, Input, location)) from None
    if not isinstance(one.default, str) or not _INPUT.search(one.default):
        return one
    default = _filled(one.default, inputs, file, location)
    return one.model_copy(update={"default": default})


def _parts_of(value: Any) -> list[str]:
    """The members of a list, or of a text with commas."""
    if isinstance(value, list):
        return list(map(str, value))
    parts = map(str.strip, str(value).split(","))
    return [part for part in parts if part]


def _integer_within(place: str, value: Any, one: Input) -> int:
    number = _integer(place, value)
    is_below = one.min is not None and number < one.min
    is_above = one.max is not None and number > one.max
    if is_below or is_above:
        raise refused(f"{place}: {number} is not between {one.min} and {one.max}.")
    return number


def _input_value(file: SourceFile, name: str, one: Input, text: str | None) -> Any:
    place = file.place(("inputs", name))
    value: Any = one.default if text is None else text
    if value is None and one.required:
        described = one.description or one.type
        raise refused(f"{place}: needs a value: --set {name}=… ({described}).")
    if value is None:
        return None
    match one.type:
        case "secret":
            if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", str(value)):
                raise refused(f"{place}: a secret is given as a reference: --set {name}=env:NAME.")
            return value
        case "list":
            return _parts_of(value)
        case "integers":
            return [_integer(place, part) for part in _parts_of(value)]
        case "integer":
            return _integer_within(place, value, one)
    text = str(value)
    if one.choices is not None and value not in one.choices:
        hint = nearest(text, one.choices)
        raise refused(f"{place}: {printable(text)!r} is not allowed; {hint}.")
    return text


def _integer(place: str, value: Any) -> int:
    text = str(value)
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(value)
    raise refused(f"{place}: {printable(text)!r} is not a whole number.")


def _filled(value: Any, inputs: _Inputs, file: SourceFile, location: Location) -> Any:
    if isinstance(value, dict):
        return _filled_keys(value, inputs, file, location)
    if isinstance(value, list):
        return _filled_members(value, inputs, file, location)
    if not isinstance(value, str):
        return value
    place = file.place(location)
    whole = _INPUT.fullmatch(value)
    if whole is not None:
        found = inputs.take(whole[1], place)
        return _ABSENT if found is None else found

    def text_of(match: re.Match[str]) -> str:
        found = inputs.take(match[1], place)
        if found is None:
            return ""
        return ",".join(map(str, found)) if isinstance(found, list) else str(found)

    return _INPUT.sub(text_of, value)


def _filled_members(
    value: list[Any], inputs: _Inputs, file: SourceFile, location: Location
) -> list[Any]:
    filled = []
    for place, member in enumerate(value):
        inner = _filled(member, inputs, file, (*location, place))
        # An input without a value leaves its member out.
        if inner is not _ABSENT:
            filled.append(inner)
    return filled


def _filled_keys(
    value: dict[Any, Any], inputs: _Inputs, file: SourceFile, location: Location
) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for key, inner in value.items():
        place = (*location, key)
        name = _filled(key, inputs, file, place)
        if not isinstance(name, str) or not name or name in filled:
            shown = printable(str(key))
            raise refused(f"{file.place(place)}: {shown!r} becomes no name of its own.")
        filled[name] = _filled(inner, inputs, file, place)
    # An input without a value leaves its key out.
    return {key: inner for key, inner in filled.items() if inner is not _ABSENT}
