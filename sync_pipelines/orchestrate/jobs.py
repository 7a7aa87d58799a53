"""Jobs: one per connector, one for all, and discovery."""

import logging
from collections import defaultdict
from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Entity, EntityStatus
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG, asset_key
from sync_pipelines.orchestrate.failures import plain_failure
from sync_pipelines.orchestrate.metadata import discovery_metadata
from sync_pipelines.orchestrate.reload import Outcome, reload_definitions
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.snapshot import CatalogView

SYNC_ALL = "sync_all"
# Beyond, nobody runs everything at once, and the job would cost 5 s of each load.
MAX_ENTITIES_OF_SYNC_ALL = 2000

SyncJob = UnresolvedAssetJobDefinition
"""A job whose assets Dagster looks up when definitions are loaded."""


def sync_job_name(connector: str) -> str:
    """The job that every run of a connector's syncs belongs to, whoever starts it."""
    return f"sync_{connector}"


def syncable_entities(view: CatalogView) -> dict[str, list[Entity]]:
    """What is synced, by connector.

    Switched off and vanished entities are left out, and connectors without any other.
    """
    found: dict[str, list[Entity]] = defaultdict(list)
    for entity in view.entities:
        if entity.policy.sync_enabled and entity.status is not EntityStatus.VANISHED:
            found[entity.connector].append(entity)
    return dict(found)


def sync_jobs(
    view: CatalogView,
    models: Sequence[dg.AssetsDefinition] = (),
) -> list[SyncJob]:
    """`sync_<connector>` for each connector, and `sync_all`; switched off and vanished entities are left out.

    A SQL model runs with the connector that provides everything it reads.
    """
    jobs = []
    all_keys: list[dg.AssetKey] = []
    for connector, entities in sorted(syncable_entities(view).items()):
        keys = [asset_key(entity) for entity in entities]
        all_keys += keys
        job = dg.define_asset_job(
            sync_job_name(connector),
            dg.AssetSelection.assets(*_with_models(keys, models)),
            description=f"Sync the {len(entities)} entities of {connector}.",
            tags={CONNECTOR_TAG: connector},
        )
        jobs.append(job)
    everything = _with_models(all_keys, models)
    if everything and len(view.entities) <= MAX_ENTITIES_OF_SYNC_ALL:
        job = dg.define_asset_job(
            SYNC_ALL,
            dg.AssetSelection.assets(*everything),
            description="Sync every entity of every connector.",
        )
        jobs.append(job)
    return jobs


def _with_models(
    keys: list[dg.AssetKey],
    models: Sequence[dg.AssetsDefinition],
) -> list[dg.AssetKey]:
    """The keys and those of the models, in order of their dependencies, that read nothing else."""
    selected = dict.fromkeys(keys)
    for model in models:
        if all(upstream <= selected.keys() for upstream in model.asset_deps.values()):
            selected |= dict.fromkeys(model.keys)
    return list(selected)


def discovery_jobs(view: CatalogView) -> list[dg.JobDefinition]:
    """`discover_<connector>`: ask the source again what it offers, and show it in the running UI."""
    return [_discovery_job(connector) for connector in sorted(view.base_urls)]


def _discovery_job(connector: str) -> dg.JobDefinition:
    @dg.op(
        name=f"discover_{connector}_apis",
        description=f"Bring the catalog to what {connector} offers now.",
    )
    def ask(context: dg.OpExecutionContext, bridge: Bridge) -> None:
        try:
            report = discover(
                bridge.database(),
                connector,
                settings=bridge.settings(),
            )
        except SyncError as error:
            raise plain_failure(error) from None
        context.log.info("%s: %s", connector, report.as_dict())
        reload = reload_definitions(bridge.settings(), bridge.database())
        # What a discovery found is stored, so a reload that fails is logged and does not fail the run.
        level = logging.WARNING if reload.outcome is Outcome.FAILED else logging.INFO
        context.log.log(level, reload.message)
        metadata = discovery_metadata(report)
        metadata["definitions"] = reload.message
        context.add_output_metadata(metadata)

    @dg.job(
        name=f"discover_{connector}",
        description=f"Ask {connector} what it offers; new, changed and vanished APIs show in this UI at once.",
        tags={CONNECTOR_TAG: connector},
    )
    def discover_connector() -> None:
        ask()

    return discover_connector
