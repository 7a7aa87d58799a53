"""The code location: definitions built from the catalog, without asking any source."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sync_pipelines.catalog.database import Database, open_database
from sync_pipelines.catalog.fingerprints import learn_secrets
from sync_pipelines.files.private import keep_new_files_private
from sync_pipelines.logs import set_up_dagster_logging
from sync_pipelines.orchestrate.alerts import alert_sensors
from sync_pipelines.orchestrate.assets import entity_assets
from sync_pipelines.orchestrate.executor import selected_executor
from sync_pipelines.orchestrate.incidents import Places, connector_assets
from sync_pipelines.orchestrate.jobs import discovery_jobs, sync_jobs
from sync_pipelines.orchestrate.launches import connector_launches
from sync_pipelines.orchestrate.maintenance import maintenance
from sync_pipelines.orchestrate.purge import purge_job, purge_schedule
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.schedules import connector_schedules
from sync_pipelines.orchestrate.sensors import due_sensors
from sync_pipelines.orchestrate.snapshot import CatalogView, load_catalog
from sync_pipelines.orchestrate.sql_models import model_assets
from sync_pipelines.orchestrate.table_checks import table_checks_sensor
from sync_pipelines.settings import Settings, load_settings


def build_definitions() -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules of every connector in the catalog, or in the last known one.

    SYNC_PIPELINES_CONNECTORS restricts a location to some connectors, so that very large catalogs can be split.
    """
    keep_new_files_private()
    settings = load_settings()
    set_up_dagster_logging(settings)
    with _settled_garbage():
        view = load_catalog(
            lambda: _opened(settings),
            settings.home,
            settings.ui.connector_names,
            models=settings.models,
        )
        return _definitions(view, settings)


def _opened(settings: Settings) -> Database:
    """The database; whatever this process shows from now on holds no secret that the catalog refers to."""
    database = open_database(settings)
    learn_secrets(database, settings)
    return database


@contextmanager
def _settled_garbage() -> Iterator[None]:
    """Exempt millions of objects that live as long as the process from garbage collection: a fifth of the load."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _definitions(view: CatalogView, settings: Settings) -> dg.Definitions:
    models = model_assets(view.entities, settings.models)
    syncs = sync_jobs(view, models)
    launches = connector_launches(view, models, syncs, settings.models)
    discoveries = discovery_jobs(view)
    purge = purge_job(
        view.fingerprint,
        settings.ui.connector_names,
        settings.models,
    )
    maintenance_jobs, maintenance_schedules = maintenance(view)
    sources, source_checks = connector_assets(view)
    entities = entity_assets(view, settings.ui.owners)
    return dg.Definitions(
        assets=[*sources, *entities, *models],
        asset_checks=source_checks,
        jobs=[*syncs, *discoveries, *maintenance_jobs, purge],
        sensors=[
            *due_sensors(launches, settings.schedule.due_sensor_seconds),
            *alert_sensors(settings, Places.of(view)),
            table_checks_sensor(settings),
        ],
        schedules=[
            *connector_schedules(view.connectors, launches, discoveries, settings),
            *maintenance_schedules,
            purge_schedule(purge),
        ],
        resources={"bridge": Bridge()},
        executor=selected_executor(),
        metadata={"last_known_catalog": view.stale_because} if view.stale_because else {},
    )
