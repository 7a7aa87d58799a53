"""The demo and the running system, as a newcomer meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import urllib3

from sync_pipelines.cli.shell.processes import LOG_BYTES
from sync_pipelines.orchestrate.assets import LEASE_TAG
from sync_pipelines.supervise.ping import Pulse, ping
from sync_pipelines_tests.cli.conftest import _OURS, COMMAND
from sync_pipelines_tests.orchestrate.processes import wait_for

MARK = "SYNC_PIPELINES_TEST_MARK"


@pytest.fixture(scope="module")
def finished_demo():
    """A folder in which a small demo has been run, its answer, and an environment that marks its processes."""
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_demo_") as name:
        yield run_demo(Path(name))


def run_demo(folder):
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)
    }
    environment |= {MARK: str(folder)}
    done = subprocess.run(
        [COMMAND, "demo", "--rows", "300", "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr, environment


def test_demo_proves_every_table_and_balances_every_run(finished_demo):
    _, answer, stderr, _ = finished_demo
    assert len(answer["proofs"]) == 5
    assert all(proof["equal"] for proof in answer["proofs"])
    first, second, third = (round_["runs"] for round_ in answer["rounds"])
    assert [run["status"] for run in (*first, *second, *third)] == ["success"] * 12
    assert sum(run["records_quarantined"] for run in first) == 3
    assert {run["path"]: run["mode"] for run in second}["demo/flights"] == "delta"
    assert sum(run["records_updated"] for run in second) > 0
    assert sum(run["rows_deleted"] for run in third) > 0
    assert "Traceback" not in stderr


def test_demo_leaves_no_process_and_no_readable_token(finished_demo):
    folder, _, stderr, _ = finished_demo
    token = folder / ".sync_pipelines/demo/token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() not in stderr
    for path in (folder / ".sync_pipelines/demo").glob("logs/*.log"):
        assert token.read_text() not in path.read_text()
    assert marked_processes(folder) == []


def test_demo_database_can_be_asked_afterwards(finished_demo):
    folder, _, _, environment = finished_demo
    home = {"SYNC_PIPELINES_HOME": ".sync_pipelines/demo"}
    # Two of the three bad records were repaired meanwhile.
    for arguments, expected in ([], 1), (["list", "--all"], 3):
        listed = subprocess.run(
            [COMMAND, "quarantine", *arguments, "--json"],
            cwd=folder,
            env={**environment, **home},
            capture_output=True,
            text=True,
        )
        assert len(json.loads(listed.stdout)) == expected
    hint = subprocess.run(
        [COMMAND, "runs"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert hint.returncode == 3
    assert "SYNC_PIPELINES_HOME=.sync_pipelines/demo" in hint.stderr


def test_up_serves_the_demo_and_leaves_nothing_behind(finished_demo):
    folder, _, _, environment = finished_demo
    port, published = free_port(), free_port()
    command = [COMMAND, "up", "--port", str(port), "--publish", f"127.0.0.1:{published}"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, (
            process.stderr.read() if process.poll() is not None else line
        )
        # Other processes made the runs of the demo. They are in the same storage: PostgreSQL, beside the catalog.
        runs = graphql(
            port, "{ runsOrError { ... on Runs { results { pipelineName tags { key } } } } }"
        )
        # Beside them there may be runs that the sensor started, which the lease tells apart.
        names = [
            run["pipelineName"]
            for run in runs["runsOrError"]["results"]
            if LEASE_TAG not in {tag["key"] for tag in run["tags"]}
        ]
        assert names.count("sync_demo") == 2
        # Joining the server the usual way would make this process one of its users, with whom it stays.
        socket_folder = (
            (folder / ".sync_pipelines/demo/postgres/postmaster.pid").read_text().splitlines()[4]
        )
        with psycopg.connect(host=socket_folder, user="postgres", dbname="postgres") as connection:
            stored = connection.execute(
                "SELECT count(*) FROM bridge_dagster.runs WHERE pipeline_name = 'sync_demo'"
            ).fetchone()
        assert stored[0] >= 2
        assert not (folder / ".sync_pipelines/demo/dagster/.dagster/history").exists()
        endpoint = folder / ".sync_pipelines/demo/webserver.json"
        left = json.loads(endpoint.read_text())
        assert (left["url"], left["pid"]) == (f"http://127.0.0.1:{port}", process.pid)
        assert ping(left["code_server"]).pulse is Pulse.ALIVE
        assert f"read-only: http://127.0.0.1:{published}" in process.stdout.readline()
        assert_it_only_shows(published)
        assert_an_overgrown_log_is_put_aside(folder / ".sync_pipelines/demo/logs/source.log")
        keys = {
            tuple(node["assetKey"]["path"])
            for node in graphql(port, "{ assetNodes { assetKey { path } } }")["assetNodes"]
        }
        assert {
            ("demo", slug) for slug in ("airlines", "airports", "planes", "weather", "flights")
        } <= keys
        second = subprocess.run(
            [COMMAND, "up", "--port", str(free_port())],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 1
        assert "in use by process" in second.stderr
        home = {"SYNC_PIPELINES_HOME": ".sync_pipelines/demo"}
        asked = subprocess.run(
            [COMMAND, "doctor", "--json"],
            cwd=folder,
            env={**environment, **home},
            capture_output=True,
            text=True,
        )
        verdicts = {check["name"]: check["verdict"] for check in json.loads(asked.stdout)["checks"]}
        assert [
            verdicts[name]
            for name in ("code server", "alerts", "web server", "read-only web server")
        ] == ["PASSED"] * 4
        synced = subprocess.run(
            [COMMAND, "sync", "demo/airports", "--json"],
            cwd=folder,
            env={**environment, **home},
            capture_output=True,
            text=True,
        )
        # The sensor syncs at the same time, so how much is left to read is unknown.
        assert json.loads(synced.stdout)["results"][0]["ok"], synced.stderr
    finally:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=40)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stdout + stderr
    assert marked_processes(folder) == []
    assert not endpoint.exists()


def assert_it_only_shows(port):
    wait_for(lambda: answers(port), "the read-only server answers")
    assert graphql(port, "{ version }")["version"]
    with urllib3.PoolManager() as pool:
        mutation = {"query": "mutation { reloadWorkspace { __typename } }"}
        assert (
            pool.request(
                "POST", f"http://127.0.0.1:{port}/graphql", json=mutation, timeout=20
            ).status
            == 403
        )


def assert_an_overgrown_log_is_put_aside(log):
    with log.open("ab") as output:
        output.write(b"x" * (LOG_BYTES + 1) + b"\n")
    aside = log.with_name(f"{log.name}.1")
    wait_for(
        lambda: (
            aside.exists() and aside.stat().st_size > LOG_BYTES and log.stat().st_size < LOG_BYTES
        ),
        "the log is put aside",
    )
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_up_tells_which_process_died_and_stops_the_others(finished_demo):
    folder, _, _, environment = finished_demo
    process = subprocess.Popen(
        [COMMAND, "up", "--port", str(free_port())],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Dagster is at" in process.stdout.readline()
        [daemon] = [
            child
            for child in psutil.Process(process.pid).children()
            if "dagster._daemon" in child.cmdline()
        ]
        daemon.kill()
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "daemon ended with code -9" in stderr
    assert "The last lines of daemon" in stderr
    assert marked_processes(folder) == []


def test_up_tells_when_its_database_died(finished_demo):
    folder, _, _, environment = finished_demo
    process = subprocess.Popen(
        [COMMAND, "up", "--port", str(free_port())],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Dagster is at" in process.stdout.readline()
        os.kill(
            int((folder / ".sync_pipelines/demo/postgres/postmaster.pid").read_text().split()[0]),
            signal.SIGQUIT,
        )
        _, stderr = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "embedded PostgreSQL has been gone" in stderr
    assert marked_processes(folder) == []


def test_up_whose_home_is_moved_away_says_so_and_leaves_no_server_behind(finished_demo):
    folder, _, _, environment = finished_demo
    home, elsewhere = folder / ".sync_pipelines/demo", folder / ".sync_pipelines/elsewhere"
    process = subprocess.Popen(
        [COMMAND, "up", "--port", str(free_port())],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Dagster is at" in process.stdout.readline()
        home.rename(elsewhere)
        _, stderr = process.communicate(timeout=90)
    finally:
        process.kill()
        # What was about to write may have made the folder anew.
        shutil.rmtree(home, ignore_errors=True)
        elsewhere.rename(home)
    assert process.returncode == 1
    assert "was moved or removed while it was in use" in stderr
    assert "Traceback" not in stderr
    assert marked_processes(folder) == []


def test_up_without_a_reachable_database_says_so_and_starts_nothing(process, tmp_path):
    answer = process(
        "up", "--port", str(free_port()), POSTGRES_URL="postgresql://me:canary@127.0.0.1:9/x"
    )
    assert answer.code == 1, answer.text
    assert "Error: " in answer.stderr
    assert "State: Nothing was started." in answer.stderr
    assert "sync-pipelines doctor" in answer.stderr
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    assert marked_processes(tmp_path) == []


def test_up_in_a_home_that_cannot_be_made_says_so(process, tmp_path):
    (tmp_path / "file").touch()
    answer = process(
        "up", "--port", str(free_port()), SYNC_PIPELINES_HOME=str(tmp_path / "file" / "home")
    )
    assert answer.code == 2, answer.text
    assert "SYNC_PIPELINES_HOME" in answer.stderr


def test_up_with_nothing_to_show_says_what_to_do(process, tmp_path):
    answer = process("up", "--port", str(free_port()))
    assert answer.code == 3, answer.text
    assert "sync-pipelines demo" in answer.stderr


def test_up_on_a_taken_port_names_another(process):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = process("up", "--port", str(taken.getsockname()[1]))
    assert answer.code == 2
    assert "--port" in answer.stderr


def test_interrupted_demo_stops_everything(finished_demo, open_folder):
    _, _, _, environment = finished_demo
    process = subprocess.Popen(
        [COMMAND, "demo", "--rows", "300"],
        cwd=open_folder,
        env={**environment, MARK: str(open_folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("Round 1"):
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert marked_processes(open_folder) == []


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def graphql(port, query):
    with urllib3.PoolManager() as pool:
        return pool.request(
            "POST", f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=20
        ).json()["data"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def marked_processes(folder):
    """Command lines of living processes that were started, at whatever distance, by a command run in the folder."""
    mark, found = f"{MARK}={folder}".encode(), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found
