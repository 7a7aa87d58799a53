"""A run that is stopped ends its steps: with real signals, and from the UI."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import dagster as dg

from sync_pipelines.orchestrate import threaded as executor
from sync_pipelines_tests.orchestrate.executor_runs import Run, entity

# The steps write into files what they did.
JOB_FILE = """
import time
from pathlib import Path
import dagster as dg
from sync_pipelines.orchestrate import threaded as executor

HERE = Path(__file__).parent

def mark(name):
    (HERE / name).write_text("")

@dg.op
def polite(): # ends itself when asked
    mark("polite-started")
    executor.cancellation_event().wait(60)
    assert executor.cancelled()
    mark("polite-ended")

@dg.op
def deaf(): # never asks, but runs bytecode
    mark("deaf-started")
    try:
        while True:
            time.sleep(0.05)
    finally:
        mark("deaf-unwound")

@dg.op
def stuck(): # inside C
    mark("stuck-started")
    time.sleep(60)

@dg.op(tags={"dagster/priority": "-1"}) # the one thread takes it last
def pending():
    mark("pending-started")

threaded = executor.threaded_executor.configured({"max_concurrent": 1, "cancel_grace_seconds": 1.0})

def job(op):
    @dg.job(name=f"{op.name}_job", executor_def=threaded)
    def graph():
        op()
        pending()
    return graph

definitions = dg.Definitions(jobs=[job(polite), job(deaf), job(stuck)])
"""


class Command:
    """A `dagster job execute` that has a running step, and how it ends."""

    def __init__(self, directory, kind):
        self.directory, self.started = directory, directory / f"{kind}-started"
        (directory / "jobs.py").write_text(JOB_FILE)
        home = directory / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self.home = home
        command = [
            sys.executable,
            "-m",
            "dagster",
            "job",
            "execute",
            "-f",
            str(directory / "jobs.py"),
            "-j",
            f"{kind}_job",
        ]
        self.output = directory / "output"
        with self.output.open("w") as output:
            environment = {**os.environ, "DAGSTER_HOME": str(home)}
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, cwd=directory
            )

    def __enter__(self):
        deadline = time.monotonic() + 60
        while not self.started.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.output.read_text()
            )
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, signal_number):
        """Send the signal; return the exit code and the run as the database has it."""
        self.process.send_signal(signal_number)
        code = self.process.wait(timeout=20)
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            (run,) = instance.get_runs()
            types = [
                e.dagster_event_type for e in instance.all_logs(run.run_id) if e.dagster_event_type
            ]
        return code, run.status, Counter(event.value for event in types)

    def marks(self):
        return {
            path.name for path in self.directory.iterdir() if "-" in path.name and path.is_file()
        }


def test_sigint_lets_a_polite_step_finish_and_starts_no_other(tmp_path):
    with Command(tmp_path, "polite") as command:
        code, status, events = command.stop(signal.SIGINT)
    assert (code, status) == (1, dg.DagsterRunStatus.CANCELED)
    assert command.marks() == {"polite-started", "polite-ended"}
    assert events["STEP_SUCCESS"] == 1


def test_sigterm_interrupts_a_deaf_step_which_unwinds(tmp_path):
    with Command(tmp_path, "deaf") as command:
        code, status, events = command.stop(signal.SIGTERM)
    assert (code, status) == (1, dg.DagsterRunStatus.CANCELED)
    assert command.marks() == {"deaf-started", "deaf-unwound"}
    assert events["STEP_FAILURE"] == 1


def test_sigterm_leaves_a_stuck_step_behind(tmp_path):
    with Command(tmp_path, "stuck") as command:
        asked_at = time.monotonic()
        code, status, events = command.stop(signal.SIGTERM)
    assert time.monotonic() - asked_at < 20, "the step sleeps for 60 s"
    assert (code, status) == (1, dg.DagsterRunStatus.CANCELED)
    assert command.marks() == {"stuck-started"}
    assert events["STEP_FAILURE"] == 1


def test_a_cancel_while_waiting_for_a_retry_ends_the_run(instance):
    def failing():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise ConnectionError("reset by peer")

    run = Run(
        instance, [entity("e", failing, retry_policy=dg.RetryPolicy(max_retries=1, delay=60))]
    )
    assert run.status == dg.DagsterRunStatus.CANCELED


def test_a_cancel_while_waiting_for_a_pool_ends_the_run_and_leaves_no_claim(instance):
    storage = instance.event_log_storage
    storage.set_concurrency_slots("blocked", 1)
    storage.claim_concurrency_slot("blocked", "another-run", "its-step")
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    run = Run(instance, [entity("e", pool="blocked")])
    assert run.status == dg.DagsterRunStatus.CANCELED
    info = storage.get_concurrency_info("blocked")
    assert [step.run_id for step in info.pending_steps] == ["another-run"]


def test_the_ui_stops_the_run_worker(instance):
    """The UI marks the run CANCELING first, then the code server signals the run worker."""

    def cancel_in_the_ui():
        (run,) = instance.get_runs(limit=1)
        instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGINT)
        executor.cancellation_event().wait(20)

    run = Run(instance, [entity("e", cancel_in_the_ui)])
    assert run.status == dg.DagsterRunStatus.CANCELED
