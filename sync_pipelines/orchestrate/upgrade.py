"""Create or upgrade the tables that Dagster keeps its runs and events in."""

from __future__ import annotations

import logging
import os

import dagster as dg

from sync_pipelines.errors import SettingsError
from sync_pipelines.orchestrate.instance_storage import HOME_VARIABLE
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)


def upgrade_storage() -> str | None:
    """Bring the storage of DAGSTER_HOME's instance to the version of the installed Dagster.

    An up-to-date one is left as it is.

    Returns:
        The kind of storage; None when DAGSTER_HOME is not set.

    Raises:
        SettingsError: the instance cannot be opened, or its storage cannot be upgraded.
    """
    if not os.environ.get(HOME_VARIABLE):
        return None
    try:
        with dg.DagsterInstance.get() as instance:
            instance.upgrade(lambda line: logger.info("%s", line))
            return type(instance.run_storage).__name__.removesuffix("RunStorage")
    except Exception as error:  # noqa: BLE001 - SQLAlchemy, Dagster, YAML: all of it is one message for a person
        raise SettingsError(
            f"Dagster's storage cannot be used: {type(error).__name__}: {printable(str(error), 1000)}",
            where={HOME_VARIABLE: os.environ[HOME_VARIABLE]},
            state="Dagster was not started.",
            next_command="compare SYNC_PIPELINES_DAGSTER_URL and dagster.yaml with .env.example",
        ) from None
