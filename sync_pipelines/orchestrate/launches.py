"""Between Dagster's runs and the ticks of `schedule`: which runs there are, and how planned ones are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES

from sync_pipelines.downstream.sql_model import load_models
from sync_pipelines.model.due import Kind, PlannedRun
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG, KIND_TAG, LEASE_TAG, asset_key
from sync_pipelines.orchestrate.jobs import SYNC_ALL, SyncJob, sync_job_name, syncable_entities
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.schedule.tick import Ending, Situation, Tick

_MAX_RUNS = 1000
_KINDS = frozenset(Kind)
# A run that was created and never submitted must not keep its entities for ever.
_UNFINISHED = [
    status for status in NOT_FINISHED_STATUSES if status is not DagsterRunStatus.NOT_STARTED
]
_ENDINGS = {DagsterRunStatus.SUCCESS: Ending.SUCCEEDED, DagsterRunStatus.CANCELED: Ending.CANCELED}


def connector_launches(
    view: CatalogView, models: Sequence[dg.AssetsDefinition], jobs: Sequence[SyncJob], folder: Path
) -> list[Launches]:
    """One for each connector; a SQL model goes with the connector that provides everything it reads.

    A run takes part of the connector's job, so that what the job leaves out, a vanished entity for example, is never
    started. `folder` is where the files of the models are.
    """
    by_connector: dict[str, list[Entity]] = {connector.name: [] for connector in view.connectors}
    by_connector |= syncable_entities(view)
    by_name = {job.name: job for job in jobs}
    return [
        Launches(
            name, entities, _models_of(entities, models), by_name.get(sync_job_name(name)), folder
        )
        for name, entities in sorted(by_connector.items())
    ]


def _models_of(
    entities: Sequence[Entity], models: Sequence[dg.AssetsDefinition]
) -> dict[dg.AssetKey, set[dg.AssetKey]]:
    provided = {asset_key(entity) for entity in entities}
    found: dict[dg.AssetKey, set[dg.AssetKey]] = {}
    for model in models:
        if all(set(upstream) <= provided for upstream in model.asset_deps.values()):
            found |= {key: set(upstream) for key, upstream in model.asset_deps.items()}
            provided |= set(model.keys)
    return found


def _models_there(folder: Path) -> set[dg.AssetKey]:
    """Keys of the models whose files are there now and can be used."""
    models, _ = load_models(folder)
    return {dg.AssetKey([model.schema, model.name]) for model in models}


class Launches:
    """Turns the ticks of one connector into run requests.

    Args:
        connector: its name.
        entities: those of its entities that its job syncs.
        models: key of a SQL model -> keys that it reads, in order of their dependencies; those that this connector
            provides for.
        job: its job `sync_<connector>`, which every run belongs to; None when there is nothing to sync.
        folder: where the models are.
    """

    def __init__(
        self,
        connector: str,
        entities: Sequence[Entity],
        models: Mapping[dg.AssetKey, set[dg.AssetKey]],
        job: SyncJob | None,
        folder: Path,
    ) -> None:
        self.connector = connector
        self.job = job
        self._keys = {entity.slug: asset_key(entity) for entity in entities}
        self._slugs = {asset_name_for(slug): slug for slug in self._keys}
        self._models = models
        self._folder = folder

    def situation(self, instance: dg.DagsterInstance) -> Situation:
        """What the instance knows of this connector's runs now."""
        records = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED), limit=_MAX_RUNS)
        kinds: list[Kind] = []
        queued: dict[str, datetime] = {}
        for record in records:
            run = record.dagster_run
            kind = run.tags.get(KIND_TAG, Kind.REGULAR)
            if (
                run.tags.get(CONNECTOR_TAG) == self.connector
                and LEASE_TAG in run.tags
                and kind in _KINDS
            ):
                kinds.append(Kind(kind))
            queued |= dict.fromkeys(self._slugs_of(run), record.create_timestamp)
        return Situation(
            tuple(self._keys), kinds, queued, lambda leases: self._endings(instance, leases)
        )

    def _slugs_of(self, run: dg.DagsterRun) -> list[str]:
        """Entities of this connector in a run, whoever started it."""
        if run.asset_selection:
            names = [key.path[-1] for key in run.asset_selection if key.path[0] == self.connector]
            return [self._slugs[name] for name in names if name in self._slugs]
        return list(self._keys) if run.job_name in (sync_job_name(self.connector), SYNC_ALL) else []

    def _endings(self, instance: dg.DagsterInstance, leases: Sequence[UUID]) -> dict[UUID, Ending]:
        records = instance.get_run_records(
            dg.RunsFilter(tags={LEASE_TAG: [str(lease) for lease in leases]})
        )
        endings: dict[UUID, Ending] = {}
        for record in reversed(
            records
        ):  # newest first: a retry of a crashed run counts more than the run
            run = record.dagster_run
            if run.status is DagsterRunStatus.NOT_STARTED:
                continue
            ended = run.status in FINISHED_STATUSES
            endings[UUID(run.tags[LEASE_TAG])] = (
                _ENDINGS.get(run.status, Ending.FAILED) if ended else Ending.UNFINISHED
            )
        return endings

    def requests(self, tick: Tick) -> list[dg.RunRequest]:
        """The runs of a tick; models that read what a run brings are built in it, too."""
        return [self.request(lease, run) for lease, run in tick.runs]

    def request(self, lease: UUID, run: PlannedRun) -> dg.RunRequest:
        """One run, with the models that read what it brings, as far as their files are still there."""
        selected = [self._keys[entity.slug] for entity in run.entities]
        there = _models_there(self._folder) if self._models else set()
        for model, reads in self._models.items():
            # The run loads the files anew: one that was deleted or renamed meanwhile would fail it.
            if model in there and reads & set(selected):
                selected.append(model)
        # The connector's tag comes with its job, and Dagster's own tags name the sensor or schedule.
        tags = {LEASE_TAG: str(lease)}
        if run.kind is not Kind.REGULAR:
            tags[KIND_TAG] = run.kind.value
        return dg.RunRequest(run_key=str(lease), asset_selection=selected, tags=tags)
