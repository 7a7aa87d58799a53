"""The freshness that Dagster shows on an asset: late and in error as the status words say."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.freshness import freshness_windows, plan_freshness
from sync_pipelines.settings import load_settings

MIN_WINDOW_SECONDS = 60


def freshness_policy(entity: Entity) -> dg.FreshnessPolicy | None:
    """Warn beyond one interval, fail beyond two; None for an entity that nobody syncs.

    Dagster measures materializations, in whole evaluations of 30 s, and knows no window below a minute. Every interval
    ends in a run, and so in a materialization, whether or not the source had news.
    """
    if not plan_freshness(entity.status, sync_enabled=entity.policy.sync_enabled):
        return None
    windows = freshness_windows(
        entity.policy.sync_interval_seconds, load_settings().alerts.freshness_grace_seconds
    )
    warn = max(MIN_WINDOW_SECONDS, windows.late_seconds)
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(seconds=max(warn + 1, windows.error_seconds)),
        warn_window=timedelta(seconds=warn),
    )
