"""The queue of runs, as long and as fast as the machine can bear: named by dagster.yaml.

A run that is launched is a process which imports Dagster and the definitions. When more are launched than there are
cores, each takes longer than the caller waits, and runs are lost that nothing was wrong with.
"""

from __future__ import annotations

import os
import typing as t

from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from sync_pipelines.supervise.cores import usable_cores

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster._serdes import ConfigurableClassData

RUNS_VARIABLE = "SYNC_PIPELINES_MAX_RUNS"
MOST_RUNS = 10
RUNS_PER_CORE = 3
MOST_LAUNCHES = 4


def runs_at_once(cores: int) -> int:
    """Return how many runs may be in progress: SYNC_PIPELINES_MAX_RUNS, else three for each core and at most ten.

    Raises:
        ValueError: the variable is no whole number of at least 1.
    """
    wanted = os.environ.get(RUNS_VARIABLE, "").strip()
    if not wanted:
        return min(MOST_RUNS, RUNS_PER_CORE * cores)
    if not wanted.isascii() or not wanted.isdigit() or int(wanted) < 1:
        raise ValueError(f"{RUNS_VARIABLE} must be a whole number of at least 1.")
    return int(wanted)


def launches_at_once(cores: int) -> int:
    """Return how many runs may be launched at the same time: one for each core, at most four."""
    return min(MOST_LAUNCHES, cores)


class MachineSizedRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue; what dagster.yaml does not size is sized by the machine."""

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData,
        config_value: Mapping[str, t.Any],
    ) -> t.Self:
        """Return the coordinator for this machine."""
        cores = usable_cores()
        sized = {
            "max_concurrent_runs": runs_at_once(cores),
            "dequeue_num_workers": launches_at_once(cores),
        }
        return super().from_config_value(inst_data, {**sized, **config_value})
