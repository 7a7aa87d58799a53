"""Records that passed the filter of a delta and yet order below their rows: their order, or the source, is not what we
take it for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.secrets import printable

_SHOWN = 3


def contrary_pairs(joined: str, condition: str) -> str:
    """The query for rowversions of some contrary records, with those of their rows.

    Args:
        joined: the staged records s with their rows t.
        condition: which pairs are contrary.
    """
    return (
        f"SELECT s.rowversion, t._bridge_rowversion FROM {joined} WHERE {condition}"
        f" ORDER BY 1 LIMIT {_SHOWN}"
    )


def refuse_contrary(
    request: PublishRequest,
    read: ReadResult,
    count: int,
    pairs: Iterable[Sequence[str]],
) -> None:
    """Stop a run instead of throwing such records away as older versions.

    Args:
        request: of the run, a delta.
        read: of the run.
        count: records that order below their rows and have other content.
        pairs: rowversions of some of them, each with that of its row.

    Raises:
        CursorProtocolError: always.
    """
    entity = request.entity
    shown = "; ".join(
        f"{printable(theirs, 60)!r} where the row has {printable(ours, 60)!r}"
        for theirs, ours in pairs
    )
    raise CursorProtocolError(
        f"{count} records that the source sent as greater than the cursor {entity.position.cursor!r}"
        f" order below their rows under the codec {read.position.codec}, with other content: {shown}."
        " Either rowversions are not ordered so, or the source went back.",
        where=dict(entity.where),
        next_command="declare the codec of the cursor (cursor.codec in the connector's file, or sync-pipelines"
        f" cursor set {entity.path} --clear --codec opaque), or, if the source went back, sync-pipelines sync"
        f" {entity.path} --full-refresh",
    )
