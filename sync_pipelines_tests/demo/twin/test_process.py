import os
import signal
import subprocess
import sys
import time

import pytest

from .helpers import TOKEN, Client

ENVIRONMENT = {**os.environ, "MY_TWIN_TOKEN": TOKEN}
COMMAND = [sys.executable, "-m", "sync_pipelines.demo.twin", "--token-env", "MY_TWIN_TOKEN"]


def start(*options):
    process = subprocess.Popen(
        [*COMMAND, *options], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    assert line.startswith("twin listening on http://127.0.0.1:"), line
    return process, int(line.rsplit(":", 1)[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_serves_and_stops_cleanly(tmp_path, number):
    port_file = tmp_path / "port"
    process, port = start(
        "--limit", "20", "--tables", "airlines,flights", "--port-file", str(port_file)
    )
    try:
        assert port_file.read_text() == str(port)
        client = Client(port)
        assert [api["slug"] for api in client.get("/api/v1/apis").json] == ["airlines", "flights"]
        assert len(client.data("flights").rows) == 20
    finally:
        process.send_signal(number)
    assert process.wait(5) == 0


def test_process_without_a_token_says_which_variable_is_missing():
    environment = {name: value for name, value in os.environ.items() if name != "NO_TOKEN"}
    command = [sys.executable, "-m", "sync_pipelines.demo.twin", "--token-env", "NO_TOKEN"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10)
    assert result.returncode == 2
    assert "NO_TOKEN" in result.stderr


def test_process_dies_with_its_parent(tmp_path):
    port_file = tmp_path / "port"
    command = [*COMMAND, "--dataset", "empty", "--with-parent", "--port-file", str(port_file)]
    script = f"import subprocess, time; subprocess.Popen({command!r}, stdout=subprocess.DEVNULL); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], env=ENVIRONMENT)
    try:
        wait_for(port_file.exists)
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not answers(int(port_file.read_text())))


def answers(port):
    try:
        return Client(port).get("/_twin/health").status == 200
    except OSError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
