"""The code location: definitions built from the catalog, without asking any source."""

from __future__ import annotations

import dagster as dg

from sync_pipelines.catalog.database import open_database
from sync_pipelines.catalog.snapshot import load_catalog
from sync_pipelines.orchestrate.assets import entity_assets
from sync_pipelines.orchestrate.executor import selected_executor
from sync_pipelines.orchestrate.jobs import discovery_jobs, sync_jobs
from sync_pipelines.orchestrate.launches import connector_launches
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.schedules import connector_schedules
from sync_pipelines.orchestrate.sensors import due_sensors
from sync_pipelines.orchestrate.sql_models import model_assets
from sync_pipelines.settings import load_settings


def build_definitions() -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules of every connector in the catalog, or in the last known one."""
    settings = load_settings()
    view = load_catalog(lambda: open_database(settings), settings.home)
    models = model_assets(view.entities)
    launches = connector_launches(view, models)
    discoveries = discovery_jobs(view)
    return dg.Definitions(
        assets=[*entity_assets(view, settings.owners), *models],
        jobs=[*sync_jobs(view, models), *discoveries],
        sensors=due_sensors(launches, settings.due_sensor_seconds),
        schedules=connector_schedules(view.connectors, launches, discoveries, settings),
        resources={"bridge": Bridge()},
        executor=selected_executor(),
        metadata={"last_known_catalog": view.stale_because} if view.stale_because else {},
    )
