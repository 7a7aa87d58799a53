"""The sensors in a real daemon: nobody starts them, and they deliver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync_pipelines.catalog.webhooks import add_webhook
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.observe.receiver import KEY, Receiver, receiving
from sync_pipelines_tests.world import World

DEADLINE_SECONDS = 180


@contextmanager
def daemon(environment: dict[str, str], log: Path) -> Iterator[None]:
    """A daemon with a code server of its own; all of it is ended together."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"],
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def arrived(receiver: Receiver, count: int, log: Path) -> None:
    try:
        receiver.wait_for(count, DEADLINE_SECONDS)
    except AssertionError:
        pytest.fail(log.read_text())


@pytest.mark.timeout(600)
def test_a_daemon_tells_of_an_incident_and_of_its_end(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.add_items(1)
    log = tmp_path / "daemon.log"
    with receiving() as receiver:
        add_webhook(world.database, receiver.url, "env:HOOK_KEY")
        world.set(consecutive_failures=3)
        variables = {
            "HOOK_KEY": KEY,
            "ALERT_INTERVAL_SECONDS": "5",
            "ALERT_CLOSE_AFTER_SECONDS": "0",
            "ALERT_CONNECTION_SHARE": "1",
            "ALERT_WEBHOOK_BACKOFF_SECONDS": "1",
        }
        receiver.answers = [500]
        with daemon({**environment, **variables}, log):
            arrived(receiver, 2, log)
            world.set(consecutive_failures=0)
            arrived(receiver, 3, log)
        assert [request["id"] for request in receiver.requests][0] == [
            request["id"] for request in receiver.requests
        ][1]
        assert receiver.events == [
            ("incident.opened", "consecutive_failures", "erp/items"),
            ("incident.closed", "consecutive_failures", "erp/items"),
        ]
    written = log.read_text()
    assert "Incident opened: Syncs fail again and again: erp/items" in written
    assert KEY not in written
