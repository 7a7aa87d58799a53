"""Look, write down, deliver: what the sensor does every few seconds and `sync-pipelines alerts run` does once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.heartbeats import Looker
from sync_pipelines.errors import DatabaseRefusedError, DatabaseUnavailableError
from sync_pipelines.model.incident import Incident
from sync_pipelines.observe.delivery import Deliveries, deliver_waiting
from sync_pipelines.observe.evaluate import Evaluation, evaluate
from sync_pipelines.observe.outage import end_outage, note_outage
from sync_pipelines.observe.sign_of_life import give_sign_of_life
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """What one look did."""

    evaluation: Evaluation
    deliveries: Deliveries

    def __str__(self) -> str:
        if self.evaluation.busy:
            looked = "another look is under way"
        else:
            found = self.evaluation
            looked = (
                f"{found.open} incidents open, {len(found.opened)} began, {len(found.closed)} over"
            )
        sent = self.deliveries
        return f"{looked}; {sent.delivered} messages delivered, {sent.failed} failed, {sent.given_up} given up"


def look(
    open_database: Callable[[], Database],
    settings: Settings,
    find_over: Callable[[list[Incident]], Collection[UUID]] = lambda _: (),
    looker: Looker = Looker.DAGSTER,
) -> Look:
    """Evaluate once and deliver what waits; a database that does not answer is itself an incident.

    Whoever looks beside Dagster gives the sign of life that a monitor elsewhere waits for, unless Dagster is silent.

    Raises:
        SyncError: the database did not answer (receivers got a message as far as possible), or holds no incidents yet.
    """
    try:
        database = open_database()
        evaluation = evaluate(database, settings, find_over, looker)
        deliveries = deliver_waiting(database, settings)
    except (DatabaseUnavailableError, DatabaseRefusedError) as error:
        _guarded(partial(note_outage, settings.home, settings, error))
        raise
    _guarded(partial(end_outage, database, settings.home, settings))
    if looker is not Looker.DAGSTER and not evaluation.dagster_silent:
        _guarded(partial(give_sign_of_life, settings, looker, evaluation.open))
    return Look(evaluation, deliveries)


def _guarded(step: Callable[[], None]) -> None:
    try:
        step()
    except OSError as error:
        logger.warning(
            "outages of the database and the sign of life cannot be remembered in SYNC_PIPELINES_HOME: %s",
            error.strerror,
        )
