"""One cheap look at an entity: does the source have anything newer than what was published last?"""

from __future__ import annotations

from sync_pipelines.batches.records import rowversion_of, split_records
from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.declaration import Endpoint
from sync_pipelines.sources.apismith.protocol import fetch_data
from sync_pipelines.sources.http.guarded import GuardedSession, Traffic
from sync_pipelines.sources.rest.adapter import query_of, url_of
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines.sources.rest.translate import Translator

UNVERSIONED = "(none)"


def probe_entity(
    session: GuardedSession,
    slug: str,
    seen: str,
    patience_seconds: float | None = None,
    endpoint: Endpoint | None = None,
) -> str | None:
    """Ask for the first record after a rowversion, in one request.

    Args:
        session: of the connector.
        slug: the entity.
        seen: the rowversion.
        patience_seconds: how long to wait for a turn of the rate limit; None = as long as it takes.
        endpoint: the entity's declaration, which must be sorted by its cursor; None for an APISmith source.

    Returns:
        Its rowversion, `UNVERSIONED` when it has none, None when there is no record.

    Raises:
        SyncError: from the session, or an answer that is no page.
    """
    if endpoint is None:
        records = fetch_data(session, slug, seen, 1, 1, Traffic(), split_records, patience_seconds)
    else:
        pages = Pages(endpoint, url_of(session, endpoint), query_of(endpoint, seen), 1)
        translator = Translator(endpoint, [column.name for column in endpoint.columns or ()])
        records = session.request(
            "GET",
            pages.request.url,
            pages.query,
            parse=lambda reply: split_records(translator.translate(reply.body).body),
            patience_seconds=patience_seconds,
        )
    return (rowversion_of(records[0]) or UNVERSIONED) if records else None


def is_news(codec: Codec, seen: str, first: str | None, found_before: str | None) -> bool:
    """Whether the answer to a probe is worth a sync.

    A record that already started one and is still not read, for whatever reason, starts no other: the intervals go on.
    Nor does one that is not after `seen`, from a source that ignores the filter.

    Args:
        codec: of the entity.
        seen: the highest rowversion that was read and published.
        first: what `probe_entity` returned.
        found_before: the rowversion by which an earlier probe started a sync.
    """
    if first is None or first in (found_before, seen):
        return False
    if codec is Codec.OPAQUE:
        return True
    try:
        return bool(order_key(codec, first) > order_key(codec, seen))
    except CursorProtocolError:
        return True  # a sync will tell what is wrong with it
