"""The command as a real process: exit codes, JSON, no traceback, no secret."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from sync_pipelines.cli.shell.homes import DEMO_MARK, Home
from sync_pipelines.cli.shell.processes import Children, sole_user
from sync_pipelines.demo.twin import Fault
from sync_pipelines.errors import RetriableError, SettingsError, SyncError
from sync_pipelines.settings import Settings
from sync_pipelines_tests.cli.conftest import COMMAND

CANARY = "canary-7f3a9b2c-token"
PASSWORD = "canary-password-55"


def test_missing_catalog_is_exit_code_3_and_makes_nothing(process, tmp_path):
    answer = process("entities", "--json")
    assert answer.code == 3
    assert answer.json["next_command"] == "sync-pipelines doctor --migrate"
    assert list(tmp_path.iterdir()) == []


def test_wrong_setting_is_exit_code_2_and_its_value_is_not_shown(process):
    answer = process("runs", POSTGRES_PORT="canary-port", POSTGRES_HOST="x")
    assert answer.code == 2
    assert "POSTGRES_PORT" in answer.stderr
    assert "canary" not in answer.text
    assert process("doctor", MAX_PAGE_SIZE="0").code == 1


def test_wrong_usage_is_exit_code_2(process):
    assert process("sync").code == 2
    assert process("no-such-verb").code == 2


def test_no_secret_is_ever_printed(process, cli, world, monkeypatch):
    variables = {
        "POSTGRES_URL": world.database.url.replace("postgres:@", f"postgres:{PASSWORD}@"),
        "TWIN_TOKEN": CANARY,
        "LOG_LEVEL": "DEBUG",
        "API_TRIES": "1",
    }
    world.add_items(3)
    world.server.token = CANARY
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def check(answer):
        assert CANARY not in answer.text
        assert PASSWORD not in answer.text

    for command in (
        "connector list --json",
        "connector test erp",
        "sync erp",
        "runs --json",
        "doctor --json",
        "entities",
    ):
        check(cli(*command.split()))
    world.faults.add(Fault(times=None, echo_authorization=True, status=500))
    for command in (
        "sync erp",
        "discover",
        "connector test erp --json",
        "runs --json",
        "connector list",
    ):
        check(cli(*command.split()))
    failed = process("sync", "erp", **variables)
    assert failed.code == 1
    check(failed)


def test_unreachable_server_is_one_message_without_the_password(process):
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:9/x"
    answer = process("runs", "--json", POSTGRES_URL=url)
    assert answer.code == 1
    assert answer.json["error"] == "DatabaseUnavailableError"
    assert answer.json["next_command"] == "sync-pipelines doctor"
    doctor = process("doctor", "--json", POSTGRES_URL=url)
    assert [check["verdict"] for check in doctor.json["checks"]][:3] == [
        "PASSED",
        "FAILED",
        "SKIPPED",
    ]
    assert PASSWORD not in answer.text + doctor.text


def test_dot_env_is_seen_by_references_and_the_log_holds_no_secret(process, world, tmp_path):
    world.add_items(2)
    log = tmp_path / "logs" / "sync.log"
    (tmp_path / ".env").write_text(
        f"POSTGRES_URL={world.database.url}\nTWIN_TOKEN={world.server.token}\nLOG_FILE={log}\n"
    )
    answer = process("sync", "erp", "--json")
    assert answer.json["results"][0]["inserted"] == 2
    assert "erp/items" in log.read_text()
    assert world.server.token not in log.read_text()
    assert "INFO" not in answer.stderr


def test_doctor_migrates_an_embedded_database(process, open_folder):
    home = {"SYNC_PIPELINES_HOME": str(open_folder / "home")}
    assert process("doctor", "--json", **home).code == 1
    answer = process("doctor", "--migrate", "--json", **home)
    assert answer.code == 0, answer.text
    assert {check["name"]: check["verdict"] for check in answer.json["checks"]}[
        "catalog"
    ] == "PASSED"
    assert process("connector", "list", "--json", **home).json == []


def test_interrupted_sync_ends_its_run(environment, world):
    world.add_items(30)
    world.server.latency_seconds = 0.3
    variables = {
        "POSTGRES_URL": world.database.url,
        "TWIN_TOKEN": world.server.token,
        "MAX_PAGE_SIZE": "1",
    }
    process = subprocess.Popen(
        [COMMAND, "sync", "erp"],
        env={**environment, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: world.runs() and len(world.server.requests_log) > 4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert world.runs()[0]["status"] == "cancelled"


def test_home_is_never_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SYNC_PIPELINES_HOME", raising=False)
    assert str(Settings(_env_file=None).home) == ".sync_pipelines"


def test_folder_without_a_demos_mark_is_never_emptied(tmp_path):
    home = Home(tmp_path / "demo")
    home.root.mkdir()
    (home.root / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError):
        home.start_afresh()
    assert (home.root / "thesis.txt").read_text() == "years of work"


def test_symlink_is_never_emptied(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / DEMO_MARK).touch()
    (tmp_path / "demo").symlink_to(other)
    with pytest.raises(SettingsError):
        Home(tmp_path / "demo").start_afresh()
    assert (other / DEMO_MARK).exists()


def test_demo_home_is_emptied_again_and_again(tmp_path):
    home = Home(tmp_path / "demo")
    home.start_afresh()
    (home.root / "old").touch()
    home.start_afresh()
    assert [path.name for path in home.root.iterdir()] == [DEMO_MARK]


def test_demo_refuses_a_folder_that_is_not_its_own(process, tmp_path):
    folder = tmp_path / ".sync_pipelines" / "demo"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").touch()
    assert process("demo", "--rows", "20").code == 2
    assert (folder / "thesis.txt").exists()


def test_second_user_of_a_home_is_refused(tmp_path):
    with (
        sole_user(tmp_path / "lock", "The demo"),
        pytest.raises(RetriableError, match="in use by process"),
        sole_user(tmp_path / "lock", "The demo"),
    ):
        pass
    with sole_user(tmp_path / "lock", "The demo"):
        pass


def test_children_are_stopped_with_their_children_even_when_they_do_not_listen(tmp_path):
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " p = subprocess.Popen(['sleep', '77.7']); print(p.pid, flush=True); time.sleep(77)"
    )
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {stubborn!r}]); time.sleep(77)"
    with Children({}, tmp_path) as children:
        child = children.start("stubborn", [sys.executable, "-c", script], PATH="/usr/bin:/bin")
        wait_for(lambda: child.last_lines())
        grandchild = int(child.last_lines()[0])
    wait_for(lambda: not alive(grandchild))


def test_child_that_ends_by_itself_is_reported_with_its_last_lines(tmp_path, capsys):
    with Children({}, tmp_path) as children:
        child = children.start(
            "short", [sys.executable, "-c", "print('\\x1b[31mthe reason'); raise SystemExit(4)"]
        )
        child.process.wait()
        with pytest.raises(SyncError, match="short ended with code 4"):
            children.check()
    assert "    the reason" in capsys.readouterr().err


def test_an_overgrown_log_is_put_aside_while_its_process_goes_on_writing(tmp_path):
    script = (
        "import time, itertools\nfor number in itertools.count(): print(f'line {number}', flush=True);"
        " time.sleep(0.01)"
    )
    with Children({}, tmp_path) as children:
        child = children.start("chatty", [sys.executable, "-c", script])
        read = []
        for expected in (1, 2):
            wait_for(lambda: child.log.exists() and child.log.stat().st_size > 300)
            read += child.new_lines()
            child.rotate_log(limit_bytes=100)
            assert child.log.with_name(f"chatty.log.{expected}").exists()
        wait_for(lambda: child.log.stat().st_size > 0)
        read += child.new_lines()
    numbers = [int(line.removeprefix("line ")) for line in read]
    assert numbers == sorted(set(numbers)), "no line is shown twice"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_json_is_ascii_so_that_no_control_character_survives(process, world):
    world.add_items(1)
    answer = process("entities", "--json", POSTGRES_URL=world.database.url)
    assert answer.stdout.isascii()
    assert json.loads(answer.stdout)
