"""The APISmith protocol (S2): `/api/v1/apis` lists what exists, `/api/v1/data/{slug}` gives pages of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sync_pipelines.errors import BrokenPageError, SourceContractError
from sync_pipelines.secrets import excerpt_of
from sync_pipelines.sources.http.documents import NotADocumentError, decode_document
from sync_pipelines.sources.http.guarded import GuardedSession, T
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.source import PageRequest

APIS_PATH = "/api/v1/apis"


def fetch_apis(session: GuardedSession) -> list[Any]:
    """The list of API descriptions as the source sends it, unchecked beyond being a list.

    Raises:
        SourceContractError: the answer is not a JSON list.
        SyncError: from the session.
    """
    body: bytes = session.for_documents().get(APIS_PATH)
    try:
        answer = decode_document(body)
    except NotADocumentError as error:
        raise BrokenPageError(
            f"{APIS_PATH} did not answer a JSON document, {error}", excerpt=excerpt_of(body)
        ) from None
    if not isinstance(answer, list):
        raise SourceContractError(
            f"{APIS_PATH} did not answer a list of APIs", excerpt=excerpt_of(body)
        )
    return answer


def fetch_data(
    session: GuardedSession,
    slug: str,
    request: PageRequest,
    traffic: Traffic,
    parse: Callable[[bytes], T] = bytes,  # type: ignore[assignment]
    patience_seconds: float | None = None,
) -> T:
    """The result of `parse` for one answer of `/api/v1/data/{slug}`; no `rowversion_gt` is sent without a cursor."""
    query: dict[str, str | int] = {}
    if request.rowversion_gt is not None:
        query["rowversion_gt"] = request.rowversion_gt
    query["page"] = request.number
    query["page_size"] = request.page_size
    return session.get(
        f"/api/v1/data/{slug}",
        query,
        traffic,
        parse,
        patience_seconds,
    )
