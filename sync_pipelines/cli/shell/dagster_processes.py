"""Dagster's processes: one code server for the web servers, the daemon and the runs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from sync_pipelines.cli.shell.homes import python_module
from sync_pipelines.cli.shell.output import say
from sync_pipelines.cli.shell.processes import Children
from sync_pipelines.errors import RetriableError
from sync_pipelines.secrets import redact_beginning
from sync_pipelines.supervise.code_server import LOCATION
from sync_pipelines.supervise.ping import PING_SECONDS, Pulse, ping, target_of

CODE_SOCKET = "code.sock"
WEBSERVER = "sync_pipelines.orchestrate.webserver"  # Dagster's, behind a guard
READY_SECONDS = 180
ANSWER_SECONDS = 10
_LOAD_ERROR_CHARACTERS = 2000
_READY = (
    "{ version workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename"
    " ... on PythonError { message } } } } } }"
)


@dataclass(frozen=True)
class WebServers:
    """The UI and, where it is published, a second one that only shows.

    Attributes:
        host, port: of the UI.
        published: host and port of the second one.
        allowed_hosts: further names by which browsers ask for them.
    """

    host: str
    port: int
    published: tuple[str, int] | None
    allowed_hosts: tuple[str, ...]

    @property
    def url(self) -> str:
        """The address of the UI."""
        return url_of(self.host, self.port)

    @property
    def local_url(self) -> str:
        """The UI as a process on this machine reaches it."""
        return _local(self.url, self.host)

    @property
    def published_url(self) -> str | None:
        """The address of the second one."""
        if self.published is None:
            return None
        host, port = self.published
        return url_of(host, port)

    @property
    def local_published_url(self) -> str | None:
        """The second one as a process on this machine reaches it."""
        if self.published is None or self.published_url is None:
            return None
        host, _ = self.published
        return _local(self.published_url, host)

    def commands(self, workspace: Path) -> dict[str, list[str]]:
        """Name of the process -> the command that serves the UI, or the one that only shows."""
        options = ["-w", str(workspace)]
        options += [f"--allowed-host={name}" for name in self.allowed_hosts]
        address = ["--host", self.host, "--port", str(self.port)]
        found = {"webserver": python_module(WEBSERVER, *options, *address)}
        if self.published:
            host, port = self.published
            address = ["--host", host, "--port", str(port), "--read-only"]
            found["webserver-read-only"] = python_module(WEBSERVER, *options, *address)
        return found


def url_of(host: str, port: int) -> str:
    """The address of a web server; an IPv6 address is in brackets."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _local(url: str, host: str) -> str:
    """The URL as a process on this machine reaches it: a server on all addresses has no address that can be asked."""
    if host == "0.0.0.0":
        return url.replace(host, "127.0.0.1", 1)
    return url.replace("[::]", "[::1]")


def start_dagster(children: Children, runtime: Path, servers: WebServers) -> None:
    """One code server for web server, daemon and runs, on a socket that only this user can reach."""
    code_socket = runtime / CODE_SOCKET
    workspace = runtime / "workspace.yaml"
    server = {"socket": str(code_socket), "location_name": LOCATION}
    content = {"load_from": [{"grpc_server": server}]}
    workspace.write_text(json.dumps(content))
    code_server = python_module(
        "sync_pipelines.supervise.code_server", "--socket", str(code_socket)
    )
    children.start("code-server", code_server)
    deadline = time.monotonic() + READY_SECONDS
    target = target_of(socket=str(code_socket))
    while ping(target, PING_SECONDS).pulse is not Pulse.ALIVE:
        _wait(children, deadline, "The code server")
    for name, command in servers.commands(workspace).items():
        children.start(name, command)
    daemon = python_module("dagster._daemon", "run", "-w", str(workspace))
    children.start("daemon", daemon)


def await_graphql(children: Children, url: str) -> None:
    """Wait until the web server answers with the definitions, or with the error that they have."""
    deadline = time.monotonic() + READY_SECONDS
    with urllib3.PoolManager(retries=False) as pool:
        while True:
            _wait(children, deadline, "Dagster")
            try:
                loaded = _loaded(pool, url)
            except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
                continue
            if loaded:
                _say_load_error(loaded)
                return


def _loaded(pool: urllib3.PoolManager, url: str) -> list[dict[str, Any]]:
    """What the web server has loaded, or the errors of what it could not; empty while it does so."""
    address = f"{url}/graphql"
    answer = pool.request("POST", address, json={"query": _READY}, timeout=ANSWER_SECONDS)
    if answer.status != 200:
        return []
    workspace = answer.json()["data"]["workspaceOrError"]
    entries = [entry["locationOrLoadError"] for entry in workspace["locationEntries"]]
    return [entry for entry in entries if entry]


def _say_load_error(loaded: list[dict[str, Any]]) -> None:
    for one in loaded:
        if one["__typename"] == "PythonError":
            message = redact_beginning(one["message"].strip(), _LOAD_ERROR_CHARACTERS)
            say(f"The definitions did not load: {message}", "bold red", stderr=True)


def _wait(children: Children, deadline: float, what: str) -> None:
    children.check()
    if time.monotonic() > deadline:
        raise RetriableError(
            f"{what} was not ready after {READY_SECONDS} s.",
            where={"logs": children.logs},
            state="Everything was stopped.",
        )
    time.sleep(0.2)
