"""Folders that `demo` and `up` run in: where the database, Dagster's files and the logs are."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_pipelines import orchestrate
from sync_pipelines.catalog.dagster_storage import create_storage_schema, storage_url
from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.context import DEMO_TOKEN_VARIABLE, TOKEN_FILE
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.private import FILE_MODE, make_private_folder, write_private
from sync_pipelines.settings import Settings

PLAN_FILE = "demo.json"
DEMO_MARK = ".sync_pipelines_demo"
STORAGE_VARIABLE = "SYNC_PIPELINES_DAGSTER_URL"
# Seconds that Dagster's processes wait for the code server. Launching a run is such a call and starts a process;
# Dagster's 60 s are less than a busy machine may need, and a run that takes longer is lost. The environment overrules;
# docker-compose.yml has the same.
DAGSTER_PATIENCE = {
    "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "120",
    "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS": "120",
    "DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD": "60",
}


@dataclass(frozen=True)
class Home:
    """One folder and what is in it."""

    root: Path

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def postgres(self) -> Path:
        """Data directory of the embedded PostgreSQL."""
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        """Output of the processes."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Lock file, beside the folder so that the folder can be wiped while the lock is taken."""
        return self.root.with_name(self.root.name + ".lock")

    @property
    def is_demo(self) -> bool:
        """True when a demo has been run here."""
        plan = self.root / PLAN_FILE
        token = self.root / TOKEN_FILE
        return plan.exists() and token.exists()

    def check_wipeable(self) -> None:
        """Make sure that wiping this folder can only remove what a demo made.

        Raises:
            SettingsError: it has content and no demo's mark.
        """
        if self._is_wipeable():
            return
        raise SettingsError(
            f"{self.root} holds files that no demo made; it will not be emptied.",
            state="Nothing was removed.",
            next_command="set SYNC_PIPELINES_HOME to a folder of its own",
        )

    def _is_wipeable(self) -> bool:
        if self.root.is_symlink():
            return False
        mark = self.root / DEMO_MARK
        if not self.root.exists() or mark.is_file():
            return True
        return not any(self.root.iterdir())

    def start_afresh(self) -> None:
        """Empty the folder and mark it as a demo's."""
        self.check_wipeable()
        shutil.rmtree(self.root, ignore_errors=True)
        make_private_folder(self.root)
        mark = self.root / DEMO_MARK
        mark.touch(mode=FILE_MODE)

    def settings(self, settings: Settings) -> Settings:
        """The settings of a process that works in this home."""
        return settings.model_copy(update={"home": self.root})

    def environment(self, dagster_home: Path) -> dict[str, str]:
        """The environment of a process that works in this home."""
        return {
            **DAGSTER_PATIENCE,
            **os.environ,
            "SYNC_PIPELINES_HOME": str(self.root),
            "DAGSTER_HOME": str(dagster_home),
            "PYTHONUNBUFFERED": "1",
        }

    def prepare_dagster(self) -> Path:
        """Make the DAGSTER_HOME with the package's dagster.yaml, and return it."""
        make_private_folder(self.dagster)
        shutil.copyfile(shipped_file("dagster.yaml"), self.dagster / "dagster.yaml")
        return self.dagster

    def write_token(self, token: str) -> None:
        """Keep the twin's token, readable by this user alone, and let `env:` references see it."""
        path = self.root / TOKEN_FILE
        path.unlink(missing_ok=True)
        # O_EXCL: a link that somebody puts here is not followed.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w") as file:
            file.write(token)
        os.environ[DEMO_TOKEN_VARIABLE] = token

    def read_token(self) -> str:
        """The twin's token; `env:` references see it from now on."""
        path = self.root / TOKEN_FILE
        token = path.read_text().strip()
        os.environ[DEMO_TOKEN_VARIABLE] = token
        return token

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Keep what is needed to start the demo's source again."""
        partial = self.root / (PLAN_FILE + ".partial")
        write_private(partial, json.dumps(plan))
        partial.replace(self.root / PLAN_FILE)

    def read_plan(self) -> dict[str, Any]:
        """What `write_plan` kept."""
        path = self.root / PLAN_FILE
        plan = json.loads(path.read_text())
        return dict(plan)


def own_home(settings: Settings) -> Home:
    """The home of the settings."""
    root = settings.home.expanduser()
    return Home(root.resolve())


def demo_home(settings: Settings) -> Home:
    """The demo's home: `demo` below the home of the settings, or that one when it is a demo's."""
    own = own_home(settings)
    return own if own.is_demo else Home(own.root / "demo")


def shipped_file(name: str) -> Path:
    """The path of `dagster.yaml` or `workspace.yaml` in the installed package."""
    module = Path(orchestrate.__file__)
    return module.parent / name


def dagster_storage(database: Database) -> dict[str, str]:
    """The variable that puts Dagster's runs and events beside the catalog, unless the environment names a place."""
    if os.environ.get(STORAGE_VARIABLE, "").strip():
        return {}
    create_storage_schema(database)
    return {STORAGE_VARIABLE: storage_url(database)}


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]
