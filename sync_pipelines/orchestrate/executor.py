"""Which executor runs the steps: threads by default, Dagster's own one after the other as the configured fallback.

The threaded one uses private names of Dagster and is imported only when it is chosen, so that the fallback still works
after an upgrade that moved them.
"""

from __future__ import annotations

import os

import dagster as dg

EXECUTOR_VARIABLE = "SYNC_PIPELINES_EXECUTOR"


def selected_executor() -> dg.ExecutorDefinition:
    """Return the executor that SYNC_PIPELINES_EXECUTOR names: ``threaded`` (default) or ``in_process``."""
    name = os.environ.get(EXECUTOR_VARIABLE, "").strip() or "threaded"
    if name == "in_process":
        return dg.in_process_executor
    if name != "threaded":
        raise ValueError(
            f"{EXECUTOR_VARIABLE}={name!r}: allowed values are 'threaded' and 'in_process'."
        )
    # Deferred: the fallback must work where the private names that this needs have moved.
    from sync_pipelines.orchestrate.threaded import threaded_executor

    return threaded_executor
