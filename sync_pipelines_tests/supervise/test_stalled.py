"""A real code server that stalls, and parts of it that are killed: it answers again, and runs are not lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sync_pipelines.cli.shell.homes import python_module
from sync_pipelines.cli.shell.processes import Children
from sync_pipelines.supervise.ping import Pulse, ping, target_of
from sync_pipelines_tests.orchestrate.processes import RunningDagster, start_dagster, wait_for
from sync_pipelines_tests.world import World

pytestmark = pytest.mark.timeout(900)
HEARTBEAT_SECONDS = "3"


@pytest.fixture(scope="module")
def dagster(
    module_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningDagster]:
    """Its inner server gives up after seconds without a heartbeat, and not after minutes as it does in earnest."""
    module_world.add_items(40)
    module_world.set(sync_interval_seconds=86_400)
    variables = {
        "DAGSTER_GRPC_PROXY_HEARTBEAT_TTL_SECONDS": HEARTBEAT_SECONDS,
        "ALERT_INTERVAL_SECONDS": "5",
        "LOG_LEVEL": "INFO",
        "LOG_FILE": str(tmp_path_factory.mktemp("logs") / "all.log"),
    }
    with start_dagster(module_world, **variables) as running:
        yield running


def proxy(dagster: RunningDagster) -> psutil.Process:
    """Dagster's code server, below its supervisor."""
    [found] = [
        child
        for child in psutil.Process(dagster.child("code-server").process.pid).children()
        if "code-server" in child.cmdline()
    ]
    return found


def definitions(dagster: RunningDagster) -> psutil.Process | None:
    """The inner server; None while there is none."""
    with suppress(psutil.Error, ValueError):
        [found] = [child for child in proxy(dagster).children() if "grpc" in child.cmdline()]
        return found
    return None


def answers(dagster: RunningDagster) -> bool:
    return ping(target_of(socket=str(dagster.folder / "code.sock"))).pulse is Pulse.ALIVE


def answers_anew(dagster: RunningDagster, before: psutil.Process) -> None:
    wait_for(
        lambda: answers(dagster) and definitions(dagster) not in (None, before),
        "another server answers",
    )
    wait_for(dagster.loads, "the web server has the location again")


def syncs(dagster: RunningDagster) -> None:
    assert dagster.finished(dagster.launch("sync_erp")) == "SUCCESS"


def output_of(dagster: RunningDagster) -> str:
    return dagster.child("code-server").log.read_text()


def test_a_code_server_that_stalls_until_its_definitions_are_gone_is_started_again(
    dagster: RunningDagster,
) -> None:
    stalled, before = proxy(dagster), definitions(dagster)
    stalled.send_signal(signal.SIGSTOP)
    wait_for(
        lambda: not before.is_running() or before.status() == psutil.STATUS_ZOMBIE,
        "the inner server gave up",
    )
    stalled.send_signal(signal.SIGCONT)
    answers_anew(dagster, before)
    assert "ERROR sync_pipelines.supervise: The code server is started again" in output_of(dagster)
    syncs(dagster)


def test_a_health_check_fails_while_the_definitions_are_gone(dagster: RunningDagster) -> None:
    check = [
        sys.executable,
        "-m",
        "sync_pipelines.supervise.ping",
        "--socket",
        str(dagster.folder / "code.sock"),
    ]
    before = definitions(dagster)
    assert psutil.Popen(check).wait(60) == 0
    before.kill()
    assert psutil.Popen(check).wait(60) == 1
    answers_anew(dagster, before)
    syncs(dagster)


def test_a_run_goes_on_while_its_code_server_is_killed_and_started_again(
    dagster: RunningDagster,
) -> None:
    before, requests = definitions(dagster), len(dagster.world.server.requests_log)
    dagster.world.server.latency_seconds = 1.0
    try:
        run = dagster.launch("sync_erp")
        wait_for(lambda: len(dagster.world.server.requests_log) > requests, "the run reads")
        proxy(dagster).kill()
        before.kill()
        answers_anew(dagster, before)
    finally:
        dagster.world.server.latency_seconds = 0.0
    assert dagster.finished(run) == "SUCCESS"
    dagster.world.assert_equal_to_truth()


def test_a_daemon_that_stalls_is_reported_from_outside_of_dagster_and_so_is_its_end(
    dagster: RunningDagster,
) -> None:
    variables = {"ALERT_SILENCE_SECONDS": "15", "ALERT_CLOSE_AFTER_SECONDS": "0"}
    beats = "SELECT 1 FROM bridge.heartbeats WHERE looker = 'dagster' AND last_at > now() - interval '10 seconds'"
    opened = "SELECT closed_at IS NULL FROM bridge.incidents WHERE kind = 'dagster_silent'"
    daemon = psutil.Process(dagster.child("daemon").process.pid)
    wait_for(lambda: dagster.world.sql(beats), "the sensor looks")
    watch = python_module("sync_pipelines.cli.main", "alerts", "watch")
    with Children({**dagster.environment, **variables}, dagster.folder / "outside") as outside:
        watching = outside.start("alerts", watch)
        wait_for(
            lambda: watching.running and (dagster.home / "heartbeat.json").exists(),
            f"a sign of life: {watching.log}",
            60,
        )
        daemon.send_signal(signal.SIGSTOP)
        wait_for(lambda: dagster.world.sql(opened) == [(True,)], "the silence is reported")
        before = (dagster.home / "heartbeat.json").read_text()
        daemon.send_signal(signal.SIGCONT)
        wait_for(lambda: dagster.world.sql(opened) == [(False,)], "its end is reported")
        wait_for(
            lambda: (dagster.home / "heartbeat.json").read_text() != before, "signs of life go on"
        )
        assert "Incident opened: Dagster is not heard of any more" in watching.log.read_text()


def test_every_process_writes_into_the_log_file(dagster: RunningDagster) -> None:
    syncs(dagster)
    written = Path(dagster.environment["LOG_FILE"]).read_text()
    for logger, where in (
        ("sync_pipelines.runs.result", "a run"),
        ("dagster.daemon", "the daemon"),
        ("dagster-webserver", "the web server"),
    ):
        assert f" {logger}" in written, where
    assert dagster.world.server.token not in written
