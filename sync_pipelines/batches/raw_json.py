"""Look into JSON without decoding it: every value stays the bytes that the source sent, so that nothing is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jsonpath_ng
import msgspec
from jsonpath_ng.parser import parse as parse_jsonpath

from sync_pipelines.batches.records import elements_of, members_of
from sync_pipelines.batches.sieve import sift_record
from sync_pipelines.errors import BrokenPageError, SettingsError, SourceContractError
from sync_pipelines.secrets import excerpt_of, printable

MAX_PATH_CHARACTERS = 2000
_BLANKS = b" \t\r\n"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)
Step = str | int | None


def members(raw: bytes) -> dict[str, bytes] | None:
    """The members of an object, the last of equal names; None when it is none."""
    if not raw.lstrip(_BLANKS).startswith(b"{"):
        return None
    try:
        values = _object.decode(raw)
        return {name: bytes(value) for name, value in values.items()}
    except _UNREADABLE:
        return members_of(raw)


def elements(raw: bytes, most_bytes: int | None = None) -> list[bytes] | None:
    """The elements of a list, each of at most `most_bytes`, see `sift_record`; None when it is none."""
    if not raw.lstrip(_BLANKS).startswith(b"["):
        return None
    found: Sequence[msgspec.Raw | bytes]
    try:
        found = _list.decode(raw)
    except _UNREADABLE:
        found = elements_of(raw)
    if most_bytes is None:
        return list(map(bytes, found))
    return [bytes(sift_record(value, most_bytes)) for value in found]


@lru_cache(maxsize=1000)
def compile_path(path: str) -> tuple[Step, ...]:
    """Steps of a JSONPath: a name, an index, or None for every element.

    Raises:
        SettingsError: no JSONPath, or one that leads to more than one place by filters, unions or descent.
    """
    if len(path) > MAX_PATH_CHARACTERS:
        raise SettingsError(
            f"A JSONPath of {len(path)} characters is too long; {MAX_PATH_CHARACTERS} are allowed.",
            state="Nothing was stored.",
        )
    try:
        parsed = parse_jsonpath(path)
        return tuple(_steps(parsed))
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser raises bare exceptions of its lexer
        raise SettingsError(
            f"{printable(path)!r} is no JSONPath: {printable(str(error), 100)}.",
            state="Nothing was stored.",
        ) from None


def _steps(node: jsonpath_ng.JSONPath) -> list[Step]:
    match node:
        case jsonpath_ng.Root() | jsonpath_ng.This():
            return []
        case jsonpath_ng.Child(left=left, right=right):
            return [*_steps(left), *_steps(right)]
        case jsonpath_ng.Fields(fields=(name,)) if name != "*":
            return [name]
        case jsonpath_ng.Index(indices=(index,)):
            return [index]
        case jsonpath_ng.Wildcard():
            return [None]
    raise SettingsError(
        f"The JSONPath part {printable(str(node), 100)!r} is not supported: names, [n] and [*] are.",
        state="Nothing was stored.",
    )


def find_records(
    body: bytes,
    paths: str | Sequence[str],
    *,
    may_be_one: bool = True,
    max_record_bytes: int,
) -> list[bytes]:
    """The records of an answer: the elements of the list at the path, or, where there may be one alone, the object
    there.

    Args:
        body: the answer.
        paths: JSONPath to the records, or several of which the first that leads to some is taken.
        may_be_one: an object at the path is a record.
        max_record_bytes: a larger record comes without its largest values.

    Raises:
        BrokenPageError: no JSON.
        SourceContractError: nothing at the path; an answer of another shape must not pass for an empty one.
    """
    choices = [paths] if isinstance(paths, str) else list(paths)
    for path in choices[:-1]:
        try:
            return _records_at(
                body,
                path,
                max_record_bytes,
                may_be_one=may_be_one,
            )
        except SourceContractError:
            continue
    return _records_at(
        body,
        choices[-1],
        max_record_bytes,
        may_be_one=may_be_one,
    )


def _records_at(
    body: bytes,
    path: str,
    max_record_bytes: int,
    *,
    may_be_one: bool,
) -> list[bytes]:
    steps = compile_path(path)
    places = [body]
    for step in steps:
        inner_places: list[bytes] = []
        for raw in places:
            inner_places += _follow(raw, step, path, body)
        places = inner_places
    # An element of a list is never alone: whatever it is, it is judged as a record.
    is_element = None in steps
    records: list[bytes] = []
    for raw in places:
        listed = elements(raw, max_record_bytes)
        if listed is not None:
            records += listed
            continue
        if not is_element and not may_be_one:
            raise _unexpected(f"has no list at {path}", body)
        if not is_element and members(raw) is None:
            raise _unexpected(f"has neither a list nor an object at {path}", body)
        record = sift_record(raw, max_record_bytes)
        records.append(bytes(record))
    return records


def follow(raw: bytes, step: Step) -> list[bytes]:
    """What is at one step of a path.

    Raises:
        BrokenPageError, SourceContractError: nothing is.
    """
    return _follow(raw, step, "$", raw)


def _follow(
    raw: bytes,
    step: Step,
    path: str,
    body: bytes,
) -> list[bytes]:
    if step is None:
        inner = elements(raw)
        if inner is None:
            raise _unexpected(f"has no list at {path}", body)
        return inner
    if isinstance(step, int):
        inner = elements(raw)
        if inner is None or not -len(inner) <= step < len(inner):
            raise _unexpected(f"has no element {step} at {path}", body)
        return [inner[step]]
    named = members(raw)
    if named is None or step not in named:
        raise _unexpected(f"has no {printable(step, 60)!r} at {path}", body)
    return [named[step]]


def _unexpected(what: str, body: bytes) -> SourceContractError | BrokenPageError:
    """An answer that is JSON of another shape, which no second try changes; or none at all, which may be cut."""
    excerpt = excerpt_of(body)
    message = f"The answer {what}"
    try:
        _any.decode(body)
    except _UNREADABLE:
        return BrokenPageError(message, excerpt=excerpt)
    return SourceContractError(
        message,
        next_command="compare `records` in the connector's file with the answer",
        excerpt=excerpt,
    )
