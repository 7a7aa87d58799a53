"""`sync_<connector>_when_due`: one sensor per connector starts what is due; when that is, `schedule` decides."""

from __future__ import annotations

import dagster as dg

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.errors import NotFoundError
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG
from sync_pipelines.orchestrate.launches import Launches
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.schedule.tick import tick_due
from sync_pipelines.secrets import redact_beginning

_MAX_TICK_TEXT = 1000


def due_sensors(launches: list[Launches], interval_seconds: int) -> list[dg.SensorDefinition]:
    """A sensor per connector."""
    return [_due_sensor(one, interval_seconds) for one in launches if one.job is not None]


def _due_sensor(launches: Launches, interval_seconds: int) -> dg.SensorDefinition:
    connector = launches.connector

    @dg.sensor(
        name=f"sync_{connector}_when_due",
        job=launches.job,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts one run for the entities of {connector} that are due: by their interval,"
        " after a failure, or because the source has something newer. Switch it off to stop automatic syncs of"
        " this connector.",
        tags={CONNECTOR_TAG: connector},
    )
    def when_due(
        context: dg.SensorEvaluationContext, bridge: Bridge
    ) -> dg.SensorResult | dg.SkipReason:
        database = bridge.database()
        try:
            limits = RunLimits.from_settings(get_connector(database, connector).settings)
        except NotFoundError:
            return dg.SkipReason(f"The connector {connector} was removed; reload the definitions.")
        _apply_pool_limit(
            context.instance,
            connector,
            limits.max_concurrent_entities,
        )
        situation = launches.situation(context.instance)
        tick = tick_due(database, connector, bridge.settings(), situation)
        context.log.info("%s", tick.message)
        if not tick.runs:
            return dg.SkipReason(redact_beginning(tick.message, _MAX_TICK_TEXT))
        return dg.SensorResult(run_requests=launches.requests(tick))

    return when_due


def _apply_pool_limit(
    instance: dg.DagsterInstance,
    connector: str,
    wanted: int | None,
) -> None:
    """Bring the connector's pool to its `max_concurrent_entities`; without one the pool stays as a person set it."""
    if wanted is None:
        return
    pool = f"source_{connector}"
    storage = instance.event_log_storage
    limits = {limit.name: limit.limit for limit in storage.get_pool_limits()}
    if limits.get(pool) != wanted:
        storage.set_concurrency_slots(pool, wanted)
