"""A whole Dagster in real processes on PostgreSQL storage: code server, web server and daemon, driven through GraphQL.

`running_dagster` of the conftest starts one per module. Use it as a person would use the UI::

    dagster.launch("sync_erp")                      # returns the run's id; wait for it with `finished`
    dagster.graphql("{ assetNodes { id } }")
    wait_for(lambda: ["erp", "items"] in dagster.assets())
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import urllib3

from sync_pipelines.catalog.dagster_storage import create_storage_schema, storage_url
from sync_pipelines.cli.shell.dagster_processes import WEBSERVER
from sync_pipelines.cli.shell.homes import python_module
from sync_pipelines.cli.shell.processes import Child, Children
from sync_pipelines.orchestrate.reload import write_endpoint
from sync_pipelines_tests.conftest import PROJECT
from sync_pipelines_tests.world import TOKEN, World

PATIENCE_SECONDS = 180
LOCATION = "sync_pipelines"
_OURS = ("POSTGRES_", "DB_", "API_", "DEFAULT_", "SYNC_", "DAGSTER_", "LOG_", "MAX_")
_FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


def wait_for(
    condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE_SECONDS
) -> Any:
    """Ask until the answer is true, and return it; generous, so that only a broken thing runs into the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {what or condition}"
        time.sleep(0.2)
    return answer


@dataclass
class RunningDagster:
    """The processes, their home, and what one asks them."""

    world: World
    folder: Path
    environment: dict[str, str]
    children: Children
    port: int
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    @property
    def home(self) -> Path:
        """SYNC_PIPELINES_HOME."""
        return self.folder / "home"

    @property
    def url(self) -> str:
        """The web server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """Where Dagster's own tables are, with their schema as search path."""
        return self.environment["SYNC_PIPELINES_DAGSTER_URL"]

    def child(self, name: str) -> Child:
        """`code-server`, `webserver` or `daemon`."""
        return next(child for child in self.children.all if child.name == name)

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `sync-pipelines` as a person would in a second terminal."""
        return subprocess.run(
            python_module("sync_pipelines.cli.main", *arguments),
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        answer = self._pool.request(
            "POST",
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            timeout=PATIENCE_SECONDS,
        )
        data = answer.json()
        assert not data.get("errors"), data
        return data["data"]

    def assets(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """What the UI shows of each asset: group, description, tags, metadata."""
        query = """{ assetNodes { assetKey { path } groupName description tags { key value }
            metadataEntries { label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue } } } }"""
        wait_for(self._is_loaded, "the location is loaded")
        return {tuple(node["assetKey"]["path"]): node for node in self.graphql(query)["assetNodes"]}

    def _is_loaded(self) -> bool:
        """False while the web server puts another version of the location in place."""
        query = (
            "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {"
            " __typename } } } } }"
        )
        entries = self.graphql(query)["workspaceOrError"]["locationEntries"]
        good = [
            entry
            for entry in entries
            if entry["loadStatus"] == "LOADED" and entry["locationOrLoadError"]
        ]
        return bool(good) and all(
            entry["locationOrLoadError"]["__typename"] == "RepositoryLocation" for entry in good
        )

    def jobs(self) -> set[str]:
        """Names of the jobs in the UI."""
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { pipelines { name } } } } }"
        return {
            job["name"]
            for node in self.graphql(query)["repositoriesOrError"]["nodes"]
            for job in node["pipelines"]
        }

    def loaded_at(self) -> float:
        """When the process with the definitions started, in seconds since the epoch. Each load starts a new one."""
        below = psutil.Process(self.child("code-server").process.pid).children(recursive=True)
        return max(_started_at(one) for one in below)

    def loads(self) -> bool:
        """True when the location is there and without an error."""
        query = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
        [entry] = self.graphql(query)["workspaceOrError"]["locationEntries"]
        return (
            bool(entry["locationOrLoadError"])
            and entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"
        )

    def launch(self, job: str, **config: Any) -> str:
        """Launch a job as the UI does, through queue and daemon; returns the run's id."""
        query = """
            mutation($params: ExecutionParams!) {
                launchPipelineExecution(executionParams: $params) {
                    __typename
                    ... on LaunchRunSuccess { run { runId } }
                    ... on PythonError { message }
                    ... on RunConfigValidationInvalid { errors { message } }
                }
            }
        """
        repository = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
        [node] = self.graphql(repository)["repositoriesOrError"]["nodes"]
        selector = {
            "repositoryName": node["name"],
            "repositoryLocationName": LOCATION,
            "pipelineName": job,
        }
        params = {"selector": selector, "runConfigData": json.dumps(config), "mode": "default"}
        launched = self.graphql(query, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        """Status of a run."""
        return str(
            self.graphql(
                "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
            )["runOrError"]["status"]
        )

    def finished(self, run_id: str) -> str:
        """Wait for the end of a run and return its status."""
        wait_for(
            lambda: self.status(run_id) in _FINISHED,
            f"the run {run_id} has ended; {self.events(run_id)[-3:]}",
        )
        return self.status(run_id)

    def events(self, run_id: str) -> list[str]:
        """The messages of a run."""
        query = (
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on"
            " MessageEvent { message } } } } }"
        )
        return [
            event["message"] for event in self.graphql(query, id=run_id)["logsForRun"]["events"]
        ]

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look into Dagster's own tables."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@contextmanager
def start_dagster(world: World, **variables: str) -> Iterator[RunningDagster]:
    """Start all three on free ports and a storage schema in the world's database, and stop them without a trace."""
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_processes_") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        (folder / "dagster_home").mkdir()
        (folder / "dagster_home" / "dagster.yaml").write_text(
            (PROJECT / "dagster.yaml").read_text()
        )
        create_storage_schema(world.database)
        environment = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)
        } | {
            "POSTGRES_URL": world.database.url,
            "SYNC_PIPELINES_HOME": str(folder / "home"),
            "SYNC_PIPELINES_DAGSTER_URL": storage_url(world.database),
            "DAGSTER_HOME": str(folder / "dagster_home"),
            "TWIN_TOKEN": TOKEN,
            "MAX_PAGE_SIZE": "10",
            "API_TRIES": "1",
            # Nothing shall start because an hour or a day begins.
            "DEFAULT_DISCOVERY_CRON": "off",
            "DEFAULT_FULL_REFRESH_CRON": "off",
            **variables,
        }
        with Children(environment, folder / "logs") as children:
            yield _started(world, folder, children)


def _started(world: World, folder: Path, children: Children) -> RunningDagster:
    """In the order of `sync-pipelines up`: storage, code server, then those that ask it."""
    dagster = RunningDagster(world, folder, children.environment, children, free_port())
    migrated = dagster.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    socket_path, workspace = folder / "code.sock", folder / "workspace.yaml"
    workspace.write_text(
        json.dumps(
            {
                "load_from": [
                    {"grpc_server": {"socket": str(socket_path), "location_name": LOCATION}}
                ]
            }
        )
    )
    children.start(
        "code-server",
        python_module("sync_pipelines.supervise.code_server", "--socket", str(socket_path)),
    )
    wait_for(lambda: _alive(children) and socket_path.exists(), "the code server listens")
    children.start(
        "webserver", python_module(WEBSERVER, "-w", str(workspace), "--port", str(dagster.port))
    )
    children.start("daemon", python_module("dagster._daemon", "run", "-w", str(workspace)))
    wait_for(lambda: _alive(children) and answers(dagster), "the web server shows the location")
    write_endpoint(dagster.home, dagster.url)
    return dagster


def _alive(children: Children) -> bool:
    children.check()
    return True


def answers(dagster: RunningDagster) -> bool:
    """Whether the web server is there and has loaded the location."""
    try:
        return dagster.loads()
    except (urllib3.exceptions.HTTPError, ValueError):
        return False


def _started_at(process: psutil.Process) -> float:
    """Of a server of definitions; 0 for a run, and for what has just ended."""
    try:
        return process.create_time() if "grpc" in process.cmdline() else 0.0
    except psutil.Error:
        return 0.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
