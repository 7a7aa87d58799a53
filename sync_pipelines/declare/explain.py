"""The problems that pydantic finds in a connector file, in sentences with file, line and key."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sync_pipelines.declare.refusals import nearest
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.secrets import printable

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
_PLAIN_TYPES = ("int", "str", "bool", "list[str]")


def explain(
    error: ValidationError, file: SourceFile, model: type[BaseModel], prefix: Location = ()
) -> str:
    """All problems, one sentence each; no value is repeated, as it may be a secret."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    sentences = [_sentence(problem, file, model, prefix) for problem in problems]
    return "; ".join(dict.fromkeys(sentences)) + "."


def _sentence(
    problem: Mapping[str, Any], file: SourceFile, model: type[BaseModel], prefix: Location
) -> str:
    kind = problem["type"]
    message = problem["msg"]
    location = _without_variants(problem["loc"], file, prefix)
    in_file = _in_file(location, file, prefix)
    where = file.place((*prefix, *in_file))
    if kind == "extra_forbidden":
        names = _names_at(model, problem["loc"][:-1])
        return f"{where}: unknown key; {nearest(str(location[-1]), names)}"
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "union_tag_invalid":
        _, _, tags = message.rpartition("expected tags: ")
        return f"{where}: this `type` is not known; known: {tags}"
    why = message.removeprefix("Value error, ")
    return f"{where}: {printable(why, 300)}"


def _without_variants(location: Location, file: SourceFile, prefix: Location) -> Location:
    """Discriminated unions put the variant's name into the location; it is in no file."""
    kept = []
    for part in location:
        if part not in _VARIANTS or (*prefix, part) in file.lines:
            kept.append(part)
    return tuple(kept)


def _in_file(location: Location, file: SourceFile, prefix: Location) -> Location:
    """The location without parts that pydantic invents for unions of plain types."""
    kept: Location = ()
    for place, part in enumerate(location, 1):
        is_last = place == len(location)
        if is_last or (*prefix, *kept, part) in file.lines:
            kept = (*kept, part)
    if location and location[-1] in _PLAIN_TYPES:
        return kept[:-1]
    return kept


def _names_at(model: type[BaseModel], location: Location) -> list[str]:
    """Valid keys of the model that pydantic's location leads to."""
    current: Any = model
    for part in location:
        current = _following(current, part)
    names = []
    for option in _models_in(current):
        for name, info in option.model_fields.items():
            names.append(info.alias or name)
    return names


def _following(annotation: Any, part: Any) -> Any:
    """What the first of the models has at this part of the location; the annotation itself where none has it."""
    for option in _models_in(annotation):
        for found in _followed(option, part):
            return found
    return annotation


def _followed(option: type[BaseModel], part: Any) -> Iterator[Any]:
    """What a part of pydantic's location may mean in a model: one of its keys, or the model by its `type`."""
    for name, info in option.model_fields.items():
        if part in (name, info.alias):
            yield info.annotation
        if name == "type" and part in get_args(info.annotation):
            yield option


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    is_class = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    if is_class and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in get_args(annotation):
        yield from _models_in(inner)
