"""After a change of the catalog: let the Dagster that runs here show it."""

from __future__ import annotations

from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.output import say
from sync_pipelines.orchestrate.reload import Outcome, reload_definitions
from sync_pipelines.settings import Settings


def show_in_dagster(settings: Settings, database: Database, *, quiet: bool = False) -> str:
    """Reload the definitions where they differ, write that to stderr, and return the outcome; never fails the command.

    With `quiet` only a failure is said.
    """
    reload = reload_definitions(settings, database)
    if reload.outcome is Outcome.FAILED:
        say(reload.message, "yellow", stderr=True)
    elif not quiet:
        say(reload.message, "dim", stderr=True)
    return reload.outcome.value
