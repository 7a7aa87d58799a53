"""A run's figures under names that a person chose."""

from __future__ import annotations

from collections.abc import Mapping

from sync_pipelines.model.run import Ledger
from sync_pipelines.sources.http.traffic import Traffic


def named_metrics(
    metrics: Mapping[str, str],
    ledger: Ledger,
    traffic: Traffic,
    page_size: int,
    duration_seconds: float,
) -> dict[str, float]:
    """A run's figures under the names that the declaration gives them."""
    if not metrics:
        return {}
    mean_seconds = 0.0
    if traffic.seconds:
        mean_seconds = sum(traffic.seconds) / len(traffic.seconds)
    figures = {
        **ledger.as_dict(),
        "valid": ledger.fetched - ledger.quarantined,
        "page_size": page_size,
        "requests": traffic.requests,
        "api_seconds_mean": round(mean_seconds, 6),
        "api_seconds_p95": round(traffic.percentile_seconds(0.95), 6),
        "api_seconds_max": round(traffic.percentile_seconds(1.0), 6),
        "duration_seconds": round(duration_seconds, 6),
    }
    named = {}
    for name, source in metrics.items():
        named[name] = figures[source]
    return named
