"""What an answer of a GraphQL endpoint says beside its records: errors, and where the connection goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sync_pipelines.batches.raw_json import Step, follow, members
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    SourceBusyError,
    SourceContractError,
    SyncError,
)
from sync_pipelines.secrets import excerpt_of, printable

SHOWN_ERRORS = 3
_BUSY = {
    "RATE_LIMITED",
    "RATE_LIMIT_EXCEEDED",
    "THROTTLED",
    "TOO_MANY_REQUESTS",
    "MAX_COST_EXCEEDED",
}
_REFUSED = {"UNAUTHENTICATED", "UNAUTHORIZED", "FORBIDDEN"}
_NOTHING = (b"", b"null", b"[]")


@dataclass(frozen=True)
class PageInfo:
    """The end of a page of a connection.

    Attributes:
        has_next: there are more.
        end_cursor: names the place behind this page; None where there are no more.
        total: records in all, where the answer has that number.
    """

    has_next: bool
    end_cursor: str | None = None
    total: int | None = None


def check_errors(body: bytes) -> None:
    """Refuse an answer with errors, also one that has data beside them: it is not known what of it is missing.

    Raises:
        BrokenPageError: no JSON.
        SourceBusyError: a rate limit.
        AuthenticationError: the credentials do not reach that far.
        SourceContractError: any other error, with its message.
    """
    found = members(body)
    if found is None:
        raise SourceContractError("The answer is no JSON object", excerpt=excerpt_of(body))
    errors = found.get("errors", b"").strip()
    data = found.get("data", b"").strip()
    if errors not in _NOTHING:
        has_data = data not in (*_NOTHING, b"{}")
        raise _refusal(errors, has_data=has_data)
    if data in _NOTHING:
        raise SourceContractError(
            "The answer has neither data nor errors", excerpt=excerpt_of(body)
        )


def _refusal(raw: bytes, *, has_data: bool) -> SyncError:
    listed = _decoded(raw)
    errors: list[dict[str, Any]] = []
    codes: set[str] = set()
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            errors.append(one)
            codes |= _codes(one)
    busy = codes & _BUSY
    if busy:
        return SourceBusyError(
            f"The source answered with an error of its rate limit ({_words(busy)})."
        )
    refused = codes & _REFUSED
    if refused:
        return AuthenticationError(
            f"The source answered with an error of authorization ({_words(refused)})."
        )
    beside = " beside its data, of which it is not known what is missing" if has_data else ""
    return SourceContractError(
        f"The answer has errors{beside}",
        excerpt=_messages(errors, raw),
        next_command="compare `query` and `variables` in the connector's file with the schema of the source",
    )


def _codes(error: dict[str, Any]) -> set[str]:
    """The codes of an error, in capitals."""
    codes = [error.get("type")]
    extensions = error.get("extensions")
    if isinstance(extensions, dict):
        codes.append(extensions.get("code"))
        codes.append(extensions.get("type"))
    capitals = set()
    for code in codes:
        if code is not None:
            capitals.add(str(code).upper())
    return capitals


def _messages(errors: list[dict[str, Any]], raw: bytes) -> str:
    """The messages of some errors; the text of all where they have no form that is known."""
    messages = []
    for error in errors[:SHOWN_ERRORS]:
        message = error.get("message", "an error without message")
        messages.append(str(message))
    shown = "; ".join(messages)
    if not shown:
        shown = raw.decode("utf-8", errors="backslashreplace")
    excerpt = printable(shown, 400)
    more = len(errors) - SHOWN_ERRORS
    return f"{excerpt}; and {more} more" if more > 0 else excerpt


def _words(codes: set[str]) -> str:
    return ", ".join(sorted(codes))


def page_info_of(body: bytes, connection: Sequence[Step]) -> PageInfo:
    """Where a connection goes on after this answer.

    Args:
        body: of an answer without errors.
        connection: path of the object with `pageInfo`.

    Raises:
        SourceContractError: the answer does not say it; that is never taken for the end.
    """
    found = connection_of(body, connection)
    info = members(found.get("pageInfo", b"null"))
    if info is None:
        raise SourceContractError(
            "The answer has no pageInfo beside its records, so whether there are more is unknown.",
            next_command="ask for pageInfo { hasNextPage endCursor } in `query`",
        )
    has_next = info.get("hasNextPage", b"").strip()
    if has_next not in (b"true", b"false"):
        raise SourceContractError(
            "pageInfo has no hasNextPage, so whether there are more is unknown.",
            next_command="ask for pageInfo { hasNextPage endCursor } in `query`",
        )
    total = _count(found.get("totalCount", b"null"))
    if has_next == b"false":
        return PageInfo(has_next=False, total=total)
    cursor = _decoded(info.get("endCursor", b"null"))
    if not isinstance(cursor, str) or not cursor:
        raise SourceContractError(
            "The answer says that there is a next page (hasNextPage) and does not name it:"
            " endCursor is missing or no text.",
            next_command="ask for pageInfo { hasNextPage endCursor } in `query`",
        )
    return PageInfo(has_next=True, end_cursor=cursor, total=total)


def connection_of(body: bytes, connection: Sequence[Step]) -> dict[str, bytes]:
    """The members of the object at a path; none where there is no object."""
    found = body
    for step in connection:
        try:
            (found,) = follow(found, step)
        except (BrokenPageError, SourceContractError, ValueError):
            return {}
    return members(found) or {}


def goes_on(raw: bytes) -> bool:
    """Whether an object says of its list that there are more."""
    found = members(raw) or {}
    info = members(found.get("pageInfo", b"null")) or {}
    has_next = info.get("hasNextPage", b"")
    return has_next.strip() == b"true"


def _count(raw: bytes) -> int | None:
    """A number of records; None where it is none."""
    count = _decoded(raw)
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count if count >= 0 else None


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
