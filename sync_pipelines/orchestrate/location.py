"""The code location: definitions built from the catalog, without asking any source."""

from __future__ import annotations

import dagster as dg

from sync_pipelines.catalog.database import open_database
from sync_pipelines.catalog.snapshot import load_catalog
from sync_pipelines.orchestrate.assets import entity_assets
from sync_pipelines.orchestrate.executor import selected_executor
from sync_pipelines.orchestrate.jobs import discovery_jobs, sync_jobs
from sync_pipelines.orchestrate.maintenance import maintenance
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.sql_models import model_assets
from sync_pipelines.settings import load_settings


def build_definitions() -> dg.Definitions:
    """Assets, checks and jobs of every connector in the catalog, or in the last known one."""
    settings = load_settings()
    view = load_catalog(lambda: open_database(settings), settings.home)
    models = model_assets(view.entities)
    maintenance_jobs, maintenance_schedules = maintenance(view)
    return dg.Definitions(
        assets=[*entity_assets(view, settings.owners), *models],
        jobs=[*sync_jobs(view, models), *discovery_jobs(view), *maintenance_jobs],
        schedules=maintenance_schedules,
        resources={"bridge": Bridge()},
        executor=selected_executor(),
        metadata={"last_known_catalog": view.stale_because} if view.stale_because else {},
    )
