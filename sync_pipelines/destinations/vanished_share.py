"""How many rows may vanish at once, whatever the destination."""

from __future__ import annotations

from sync_pipelines.model.publish import PublishRequest


def must_hold(request: PublishRequest, vanished: int, live: int) -> bool:
    """Whether the rows that a full read misses must stay: more than the configured share of the live ones, and nobody
    accepted it.
    """
    return (
        vanished > request.entity.policy.max_vanished_share * live and not request.accept_vanished
    )
