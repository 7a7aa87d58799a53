"""What a clock starts: full reads, syncs by cron, and discovery, each per connector."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import dagster as dg

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.entity import Connector
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG
from sync_pipelines.orchestrate.launches import Launches
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.schedule.cron import Crons, usable_crons
from sync_pipelines.schedule.tick import Situation, Tick, tick_cron, tick_full_read
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)


def connector_schedules(
    connectors: tuple[Connector, ...],
    launches: list[Launches],
    jobs: list[dg.JobDefinition],
    settings: Settings,
) -> list[dg.ScheduleDefinition]:
    """The schedules of every connector; an expression that cannot be used makes none, which is logged as an error."""
    by_name = {one.connector: one for one in launches}
    discovery = {job.name: job for job in jobs}
    schedules: list[dg.ScheduleDefinition] = []
    for connector in connectors:
        crons, errors = usable_crons(connector, settings)
        for error in errors:
            logger.error("a schedule of %s is left out: %s", connector.name, error)
        schedules += _schedules_of(
            connector.name,
            crons,
            by_name.get(connector.name),
            discovery[f"discover_{connector.name}"],
        )
    return schedules


def _schedules_of(
    connector: str,
    crons: Crons,
    launches: Launches | None,
    discovery: dg.JobDefinition,
) -> list[dg.ScheduleDefinition]:
    schedules: list[dg.ScheduleDefinition] = []
    if crons.full_refresh and launches and launches.job:
        text = (
            f"Reads every entity of {connector} whole,"
            " which finds deleted rows and what came too late for the deltas."
        )
        schedules.append(
            _schedule(
                f"full_refresh_{connector}",
                crons.full_refresh,
                crons,
                launches,
                tick_full_read,
                text,
            )
        )
    if crons.sync and launches and launches.job:
        text = f"Makes every entity of {connector} due; replaces their intervals."
        schedules.append(
            _schedule(
                f"sync_{connector}_by_cron",
                crons.sync,
                crons,
                launches,
                tick_cron,
                text,
            )
        )
    if crons.discovery:
        schedules.append(
            dg.ScheduleDefinition(
                name=f"discover_{connector}_by_cron",
                job=discovery,
                cron_schedule=crons.discovery,
                execution_timezone=crons.time_zone,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description=f"Asks {connector} what it offers now.",
                tags={CONNECTOR_TAG: connector},
            )
        )
    return schedules


def _schedule(
    name: str,
    cron: str,
    crons: Crons,
    launches: Launches,
    tick: Callable[[Database, str, Settings, Situation, datetime], Tick],
    description: str,
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        cron_schedule=cron,
        execution_timezone=crons.time_zone,
        job=launches.job,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
        tags={CONNECTOR_TAG: launches.connector},
    )
    def by_cron(
        context: dg.ScheduleEvaluationContext, bridge: Bridge
    ) -> list[dg.RunRequest] | dg.SkipReason:
        done = tick(
            bridge.database(),
            launches.connector,
            bridge.settings(),
            launches.situation(context.instance),
            context.scheduled_execution_time,
        )
        context.log.info("%s", done.message)
        return launches.requests(done) if done.runs else dg.SkipReason(done.message)

    return by_cron
