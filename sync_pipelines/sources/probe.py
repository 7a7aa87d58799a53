"""Whether the answer to a probe is news."""

from __future__ import annotations

from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.model.cursor import Codec, order_key

UNVERSIONED = "(none)"


def is_news(
    codec: Codec,
    seen: str,
    first: str | None,
    found_before: str | None,
) -> bool:
    """Whether the answer to a probe is worth a sync.

    A record that already started one and is still not read, for whatever reason, starts no other: the intervals go on.
    Nor does one that is not after `seen`, from a source that ignores the filter.

    Args:
        codec: of the entity.
        seen: the highest rowversion that was read and published.
        first: what `Prober.first_after` returned.
        found_before: the rowversion by which an earlier probe started a sync.
    """
    if first is None or first in (found_before, seen):
        return False
    if codec is Codec.OPAQUE:
        return True
    try:
        return bool(order_key(codec, first) > order_key(codec, seen))
    except CursorProtocolError:
        return True  # the error of a sync names what is wrong with it
