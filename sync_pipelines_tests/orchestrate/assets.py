"""One run of the assets, and what it observed and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

ITEMS = dg.AssetKey(["erp", "items"])


Load = Callable[[], dg.Definitions]


def run(definitions: Load, job: str = "sync_erp", **options: Any) -> dg.ExecuteInProcessResult:
    """Execute a job in this process on an ephemeral instance; failures do not raise."""
    return definitions().resolve_job_def(job).execute_in_process(raise_on_error=False, **options)


def observations(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    events = [
        event
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION
    ]
    return [event.asset_observation_data.asset_observation for event in events]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()
    }
