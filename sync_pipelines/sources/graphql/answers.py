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
from sync_pipelines.secrets import printable

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
        total: records in all, where the answer says so.
    """

    has_next: bool
    end_cursor: str | None = None
    total: int | None = None


def check_errors(body: bytes) -> None:
    """Refuse an answer with errors, also one that has data beside them: nobody knows what of it is missing.

    Raises:
        BrokenPageError: no JSON.
        SourceBusyError: a rate limit.
        AuthenticationError: the credentials do not reach that far.
        SourceContractError: any other error, with its message.
    """
    found = members(body)
    if found is None:
        raise SourceContractError("The answer is no JSON object", excerpt=_shown(body))
    errors = found.get("errors", b"").strip()
    if errors not in _NOTHING:
        has_data = found.get("data", b"").strip() not in (*_NOTHING, b"{}")
        raise _refusal(errors, has_data=has_data)
    if found.get("data", b"").strip() in _NOTHING:
        raise SourceContractError("The answer has neither data nor errors", excerpt=_shown(body))


def _refusal(raw: bytes, *, has_data: bool) -> SyncError:
    told = _decoded(raw)
    errors = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    codes = {
        str(code).upper()
        for one in errors
        for code in (one.get("type"), *_extensions(one))
        if code is not None
    }
    if codes & _BUSY:
        return SourceBusyError(
            f"The source answered with an error of its rate limit ({_words(codes & _BUSY)})."
        )
    if codes & _REFUSED:
        return AuthenticationError(
            f"The source answered with an error of authorization ({_words(codes & _REFUSED)})."
        )
    messages = [
        str(one.get("message", "an error without message")) for one in errors[:SHOWN_ERRORS]
    ]
    shown = "; ".join(messages) or raw.decode("utf-8", errors="backslashreplace")
    more = f"; and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
    beside = " beside its data, of which nobody knows what is missing" if has_data else ""
    return SourceContractError(
        f"The answer has errors{beside}",
        excerpt=f"{printable(shown, 400)}{more}",
        next_command="compare `query` and `variables` in the connector's file with the schema of the source",
    )


def _extensions(error: dict[str, Any]) -> tuple[Any, ...]:
    extensions = error.get("extensions")
    return (extensions.get("code"), extensions.get("type")) if isinstance(extensions, dict) else ()


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
            "The answer has no pageInfo beside its records, so nothing tells whether there are more.",
            next_command="ask for pageInfo { hasNextPage endCursor } in `query`",
        )
    has_next = info.get("hasNextPage", b"").strip()
    if has_next not in (b"true", b"false"):
        raise SourceContractError(
            "pageInfo has no hasNextPage, so nothing tells whether there are more.",
            next_command="ask for pageInfo { hasNextPage endCursor } in `query`",
        )
    total = _decoded(found.get("totalCount", b"null"))
    total = total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None
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
    info = members((members(raw) or {}).get("pageInfo", b"null")) or {}
    return info.get("hasNextPage", b"").strip() == b"true"


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _shown(body: bytes) -> str:
    return printable(body[:100_000].decode("utf-8", errors="backslashreplace"), 200) or "(empty)"
