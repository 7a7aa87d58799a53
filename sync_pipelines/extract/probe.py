"""One cheap look at an entity: does the source have anything newer than what was published last?"""

from __future__ import annotations

from sync_pipelines.errors import BrokenPageError, CursorProtocolError
from sync_pipelines.extract.apismith import fetch_data
from sync_pipelines.extract.http import GuardedSession, Traffic
from sync_pipelines.extract.records import rowversion_of, split_records, without_excerpt
from sync_pipelines.model.cursor import Codec, order_key

UNVERSIONED = "(none)"


def probe_entity(session: GuardedSession, slug: str, seen: str, patience_seconds: float | None = None) -> str | None:
    """Ask for the first record after a rowversion, in one request.

    Returns:
        Its rowversion, `UNVERSIONED` when it has none, None when there is no record.

    Raises:
        SyncError: from the session, or an answer that is no page.
    """
    try:
        records = fetch_data(session, slug, seen, 1, 1, Traffic(), split_records, patience_seconds)
    except BrokenPageError as error:
        # A probe knows nothing of masks.
        raise without_excerpt(error, "a sync shows how it begins.") from None
    return (rowversion_of(records[0]) or UNVERSIONED) if records else None


def is_news(codec: Codec, seen: str, first: str | None, found_before: str | None) -> bool:
    """Whether the answer to a probe is worth a sync.

    A record that already started one and is still not read, for whatever reason, starts no other: the intervals go on. Nor does
    one that is not after `seen`, from a source that ignores the filter.

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
