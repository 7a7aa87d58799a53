"""How many rows may vanish at once, whatever the destination."""

from __future__ import annotations

from sync_pipelines.errors import VanishedShareError
from sync_pipelines.load.plan import PublishPlan


def check_vanished_share(plan: PublishPlan, vanished: int, live: int) -> None:
    """Refuse to delete more than the configured share of the live rows, unless somebody accepted it.

    Raises:
        VanishedShareError: names the command that accepts it.
    """
    entity, share = plan.entity, plan.entity.max_vanished_share
    if vanished > share * live and not plan.accept_vanished:
        raise VanishedShareError(
            f"A full read misses {vanished} of {live} live rows, more than the share of {share:g} that may vanish at once.",
            where=dict(entity.where),
            next_command=f"sync-pipelines sync {entity.path} --full-refresh --accept-vanished, if it is true",
        )
