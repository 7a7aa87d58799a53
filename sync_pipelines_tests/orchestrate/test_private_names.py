"""Contract: the private names of Dagster that the executor uses exist."""

import importlib
from pathlib import Path

import dagster as dg
import pytest

from sync_pipelines.orchestrate import threaded as executor

PRIVATE_NAMES = {
    "dagster._core.errors": ["DagsterExecutionInterruptedError"],
    "dagster._core.events": ["EngineEventData"],
    "dagster._core.execution.api": ["ExecuteRunWithPlanIterable"],
    "dagster._core.execution.compute_logs": ["create_compute_log_file_key"],
    "dagster._core.execution.context_creation_job": ["PlanExecutionContextManager"],
    "dagster._core.execution.plan.execute_plan": [
        "_trigger_hook",
        "dagster_event_sequence_for_step",
    ],
    "dagster._core.execution.plan.instance_concurrency_context": ["InstanceConcurrencyContext"],
    "dagster._core.execution.plan.objects": ["ErrorSource", "StepFailureData"],
    "dagster._core.execution.retries": ["RetryMode", "get_retries_config"],
    "dagster._core.execution.tags": ["get_tag_concurrency_limits_config"],
    "dagster._utils.error": ["serializable_error_info_from_exc_info"],
}


PRIVATE_MEMBERS = {
    "dagster._core.execution.plan.active:ActiveExecution": [
        "check_for_interrupts",
        "concurrency_event_iterator",
        "get_known_state",
        "get_steps_to_execute",
        "handle_event",
        "is_complete",
        "mark_interrupted",
        "plan_events_iterator",
        "sleep_interval",
    ],
    "dagster._core.execution.plan.plan:ExecutionPlan": [
        "get_steps_to_execute_in_topo_order",
        "start",
    ],
    "dagster._core.execution.plan.instance_concurrency_context:InstanceConcurrencyContext": [
        "claim",
        "free_step",
        "get_pool_info",
    ],
    "dagster:Executor": ["log_failure_or_retry_event_after_error"],
}


@pytest.mark.parametrize("module", PRIVATE_NAMES)
def test_contract_private_dagster_names_exist(module):
    missing = [
        name for name in PRIVATE_NAMES[module] if not hasattr(importlib.import_module(module), name)
    ]
    assert not missing, f"dagster {dg.__version__} moved {module}.{missing}: adapt threaded.py"


@pytest.mark.parametrize("path", PRIVATE_MEMBERS)
def test_contract_private_dagster_members_exist(path):
    module, name = path.split(":")
    owner = getattr(importlib.import_module(module), name)
    missing = [member for member in PRIVATE_MEMBERS[path] if not hasattr(owner, member)]
    assert not missing, f"dagster {dg.__version__} changed {path}.{missing}: adapt threaded.py"


def test_contract_private_dagster_attributes_exist(instance):
    claims = executor.InstanceConcurrencyContext(instance, dg.DagsterRun(job_name="j"))
    assert {"_claims", "_pending_claims", "_pending_timeouts"} <= set(vars(claims))


def test_contract_lists_every_private_import():
    source = Path(executor.__file__).read_text().split("if t.TYPE_CHECKING")[0]
    imported = [
        line.split()[1] for line in source.splitlines() if line.startswith("from dagster._")
    ]
    assert sorted(imported) == sorted(PRIVATE_NAMES)
