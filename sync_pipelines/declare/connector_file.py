"""Connector files from YAML: safe, with file, line and key in every complaint, and the nearest valid name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from sync_pipelines.catalog.connectors import check_base_url
from sync_pipelines.declare.explain import explain
from sync_pipelines.declare.inputs import fill_inputs
from sync_pipelines.declare.refusals import nearest, refused
from sync_pipelines.declare.source_file import SourceFile, read_file
from sync_pipelines.destinations.registry import DEFAULT, NAMES, check_options, kind_with_options
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.secrets import is_known_secret, printable
from sync_pipelines.sources.registry import declared_kinds, source_kind_named

# Longer than a word, with letters and digits: what services put into addresses that are secrets themselves.
_LIKE_A_KEY = re.compile(
    r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_~.%+=-]{20,}|[A-Za-z0-9_~.%+=-]{40,}"
)


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
    address = data.get("base_url")
    variable = None
    if isinstance(address, str) and address.startswith("env:"):
        variable = address.removeprefix("env:")
        data["base_url"] = _base_url_of(variable, file)
    declaration = validate(data, file)
    if variable is not None and f"env:{variable}" in declaration.secrets:
        where = file.place(("base_url",))
        what = f"{printable(variable)} is a secret of this file; a base URL is shown and stored"
        raise refused(f"{where}: {what}.")
    return LoadedFile(declaration, variable)


def load_declaration(
    name: str, given: dict[str, str] | None = None, *, base_url: str | None = None
) -> Declaration:
    """The declaration of `load_file`."""
    loaded = load_file(name, given, base_url=base_url)
    return loaded.declaration


def _base_url_of(variable: str, file: SourceFile) -> str:
    """The base URL that a variable holds.

    It is stored and shown, so what looks like a secret is refused; never repeats the value.
    """
    place = file.place(("base_url",))
    shown = printable(variable)
    value = os.environ.get(variable, "")
    if not value:
        raise refused(
            f"{place}: the environment variable {shown} is not set; or use --base-url URL."
        )
    try:
        check_base_url(value)
    except SettingsError:
        raise refused(
            f"{place}: what the variable {shown} holds is no base URL: http(s)://host[:port][/path],"
            " without credentials."
        ) from None
    if _may_hold_a_key(value):
        raise refused(
            f"{place}: the address in the variable {shown} looks as if it held a key, and a base URL"
            " is shown and stored; give the key by `auth`, or the address with --base-url URL."
        )
    return value


def _may_hold_a_key(url: str) -> bool:
    if is_known_secret(url):
        return True
    parts = urlsplit(url).path.split("/")
    return any(map(_LIKE_A_KEY.fullmatch, parts))


def validate(data: Any, file: SourceFile) -> Declaration:
    """Raises SettingsError with file, line and key."""
    if isinstance(data, dict) and "overrides" in data:
        raise refused(f"{file.place(('overrides',))}: unknown key.")
    try:
        declaration = Declaration.model_validate(data)
    except ValidationError as error:
        raise refused(explain(error, file, Declaration)) from None
    _check_kind(declaration, file)
    _check_destination(declaration, file)
    return declaration


def _check_kind(declaration: Declaration, file: SourceFile) -> None:
    known = declared_kinds()
    if declaration.kind not in known:
        where = file.place(("kind",))
        hint = nearest(declaration.kind, known)
        raise refused(f"{where}: this kind is not known; {hint}.")
    kind = source_kind_named(declaration.kind)
    problems = []
    for place, why in kind.check_declaration(declaration):
        problems.append(f"{file.place(place)}: {printable(why, 300)}")
    if problems:
        raise refused("; ".join(dict.fromkeys(problems)) + ".")


def _check_destination(declaration: Declaration, file: SourceFile) -> None:
    name = declaration.destination
    if name is not None and name not in NAMES:
        where = file.place(("destination",))
        raise refused(f"{where}: {nearest(name, list(NAMES))}.")
    destination = name or DEFAULT
    options = declaration.reach or {}
    key = "trino" if declaration.trino is not None else "destination_options"
    known = list(kind_with_options(destination).options)
    for option in options:
        if option not in known:
            where = file.place((key, option))
            raise refused(f"{where}: unknown key; {nearest(option, known)}.")
    try:
        check_options(destination, options)
    except SettingsError as error:
        raise refused(f"{file.place((key,))}: {error.what}") from None
