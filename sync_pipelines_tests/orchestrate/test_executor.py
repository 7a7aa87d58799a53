"""The threaded executor, with real Dagster instances, real runs and real signals.

`dg.materialize` and `execute_in_process` replace the executor of a job, so the tests start runs as the run worker does.
"""

import asyncio
import sys
import threading
import time
from collections import Counter

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.storage.compute_log_manager import ComputeIOType

from sync_pipelines.orchestrate import threaded as executor
from sync_pipelines.orchestrate.executor import selected_executor
from sync_pipelines.orchestrate.threaded import threaded_executor
from sync_pipelines_tests.orchestrate.executor_runs import Run, entity


def test_steps_run_at_the_same_time_and_intervals_overlap(instance):
    # Broken unless four steps are inside at once.
    everyone_is_here = threading.Barrier(4, timeout=20)
    run = Run(instance, [entity(f"e{i}", everyone_is_here.wait) for i in range(4)])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    statistics = instance.get_run_step_stats(run.id)
    assert max(step.start_time for step in statistics) < min(step.end_time for step in statistics)


def test_never_more_steps_at_once_than_configured(instance):
    gauge = Gauge(expected=3)
    Run(instance, [entity(f"e{i}", gauge.pass_through) for i in range(9)], threads=3)
    assert gauge.highest == 3


class Gauge:
    """Counts who is inside at once; nobody leaves before `expected` are."""

    def __init__(self, expected: int) -> None:
        self.lock = threading.Lock()
        self.together = threading.Barrier(expected, timeout=20)
        self.inside = 0
        self.highest = 0

    def pass_through(self) -> None:
        with self.lock:
            self.inside += 1
            self.highest = max(self.highest, self.inside)
        self.together.wait()
        time.sleep(0.1)  # one too many would come in now
        with self.lock:
            self.inside -= 1


def test_a_step_that_fails_once_is_retried_and_succeeds(instance):
    attempts = Counter()

    def flaky():
        attempts["flaky"] += 1
        if attempts["flaky"] < 3:
            raise ConnectionError("reset by peer")

    run = Run(
        instance,
        [entity("flaky", flaky, retry_policy=dg.RetryPolicy(max_retries=2)), entity("calm")],
    )
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert attempts["flaky"] == 3
    assert run.steps("STEP_UP_FOR_RETRY") == ["flaky", "flaky"]


def test_a_delayed_retry_waits_while_others_run(instance):
    times = []

    def flaky():
        times.append(time.monotonic())
        if len(times) == 1:
            raise ConnectionError("reset by peer")

    run = Run(
        instance,
        [
            entity("flaky", flaky, retry_policy=dg.RetryPolicy(max_retries=1, delay=1)),
            entity("calm"),
        ],
    )
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert times[1] - times[0] >= 1


def test_retries_can_be_disabled_by_run_config(instance):
    def failing():
        raise ConnectionError("reset by peer")

    policy = dg.RetryPolicy(max_retries=2)
    run = Run(instance, [entity("e", failing, retry_policy=policy)], retries={"disabled": {}})
    assert run.steps("STEP_FAILURE") == ["e"]
    assert run.steps("STEP_RESTARTED") == []


def test_49_of_50_succeed_when_one_fails(instance):
    def bad():
        raise ValueError("the source sent nonsense")

    run = Run(instance, [entity("bad", bad), *(entity(f"e{i}") for i in range(49))], threads=10)
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.steps("STEP_FAILURE") == ["bad"]
    assert len(run.steps("STEP_SUCCESS")) == 49


@pytest.mark.parametrize("error", [ValueError("nonsense"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_step_raises_is_its_own_failure_with_full_stack(instance, error):
    def raise_it():
        raise error

    run = Run(instance, [entity("bad", raise_it), entity("good")])
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.steps("STEP_SUCCESS") == ["good"]
    assert "in raise_it" in run.failure("bad").to_string()
    assert type(error).__name__ in run.failure("bad").to_string()


def test_an_error_outside_dagsters_own_handling_still_fails_only_its_step(instance, monkeypatch):
    original = executor.dagster_event_sequence_for_step

    def lose_the_database(context):
        if context.step.key == "bad":
            raise OSError("event database is gone")
        yield from original(context)

    monkeypatch.setattr(executor, "dagster_event_sequence_for_step", lose_the_database)
    run = Run(instance, [entity("bad"), entity("good")])
    assert run.steps("STEP_SUCCESS") == ["good"]
    assert "in lose_the_database" in run.failure("bad").to_string()


def test_a_pool_limit_of_two_is_never_exceeded_and_its_slots_are_refilled_at_once(instance):
    instance.event_log_storage.set_concurrency_slots("refilled", 2)
    gauge = Gauge(expected=2)
    run = Run(
        instance,
        [entity(f"e{i}", gauge.pass_through, pool="refilled") for i in range(12)],
        threads=8,
    )
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert gauge.highest == 2
    assert instance.event_log_storage.get_concurrency_info("refilled").claimed_slots == []
    # Dagster's own claims leave a step "blocked" for at least 1 s each; ours never queue behind themselves.
    assert not any("blocked" in (event.message or "") for event in run.events)


def test_steps_outside_a_full_pool_are_not_held_up(instance):
    instance.event_log_storage.set_concurrency_slots("beside", 1)
    both = threading.Barrier(2, timeout=20)
    pooled = [
        entity(f"p{i}", both.wait if i == 0 else lambda: None, pool="beside") for i in range(3)
    ]
    run = Run(instance, [*pooled, entity("free", both.wait)], threads=2)
    assert run.status == dg.DagsterRunStatus.SUCCESS


def test_a_slot_held_by_another_run_is_waited_for(instance):
    storage = instance.event_log_storage
    storage.set_concurrency_slots("awaited", 1)
    storage.claim_concurrency_slot("awaited", "another-run", "its-step")
    release = threading.Timer(
        1.0, storage.free_concurrency_slot_for_step, ("another-run", "its-step")
    )
    release.start()
    run = Run(instance, [entity("e", pool="awaited")])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    release.join()


def checked_entity(name, passed):
    spec = dg.AssetCheckSpec("valid", asset=name, blocking=True)

    @dg.multi_asset(name=name, specs=[dg.AssetSpec(name)], check_specs=[spec])
    def asset():
        result = dg.AssetCheckResult(asset_key=name, check_name="valid", passed=passed)
        yield dg.MaterializeResult(asset_key=name, check_results=[result])

    return asset


def test_a_blocking_check_skips_only_its_own_downstream(instance):
    def model(name, source):
        return dg.asset(name=name, deps=[source])(lambda: None)

    assets = [
        checked_entity("bad", False),
        checked_entity("good", True),
        model("of_bad", "bad"),
        model("of_good", "good"),
    ]
    run = Run(instance, assets)
    assert run.steps("STEP_FAILURE") == ["bad"]
    assert sorted(run.steps("STEP_SUCCESS")) == ["good", "of_good"]
    assert sorted(run.steps("ASSET_MATERIALIZATION")) == ["bad", "good", "of_good"]


def test_values_pass_from_step_to_step(instance):
    @dg.asset
    def numbers():
        return [1, 2, 3]

    @dg.asset
    def total(numbers):
        return sum(numbers)

    run = Run(instance, [numbers, total])
    assert run.steps("STEP_SUCCESS") == ["numbers", "total"]


def test_async_steps_run_beside_each_other(instance):
    def slow(name):
        @dg.asset(name=name)
        async def asset():
            await asyncio.sleep(0.2)

        return asset

    run = Run(instance, [slow("a"), slow("b"), slow("c")])
    assert sorted(run.steps("STEP_SUCCESS")) == ["a", "b", "c"]


def test_hooks_are_called(instance):
    called = []

    @dg.success_hook
    def remember(context):
        called.append(context.op.name)

    entity_job = dg.define_asset_job("sync", selection="*", hooks={remember})
    definitions = dg.Definitions(
        [entity("a"), entity("b")], jobs=[entity_job], executor=threaded_executor
    )
    job = definitions.resolve_job_def("sync")
    run = instance.create_run_for_job(job)
    events = list(execute_run_iterator(InMemoryJob(job), run, instance))
    assert sorted(called) == ["a", "b"]
    assert [e.event_type_value for e in events].count("HOOK_COMPLETED") == 2


def test_compute_logs_hold_what_steps_print(instance):
    def shout():
        print("page 1 of 7")
        print("slow source", file=sys.stderr)

    run = Run(instance, [entity("a", shout), entity("b", shout)])
    (captured,) = (e for e in run.events if e.event_type_value == "LOGS_CAPTURED")
    assert sorted(captured.event_specific_data.step_keys) == ["a", "b"]
    manager = instance.compute_log_manager
    log_key = manager.build_log_key_for_run(run.id, captured.event_specific_data.file_key)
    assert (
        manager.get_log_data_for_type(log_key, ComputeIOType.STDOUT, 0, None)[0].count(
            b"page 1 of 7"
        )
        == 2
    )
    assert (
        b"slow source" in manager.get_log_data_for_type(log_key, ComputeIOType.STDERR, 0, None)[0]
    )
    assert manager.is_capture_complete(log_key)


def test_no_thread_is_left_after_a_run(instance):
    before = threading.active_count()
    Run(instance, [entity(f"e{i}") for i in range(8)])
    assert threading.active_count() <= before


def test_outside_a_run_nothing_is_cancelled():
    assert executor.cancelled() is False
    assert executor.cancellation_event().wait(0) is False


# Selection
@pytest.mark.parametrize(
    ("value", "name"), [(None, "threaded"), ("threaded", "threaded"), ("in_process", "in_process")]
)
def test_the_environment_selects_the_executor(monkeypatch, value, name):
    monkeypatch.delenv("SYNC_PIPELINES_EXECUTOR", raising=False)
    if value is not None:
        monkeypatch.setenv("SYNC_PIPELINES_EXECUTOR", value)
    assert selected_executor().name == name


def test_an_unknown_executor_is_refused_with_the_allowed_names(monkeypatch):
    monkeypatch.setenv("SYNC_PIPELINES_EXECUTOR", "multiprocess")
    with pytest.raises(
        ValueError, match="SYNC_PIPELINES_EXECUTOR='multiprocess'.*'threaded' and 'in_process'"
    ):
        selected_executor()


def test_threads_come_from_the_environment(monkeypatch, instance):
    monkeypatch.setenv("SYNC_WORKER_THREADS", "2")
    gauge = Gauge(expected=2)
    run = Run(instance, [entity(f"e{i}", gauge.pass_through) for i in range(6)], threads=None)
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert gauge.highest == 2


@pytest.mark.parametrize("value", ["0", "-1", "four", "2.5"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch, value):
    monkeypatch.setenv("SYNC_WORKER_THREADS", value)
    with pytest.raises(ValueError, match=f"SYNC_WORKER_THREADS='{value}'"):
        executor.default_threads()
