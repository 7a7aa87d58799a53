"""One tick of a connector: settle what ended, look at the source, take what is due.

Whoever starts the runs calls this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.dues import (
    end_lease,
    lease_due,
    list_leases,
    next_due,
    release_lease,
    renew_leases,
    request_full_read,
    request_sync,
)
from sync_pipelines.model.due import DueEntity, Kind, PlannedRun, plan_runs
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.schedule.cron import crons_of, next_tick
from sync_pipelines.schedule.probing import probe_changes
from sync_pipelines.settings import Settings


class Ending(StrEnum):
    """The state of the run of a lease."""

    UNFINISHED = "unfinished"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Situation:
    """What the one who starts runs knows of them.

    Attributes:
        known: slugs that can be started.
        unfinished: kinds of this connector's runs that wait or run and have a lease.
        queued: slugs in unfinished runs, whoever started them, with the creation of the run.
        endings: of leases; asked for those that the catalog still holds. One that is left out has no run (yet).
    """

    known: Sequence[str]
    unfinished: Sequence[Kind] = ()
    queued: Mapping[str, datetime] = field(default_factory=dict)
    endings: Callable[[Sequence[UUID]], Mapping[UUID, Ending]] = lambda leases: {}


@dataclass(frozen=True)
class Tick:
    """What to start, and in words what was found."""

    runs: list[tuple[UUID, PlannedRun]]
    message: str


def tick_due(
    database: Database,
    connector_name: str,
    settings: Settings,
    situation: Situation,
) -> Tick:
    """Find out what is due and take it.

    Raises:
        SyncError: from the catalog; a source that does not answer is remembered and named in the message.
    """
    connector = _settled(database, connector_name, settings, situation)
    by_cron = crons_of(connector, settings).sync is not None
    probing = probe_changes(database, connector, settings, by_cron=by_cron)
    runs = _take(database, connector, settings, situation, by_cron=by_cron)
    words = [
        _named(runs) if runs else _nothing(database, connector, settings, situation),
        str(probing),
    ]
    return Tick(runs, "; ".join(word for word in words if word))


def tick_full_read(
    database: Database,
    connector_name: str,
    settings: Settings,
    situation: Situation,
    scheduled_at: datetime,
) -> Tick:
    """Ask for a full read of every entity and take those that are free; the others follow by `tick_due`."""
    connector = _settled(database, connector_name, settings, situation)
    asked = request_full_read(database, connector.uid, scheduled_at)
    by_cron = crons_of(connector, settings).sync is not None
    runs = _take(
        database,
        connector,
        settings,
        situation,
        by_cron=by_cron,
        only=lambda entity: entity.full_read_due,
    )
    return Tick(runs, f"asked for a full read of {asked} entities; {_started(runs)}")


def tick_cron(
    database: Database,
    connector_name: str,
    settings: Settings,
    situation: Situation,
    scheduled_at: datetime,
) -> Tick:
    """Make every entity due and take those that are free; the others follow by `tick_due`."""
    connector = _settled(database, connector_name, settings, situation)
    asked = request_sync(database, connector.uid, scheduled_at)
    runs = _take(database, connector, settings, situation, by_cron=True)
    return Tick(runs, f"made {asked} entities due; {_started(runs)}")


def _settled(
    database: Database,
    connector_name: str,
    settings: Settings,
    situation: Situation,
) -> Connector:
    """The connector, once the leases of runs that ended are given back."""
    connector = get_connector(database, connector_name)
    settle_leases(database, connector.uid, settings, situation)
    return connector


def settle_leases(
    database: Database,
    connector_uid: UUID,
    settings: Settings,
    situation: Situation,
) -> None:
    """Renew the leases of runs that go on and end those of runs that ended, whatever their end."""
    found = list_leases(database, connector_uid)
    if not found:
        return
    leases = [lease.uid for lease in found]
    endings = situation.endings(leases)
    renew_leases(
        database,
        [lease for lease in leases if endings.get(lease) is Ending.UNFINISHED],
        settings.schedule.lease_seconds,
    )
    for lease in [one.uid for one in found if one.expired and one.uid not in endings]:
        release_lease(database, lease)
    for lease in leases:
        match endings.get(lease):
            case Ending.SUCCEEDED:
                release_lease(database, lease)
            case Ending.FAILED | Ending.CANCELED as ending:
                end_lease(database, lease, failed=ending is Ending.FAILED)


def _take(
    database: Database,
    connector: Connector,
    settings: Settings,
    situation: Situation,
    *,
    by_cron: bool,
    only: Callable[[DueEntity], bool] = lambda entity: True,
) -> list[tuple[UUID, PlannedRun]]:
    most = (
        RunLimits.from_settings(connector.settings).max_entities_per_run
        or settings.schedule.max_entities_per_run
    )
    return lease_due(
        database,
        connector.uid,
        lambda due: plan_runs(
            [entity for entity in due if only(entity)], situation.unfinished, most
        ),
        lease_seconds=settings.schedule.lease_seconds,
        by_cron=by_cron,
        known=situation.known,
        queued=situation.queued,
    )


def _named(runs: list[tuple[UUID, PlannedRun]]) -> str:
    return ", ".join(f"{len(run.entities)} in a {run.kind} run ({run.trigger})" for _, run in runs)


def _started(runs: list[tuple[UUID, PlannedRun]]) -> str:
    return (
        _named(runs)
        if runs
        else "all are taken, or runs enough wait; they follow as they become free"
    )


def _nothing(
    database: Database,
    connector: Connector,
    settings: Settings,
    situation: Situation,
) -> str:
    """Why nothing is started, and what comes next."""
    if not connector.is_active:
        return f"{connector.name} is switched off"
    crons = crons_of(connector, settings)
    ahead = next_due(database, connector.uid, by_cron=crons.sync is not None)
    words = ["nothing can be started now" if situation.unfinished else "nothing is due"]
    if situation.unfinished:
        words.append(f"{len(situation.unfinished)} runs have not finished")
    if ahead:
        words.append(f"next: {ahead[0]} in {ahead[1]:.0f} s ({ahead[2]})")
    if crons.sync:
        words.append(
            f"cron {crons.sync} comes next at"
            f" {next_tick(crons.sync, crons.time_zone, datetime.now(UTC)):%Y-%m-%d %H:%M %Z}"
        )
    if not situation.known:
        words.append("the definitions know no entity of it: discover it and reload them")
    return "; ".join(words)
