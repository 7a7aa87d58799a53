"""How many rows may vanish at once, whatever the destination."""

from __future__ import annotations

from sync_pipelines.books.publish_plan import PublishPlan


def must_hold(plan: PublishPlan, vanished: int, live: int) -> bool:
    """Whether the rows that a full read misses must stay: more than the configured share of the live ones, and nobody
    accepted it.
    """
    return vanished > plan.entity.max_vanished_share * live and not plan.accept_vanished
