"""Make a running Dagster show the catalog as it is now: ask its web server to load changed definitions again.

Nothing of Dagster is imported here, so that the command line may use it. What is loaded is compared with the catalog,
so that a discovery without change reloads nothing, and a reload that failed is made up for by the next discovery.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import urllib3

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SyncError
from sync_pipelines.files.private import write_private
from sync_pipelines.orchestrate.snapshot import catalog_fingerprint
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

ENDPOINT_FILE = "webserver.json"
# The one job that every location of ours has; GraphQL shows the metadata of jobs, but not of definitions.
MARKED_JOB = "purge_history"
FINGERPRINT = "catalog_fingerprint"
CONNECTORS = "connectors"
DOTENV = "dotenv_file"
MODELS = "models_folder"
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30
RELOAD_SECONDS = 200  # above code_servers.reload_timeout in dagster.yaml

_LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on RepositoryLocation { repositories { name pipelines { name } } } } } } } }"""
_MARK = """query($repository: String!, $location: String!, $job: String!) {
    pipelineOrError(params: {repositoryName: $repository, repositoryLocationName: $location, pipelineName: $job}) {
        __typename ... on Pipeline { metadataEntries { label ... on TextMetadataEntry { text } } } } }"""
_RELOAD = """mutation($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on PythonError { message } } }"""


class Outcome(StrEnum):
    """What became of a wish to reload."""

    NOTHING_RUNS = "nothing_runs"
    UP_TO_DATE = "up_to_date"
    RELOADED = "reloaded"
    FAILED = "failed"


@dataclass(frozen=True)
class Reload:
    """How it ended, in words that a person reads."""

    outcome: Outcome
    message: str


class _Refused(Exception):
    """The web server answered something that is no success."""


def reload_definitions(settings: Settings, database: Database) -> Reload:
    """Load the definitions of the running Dagster again where they differ from the catalog.

    Never raises an error of ours.

    The web server is the one that DAGSTER_WEBSERVER_URL names, else the one that `sync-pipelines up` started in this
    home.
    """
    url = webserver_url(settings)
    if url is None:
        return Reload(
            Outcome.NOTHING_RUNS,
            "No Dagster is known to run here; the next one to start shows the catalog as it is now.",
        )
    server = _WebServer(url)
    try:
        changed = _changed_locations(server, database)
        for name in changed:
            server.reload(name)
    except urllib3.exceptions.HTTPError as error:
        return _failed(f"{server.shown} does not answer ({type(error).__name__})")
    except (_Refused, SyncError) as error:
        return _failed(str(error))
    if not changed:
        return Reload(
            Outcome.UP_TO_DATE,
            "The running Dagster shows the catalog as it is; nothing was reloaded.",
        )
    return Reload(
        Outcome.RELOADED,
        f"The running Dagster has loaded the definitions again ({', '.join(sorted(changed))}).",
    )


def webserver_url(settings: Settings) -> str | None:
    """The address of the running web server, maybe with credentials; None when none is known to run."""
    if settings.ui.dagster_webserver_url is not None:
        return settings.ui.dagster_webserver_url.get_secret_value().rstrip("/")
    return _endpoint(settings, "url")


def code_server_target(settings: Settings) -> str | None:
    """The address of the running code server as gRPC names it; None when none is known to run."""
    if settings.ui.code_server:
        return settings.ui.code_server
    return _endpoint(settings, "code_server")


def read_only_url(settings: Settings) -> str | None:
    """The address of the web server that only shows; None when none is known to run."""
    return _endpoint(settings, "read_only_url")


def up_seconds(settings: Settings) -> float:
    """How long the `up` of this home has been ready; endless when none is known, so that nobody waits for it."""
    try:
        return time.time() - (settings.home / ENDPOINT_FILE).stat().st_mtime
    except OSError:
        return math.inf


def _endpoint(settings: Settings, name: str) -> str | None:
    """What a living `up` wrote into this home; None when there is none, or it wrote nothing of that name."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        endpoint = json.loads((settings.home / ENDPOINT_FILE).read_text())
        if psutil.pid_exists(int(endpoint["pid"])):
            return str(endpoint[name])
    return None


def web_server_trouble(url: str) -> str | None:
    """Why a web server does not answer with its code locations, in words; None when it does."""
    server = _WebServer(url)
    try:
        server.locations()
    except urllib3.exceptions.HTTPError as error:
        return f"{server.shown} does not answer ({type(error).__name__})"
    except _Refused as error:
        return printable(str(error), 500)
    return None


def write_endpoint(
    home: Path,
    url: str,
    code_server: str | None = None,
    read_only_url: str | None = None,
) -> Path:
    """Write the addresses of what this process has started; the caller removes the file when it stops it.

    Args:
        home: SYNC_PIPELINES_HOME.
        url: of the web server.
        code_server: address of the code server as gRPC names it.
        read_only_url: of the web server that only shows.
    """
    path = home / ENDPOINT_FILE
    partial = path.with_suffix(".partial")
    endpoint: dict[str, str | int] = {"url": url, "pid": os.getpid()}
    if code_server is not None:
        endpoint["code_server"] = code_server
    if read_only_url is not None:
        endpoint["read_only_url"] = read_only_url
    write_private(partial, json.dumps(endpoint))
    partial.replace(path)
    return path


def _failed(why: str) -> Reload:
    message = (
        f"The running Dagster could not load the definitions again: {printable(why, 500)}. The catalog itself is up"
        ' to date. Next: "Reload" on the page Deployment of the UI, or the next discovery.'
    )
    logger.warning("%s", message)
    return Reload(Outcome.FAILED, message)


def _changed_locations(server: _WebServer, database: Database) -> list[str]:
    """Locations that show another catalog than the one there is now."""
    changed = []
    for name in server.locations():
        mark = server.mark(name)
        if _differs(mark, database):
            changed.append(name)
    return changed


def _differs(mark: dict[str, str] | None, database: Database) -> bool:
    """Whether a location shows another catalog; one without mark did not load, so it may be mended."""
    if mark is None:
        return True
    names = [name for name in mark[CONNECTORS].split(",") if name]
    dotenv = Path(mark[DOTENV])
    models = Path(mark[MODELS])
    return mark[FINGERPRINT] != catalog_fingerprint(database, names, dotenv, models)


class _WebServer:
    """Dagster's GraphQL, as much of it as a reload needs."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        _, _, host = parts.netloc.rpartition("@")
        self.shown = parts._replace(netloc=host).geturl()
        self._headers: dict[str, str] = {}
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers = urllib3.make_headers(basic_auth=login)
        self._repositories: dict[str, str] = {}

    def locations(self) -> list[str]:
        """Names of the locations that are ours: they have the marked job, or failed to load."""
        workspace = self._ask(_LOCATIONS)["workspaceOrError"]
        if workspace["__typename"] != "Workspace":
            raise _Refused(f"{self.shown} has no workspace")
        ours = []
        for entry in workspace["locationEntries"]:
            loaded = entry["locationOrLoadError"] or {"__typename": "PythonError"}
            if loaded["__typename"] == "PythonError":
                ours.append(entry["name"])
            for repository in loaded.get("repositories", []):
                if any(job["name"] == MARKED_JOB for job in repository["pipelines"]):
                    self._repositories[entry["name"]] = repository["name"]
                    ours.append(entry["name"])
        return ours

    def mark(self, location: str) -> dict[str, str] | None:
        """The fingerprint, the connectors and the file `.env` that the location was loaded with.

        None when it did not load.
        """
        repository = self._repositories.get(location)
        if repository is None:
            return None
        answer = self._ask(
            _MARK,
            repository=repository,
            location=location,
            job=MARKED_JOB,
        )
        entries = {}
        for entry in answer["pipelineOrError"].get("metadataEntries", []):
            entries[entry["label"]] = entry.get("text", "")
        names = (FINGERPRINT, CONNECTORS, DOTENV, MODELS)
        if not entries.keys() >= set(names):
            return None
        return {name: entries[name] for name in names}

    def reload(self, location: str) -> None:
        """Load one location again."""
        answer = self._ask(_RELOAD, RELOAD_SECONDS, location=location)
        reloaded = answer["reloadRepositoryLocation"]
        loaded = reloaded.get("locationOrLoadError") or reloaded
        kind = loaded["__typename"]
        if kind != "RepositoryLocation":
            raise _Refused(loaded.get("message") or kind)

    def _ask(
        self,
        query: str,
        seconds: float = ANSWER_SECONDS,
        **variables: str,
    ) -> Any:
        with urllib3.PoolManager(retries=False) as pool:
            answer = pool.request(
                "POST",
                f"{self.shown}/graphql",
                json={"query": query, "variables": variables},
                headers={**self._headers, "Content-Type": "application/json"},
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                redirect=False,
            )
        try:
            content = answer.json() if answer.status == 200 else {}
        except ValueError:
            content = {}
        errors, data = _parts(content)
        if errors or not data:
            detail = printable(json.dumps(errors), 300) if errors else ""
            raise _Refused(f"{self.shown} answered {answer.status} {detail}".strip())
        return data


def _parts(content: object) -> tuple[Any, Any]:
    """Errors and data of a GraphQL answer; None each where it is no object."""
    if not isinstance(content, dict):
        return None, None
    return content.get("errors"), content.get("data")
