"""Runs the steps of a run on threads of the run's own process, a step per entity.

Dagster ships one-after-the-other or a process (3 s) per step; see docs/decisions/0002-threaded-executor.md for the
measurements, and ``sync_pipelines_tests/orchestrate/test_private_names.py`` for the private Dagster names used here.

The main thread owns the plan (`_ThreadedRun`); each step has a daemon thread (`_Worker`) that only posts events.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import dataclasses
import os
import queue
import sys
import threading
import time
import typing as t
from collections import defaultdict
from contextlib import ExitStack

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.compute_logs import create_compute_log_file_key
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import _trigger_hook, dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._utils.error import serializable_error_info_from_exc_info

from sync_pipelines.orchestrate.cancellation import _cancellation, cancellation_event, cancelled
from sync_pipelines.settings import load_settings

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster._core.execution.context.system import (
        PlanExecutionContext,
        PlanOrchestrationContext,
        StepExecutionContext,
    )
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.plan import ExecutionPlan

__all__ = [
    "ThreadedExecutor",
    "cancellation_event",
    "cancelled",
    "threaded_executor",
]

THREADS_VARIABLE = "SYNC_WORKER_THREADS"
DEFAULT_GRACE_SECONDS = 5
POLL_SECONDS = 0.2
"""How late a signal, a retry that became due or a freed pool slot may be noticed."""
UNWIND_SECONDS = 2.0
"""How long an interrupted step may run its ``finally`` blocks; with the grace below the 10 s of ``docker stop``."""


def default_threads() -> int:
    """Return the number of steps run at once when the run config names none: SYNC_WORKER_THREADS of environment or
    `.env`.
    """
    text = os.environ.get(THREADS_VARIABLE, "").strip()
    if not text:
        return load_settings().runs.sync_worker_threads
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{THREADS_VARIABLE}={text!r}: expected a whole number of at least 1.")
    return int(text)


class _PoolClaims(InstanceConcurrencyContext):
    """Claims no more slots of a pool than it has, so that a freed slot is taken at once.

    Dagster lets every waiting step of a run queue for the pool in the database and look again after 1 to 15 s.
    """

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        self._asked: defaultdict[str, set[str]] = defaultdict(set)

    def claim(
        self,
        concurrency_key: str,
        step_key: str,
        step_priority: int = 0,
    ) -> bool:
        """Claim a slot, unless this run already holds or awaits as many as the pool has."""
        pool = self.get_pool_info(concurrency_key)
        asked = self._asked[concurrency_key]
        if pool and step_key not in asked and len(asked) >= max(pool.limit, 1):
            return False
        claimed = super().claim(concurrency_key, step_key, step_priority)
        if step_key in self._claims or step_key in self._pending_claims:
            asked.add(step_key)
        return claimed

    def free_step(self, step_key: str) -> None:
        """Free the slot of a step and let the steps waiting for that pool look at once."""
        super().free_step(step_key)
        for asked in self._asked.values():
            if step_key in asked:
                asked.discard(step_key)
                self._pending_timeouts.update(dict.fromkeys(asked & self._pending_claims, 0.0))


@dataclasses.dataclass(eq=False)
class _Worker:
    """The thread of one attempt of one step."""

    context: StepExecutionContext
    cancel: threading.Event
    inbox: Inbox
    settled: bool = False
    thread: threading.Thread = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        variables = contextvars.copy_context()
        self.thread = threading.Thread(
            target=variables.run,
            args=(self._work,),
            name=f"step {self.key}",
            daemon=True,
        )

    @property
    def key(self) -> str:
        return self.context.step.key

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            self._post_events()
        except BaseException as exc:  # noqa: BLE001 - whatever ends the thread must reach the main thread
            error = exc
        self.inbox.put((self, error))

    def _post_events(self) -> None:
        _cancellation.set(self.cancel)
        # One loop per step: async ops of two threads cannot share the run's loop.
        self.context._event_loop = loop = asyncio.new_event_loop()
        events: list[dg.DagsterEvent] = []
        try:
            for event in dagster_event_sequence_for_step(self.context):
                events.append(event)
                self.inbox.put((self, event))
            for event in _trigger_hook(self.context, events):
                self.inbox.put((self, event))
        finally:
            loop.close()

    def interrupt(self) -> None:
        """Raise in the thread at its next bytecode, as the in-process executor does in the main thread."""
        if self.thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread.ident),
                ctypes.py_object(DagsterExecutionInterruptedError),
            )


Item = dg.DagsterEvent | BaseException | None
"""What a worker posts: an event, at last what ended it, or None where it ended by itself."""
Inbox = queue.SimpleQueue[tuple[_Worker, Item]]


class _ThreadedRun:
    """Drives the plan of one run; every method runs in the main thread."""

    def __init__(
        self,
        executor: ThreadedExecutor,
        context: PlanExecutionContext,
        active: ActiveExecution,
    ) -> None:
        self.executor = executor
        self.context = context
        self.active = active
        self.cancel = threading.Event()
        self.inbox: Inbox = queue.SimpleQueue()
        self.workers: set[_Worker] = set()
        self.interrupt_at = self.abandon_at = float("inf")
        self.first_error: BaseException | None = None

    def events(self) -> Iterator[dg.DagsterEvent]:
        """Yield the events of all steps until the plan is complete or the run is cancelled."""
        try:
            while not self._is_over():
                if not self.cancel.is_set() and self.active.check_for_interrupts():
                    yield from self._begin_cancellation()
                if self.cancel.is_set():
                    yield from self._escalate()
                else:
                    yield from self._start_ready_steps()
                yield from self._receive()
        finally:
            self._stop_workers()
        if self.cancel.is_set():
            raise DagsterExecutionInterruptedError("The run was cancelled.")
        if self.first_error is not None and self.context.raise_on_error:
            raise self.first_error

    def _is_over(self) -> bool:
        if self.workers:
            return False
        return self.cancel.is_set() or self.active.is_complete

    def _start_ready_steps(self) -> Iterator[dg.DagsterEvent]:
        yield from self.active.plan_events_iterator(self.context)
        free = self.executor.max_concurrent - len(self.workers)
        if free <= 0 or self.active.is_complete:
            return
        for step in self.active.get_steps_to_execute(limit=free):
            step_context = self.context.for_step(step, self.active.get_known_state())
            worker = _Worker(step_context, self.cancel, self.inbox)
            self.workers.add(worker)
            worker.thread.start()
        yield from self.active.concurrency_event_iterator(self.context)

    def _receive(self) -> Iterator[dg.DagsterEvent]:
        """Wait for one message, then take all there are."""
        if self._is_over():
            return
        try:
            message = self.inbox.get(timeout=self._patience())
            while True:
                yield from self._handle(*message)
                message = self.inbox.get_nowait()
        except queue.Empty:
            yield from self._end_lost_workers()

    def _patience(self) -> float:
        due_in = self.active.sleep_interval()
        return min(due_in, POLL_SECONDS) if due_in > 0 else POLL_SECONDS

    def _handle(
        self,
        worker: _Worker,
        item: dg.DagsterEvent | BaseException | None,
    ) -> Iterator[dg.DagsterEvent]:
        if worker not in self.workers:  # abandoned: its failure is already reported
            return
        if isinstance(item, dg.DagsterEvent):
            yield from self._record(worker, item)
            return
        self.workers.discard(worker)
        self.first_error = self.first_error or item
        if not worker.settled:
            error = item or RuntimeError("the step ended without a result")
            yield from self._record(worker, self._failure(worker, error))

    def _record(self, worker: _Worker, event: dg.DagsterEvent) -> Iterator[dg.DagsterEvent]:
        yield event
        worker.settled |= (
            event.is_step_success or event.is_step_failure or event.is_step_up_for_retry
        )
        self.active.handle_event(event)

    def _end_lost_workers(self) -> Iterator[dg.DagsterEvent]:
        """End workers that died without a last message: interrupted in the very act of posting it."""
        dead = [worker for worker in self.workers if not worker.thread.is_alive()]
        if dead and self.inbox.empty():
            for worker in dead:
                yield from self._handle(
                    worker, DagsterExecutionInterruptedError("the thread was interrupted")
                )

    def _failure(self, worker: _Worker, error: BaseException) -> dg.DagsterEvent:
        """Build the event for what escaped Dagster's own handling of a step, such as a lost event database."""
        try:
            raise error  # Dagster wants a traceback, which an error that was never raised has not
        except BaseException:  # noqa: BLE001
            info = serializable_error_info_from_exc_info(sys.exc_info())
        if not self.cancel.is_set():
            known_state = self.active.get_known_state()
            return self.executor.log_failure_or_retry_event_after_error(
                worker.context, info, known_state
            )
        data = StepFailureData(
            error=info, user_failure_data=None, error_source=ErrorSource.INTERRUPT
        )
        return dg.DagsterEvent.step_failure_event(worker.context, data)

    def _begin_cancellation(self) -> Iterator[dg.DagsterEvent]:
        self.cancel.set()
        self.active.mark_interrupted()
        self.interrupt_at = time.monotonic() + self.executor.cancel_grace_seconds
        self.abandon_at = self.interrupt_at + UNWIND_SECONDS
        yield dg.DagsterEvent.engine_event(
            self.context,
            f"Cancelling: {len(self.workers)} running steps have {self.executor.cancel_grace_seconds} s to finish.",
            EngineEventData.interrupted([worker.key for worker in self.workers]),
        )
        self._mark_run_canceling()

    def _mark_run_canceling(self) -> None:
        """Mark the run after a bare SIGINT or SIGTERM as cancelled, too; else Dagster reports it as failed."""
        instance = self.context.instance
        run_id = self.context.run_id
        run = instance.get_run_by_id(run_id)
        if (
            run
            and run.status == dg.DagsterRunStatus.STARTED
            and not instance.run_will_resume(run_id)
        ):
            instance.report_run_canceling(run, message="Received a signal to stop.")

    def _escalate(self) -> Iterator[dg.DagsterEvent]:
        now = time.monotonic()
        if now >= self.interrupt_at:
            self.interrupt_at = float("inf")
            for worker in self.workers:
                worker.interrupt()
        if now >= self.abandon_at:
            for worker in list(self.workers):
                error = DagsterExecutionInterruptedError(
                    "the step did not stop in time; its thread is left behind"
                )
                yield from self._handle(worker, error)

    def _stop_workers(self) -> None:
        """On a crash of the main loop: leave no step running behind an ended run."""
        if self.workers:
            self.cancel.set()
        for worker in self.workers:
            worker.interrupt()
            worker.thread.join(UNWIND_SECONDS)


@dataclasses.dataclass(frozen=True)
class ThreadedExecutor(dg.Executor):
    """Runs up to `max_concurrent` steps of a run at once, each on a thread."""

    max_concurrent: int
    cancel_grace_seconds: float = DEFAULT_GRACE_SECONDS
    retry_mode: RetryMode = RetryMode.ENABLED
    tag_concurrency_limits: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)

    @property
    def retries(self) -> RetryMode:
        """Whether steps with a RetryPolicy are retried."""
        return self.retry_mode

    def execute(
        self,
        plan_context: PlanOrchestrationContext,
        execution_plan: ExecutionPlan,
    ) -> Iterator[dg.DagsterEvent]:
        """Yield the events of the run's steps."""
        data = EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute)
        message = f"Executing steps on {self.max_concurrent} threads (pid: {os.getpid()})"
        yield dg.DagsterEvent.engine_event(plan_context, message, data)
        started_at = time.monotonic()
        manager = PlanExecutionContextManager(
            job=plan_context.job,
            retry_mode=plan_context.retry_mode,
            execution_plan=plan_context.execution_plan,
            run_config=plan_context.run_config,
            dagster_run=plan_context.dagster_run,
            instance=plan_context.instance,
            raise_on_error=plan_context.raise_on_error,
            output_capture=plan_context.output_capture,
        )
        yield from ExecuteRunWithPlanIterable(
            plan_context.execution_plan,
            self._run_plan,
            manager,
        )
        message = f"Finished steps on threads in {time.monotonic() - started_at:.1f} s (pid: {os.getpid()})"
        yield dg.DagsterEvent.engine_event(plan_context, message, data)

    def _run_plan(
        self,
        job_context: PlanExecutionContext,
        execution_plan: ExecutionPlan,
    ) -> Iterator[dg.DagsterEvent]:
        step_keys = [step.key for step in execution_plan.get_steps_to_execute_in_topo_order()]
        with ExitStack() as stack:
            claims = stack.enter_context(_PoolClaims(job_context.instance, job_context.dagster_run))
            active = stack.enter_context(
                execution_plan.start(
                    retry_mode=job_context.retry_mode,
                    tag_concurrency_limits=self.tag_concurrency_limits,
                    instance_concurrency_context=claims,
                )
            )
            capture = ExitStack()
            stack.callback(_end_capture, job_context, capture)
            yield _begin_capture(job_context, step_keys, capture)
            yield from _ThreadedRun(self, job_context, active).events()


def _begin_capture(
    context: PlanExecutionContext,
    step_keys: list[str],
    capture: ExitStack,
) -> dg.DagsterEvent:
    """Capture stdout and stderr once for all steps: both belong to the process, not to a thread."""
    manager = context.instance.compute_log_manager
    log_key = manager.build_log_key_for_run(context.run_id, create_compute_log_file_key())
    try:
        log_context = capture.enter_context(manager.capture_logs(log_key))
    except Exception:  # noqa: BLE001 - a run without captured output is better than no run
        error = EngineEventData(error=serializable_error_info_from_exc_info(sys.exc_info()))
        return dg.DagsterEvent.engine_event(
            context, "Exception while setting up compute log capture", error
        )
    event: dg.DagsterEvent = dg.DagsterEvent.capture_logs(
        context,
        step_keys,
        log_key,
        log_context,
    )
    return event


def _end_capture(context: PlanExecutionContext, capture: ExitStack) -> None:
    try:
        capture.close()
    except Exception:  # the steps are done; their output is not worth a failed run
        context.log.exception("Exception while ending compute log capture")


@dg.executor(
    name="threaded",
    config_schema={
        "max_concurrent": dg.Field(
            dg.Noneable(int),
            default_value=None,
            description=f"Steps run at once; default ${THREADS_VARIABLE}, else 4.",
        ),
        "cancel_grace_seconds": dg.Field(
            dg.Noneable(float),
            default_value=None,
            description="Time for running steps to end themselves on cancel.",
        ),
        "retries": get_retries_config(),
        "tag_concurrency_limits": get_tag_concurrency_limits_config(),
    },
)
def threaded_executor(init_context: dg.InitExecutorContext) -> ThreadedExecutor:
    """Run the steps of a run on threads of one process, a step per entity."""
    config = t.cast("dict[str, t.Any]", init_context.executor_config)
    threads = (
        config["max_concurrent"] if config["max_concurrent"] is not None else default_threads()
    )
    if threads < 1:
        raise ValueError(f"max_concurrent={threads}: expected a whole number of at least 1.")
    grace = config["cancel_grace_seconds"]
    return ThreadedExecutor(
        max_concurrent=threads,
        cancel_grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else grace,
        retry_mode=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        tag_concurrency_limits=config.get("tag_concurrency_limits") or [],
    )
